/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the walk over a hostile process's memory: a sound one is built, and the input is a list of
 * changes to it, 12 bytes each: where (4), what (8; 0x01 in the first byte of "where": an address in it).
 *
 * With libFuzzer: clang -fsanitize=fuzzer,address -DFUZZER. Otherwise main() replays files, and
 * without arguments runs a fixed number of random inputs.
 */
#include <stdint.h>
#include <stdio.h>

#include "../unit/census_case.h"

#define ARENA (128u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

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

#ifndef FUZZER
static void replay(const char *path)
{
	static uint8_t data[1 << 16];
	FILE *file = fopen(path, "rb");

	if (!file)
		return;
	LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), file));
	fclose(file);
}

int main(int argc, char **argv)
{
	uint8_t data[12 * 8];
	uint32_t seed = 1;

	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	for (int i = 0; argc < 2 && i < 20000; i++) {
		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
		/* small values make offsets, counts and links that nearly fit */
		for (size_t k = 6; i % 2 && k < sizeof(data); k += 12)
			memset(data + k, 0, 6);
		LLVMFuzzerTestOneInput(data, 12 * (1 + seed % 8));
	}
	return 0;
}
#endif
