/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the walk over a hostile process's memory: a sound one is built, and the input is a list of
 * changes to it, 12 bytes each: where (4), what (8; 0x01 in the first byte of "where": an address in it).
 */
#include "../unit/census_case.h"
#include "fuzz.h"

#define ARENA (128u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const size_t blocks[] = {9, 4, 3, 2};
	uint8_t *arena = aligned_alloc(4096, ARENA);
	struct census census;
	struct census_case c;

	if (!arena)
		return 0;
	memset(arena, 0, ARENA);
	case_init(&c, arena, ARENA, blocks);
	case_add_buffers(&c);
	for (; len >= 12; data += 12, len -= 12) {
		uint32_t where;
		uint64_t what;

		memcpy(&where, data, 4);
		memcpy(&what, data + 4, 8);
		if (where & 1)
			what = case_address(arena) + what % ARENA;
		memcpy(arena + (where >> 1) % (c.at / 8) * 8, &what, 8);
	}
	if (tt_metal_runtime.census(&c.input, &census) == 0)
		census_fini(&census);
	free(arena);
	return 0;
}
