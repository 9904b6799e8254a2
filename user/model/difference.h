/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What changed between two moments of one model: which live buffers were added, freed, and stayed. A
 * buffer that became held counts as freed: its memory is back with the runtime.
 *
 * Buffers are matched by their serial numbers. Where a process's table was rebuilt in between they
 * have new ones: then by object, address, size and type, so that a buffer which was replaced by its
 * equal in the meantime looks as if it had stayed (@rebuilt says so).
 */
#ifndef BUFSCOPE_MODEL_DIFFERENCE_H
#define BUFSCOPE_MODEL_DIFFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

struct snapshot;

struct difference_sum {
	uint64_t buffers; /* each once, on however many chips it lies */
	uint64_t bytes;   /* over all chips */
};

struct difference_type {
	enum memory_type type; /* MEMORY_TYPE_COUNT: it could not be read */
	struct difference_sum added, freed, stayed;
};

struct difference_process {
	const struct snapshot_process *before, *after; /* NULL: not there (then it had nothing, or is gone) */
	bool rebuilt;
	uint32_t type_count; /* those with any buffer */
	struct difference_type types[MEMORY_TYPE_COUNT + 1];
	/* Largest first, owned by the difference. */
	struct snapshot_buffer *added, *freed;
	size_t added_count, freed_count;
};

struct difference {
	const struct snapshot *from, *to;
	struct difference_sum added, freed, stayed;
	/* Those that have live buffers in either; what grew most comes first. */
	struct difference_process *processes;
	size_t process_count;
};

/* Both snapshots must outlive it. 0 or -ENOMEM. */
int difference_make(const struct snapshot *from, const struct snapshot *to, struct difference *out);
void difference_fini(struct difference *difference);

#endif
