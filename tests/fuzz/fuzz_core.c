/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes the reader of core files: the input is one, plain or compressed. */
#include <string.h>

#include "fuzz.h"
#include "source/core_memory.h"

/* Every region, its first and last bytes, and what is there of it. */
static void walk(struct memory *memory)
{
	uint64_t missing = 0, at, last = 0;
	struct memory_region region;
	struct memory_thread thread;
	struct memory_lineage lineage;
	uint8_t bytes[64];

	for (size_t i = 0; !memory->ops->region(memory, i, &region); i++) {
		struct memory_part parts[2] = {{.address = region.start, .buf = bytes, .len = sizeof(bytes)},
					       {.address = region.end - 1, .buf = bytes, .len = 2}};
		struct memory_run run;

		FUZZ_ASSERT(region.start < region.end && region.path);
		FUZZ_ASSERT(region.start >= last);
		last = region.start;
		memory_read(memory, region.start, bytes, sizeof(bytes));
		memory->ops->read_many(memory, parts, 2);
		for (at = region.start; !memory->ops->present(memory, at, region.end, &run, &missing); at = run.end)
			FUZZ_ASSERT(run.start >= at && run.start < run.end && run.end <= region.end);
	}
	memory->ops->lineage(memory, &lineage);
	for (size_t i = 0; !memory->ops->thread(memory, i, &thread); i++)
		memory_read(memory, thread.stack_pointer, bytes, sizeof(bytes));
	memory->ops->shared_with_ancestor(memory, last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct memory *memory = NULL;
	struct core_facts facts;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fuzz_file(data, len));
	if (!core_memory_open(path, &memory)) {
		struct core_files files = {.memory = memory, .sysroot = "/nowhere"};
		struct memory_region region;

		core_memory_facts(memory, &facts);
		FUZZ_ASSERT(memchr(facts.command, 0, 81));
		walk(memory);
		if (!memory->ops->region(memory, 0, &region))
			FUZZ_ASSERT(core_memory_open_file(&files, &region) < 0);
		memory_close(memory);
	}
	return 0;
}
