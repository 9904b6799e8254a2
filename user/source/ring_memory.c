/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks for the mapping by its name and length in the list of our own. */
#include "source/ring_memory.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "anon_inode:bpf-map"

void ring_memory_keep_from_children(size_t ring_bytes)
{
	/* The producer's page, then the data twice (libbpf, src/ringbuf.c, ring_buffer__add()). */
	uint64_t start, end, len = 2 * (uint64_t)ring_bytes + (uint64_t)sysconf(_SC_PAGESIZE);
	char *line = NULL;
	size_t size = 0;
	FILE *maps;

	maps = fopen("/proc/self/maps", "re");
	if (!maps)
		return;
	while (getline(&line, &size, maps) > 0) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2 && end - start == len && strstr(line, NAME))
			madvise((void *)(uintptr_t)start, len, MADV_DONTFORK);
	}
	free(line);
	fclose(maps);
}
