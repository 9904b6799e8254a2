/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums over buffers and allocators by device and memory type, for metrics. Owns its memory. */
#ifndef BUFSCOPE_VIEW_METRICS_CELLS_H
#define BUFSCOPE_VIEW_METRICS_CELLS_H

#include <stddef.h>
#include <stdint.h>

#include "base/table.h"
#include "model/snapshot.h"

#define METRICS_CELLS_ALL INT32_MAX /* device: all of them */

struct metrics_cell {
	int32_t device; /* -1: not known */
	enum memory_type type;
	const char *chip; /* PCI address, of the snapshot's memory; NULL: not known */
	uint64_t live_buffers, live_bytes, held_buffers, held_bytes;
	uint64_t peak_buffers, peak_bytes; /* of one process; not added up, as peaks have their times */
	uint64_t footprint_bytes, footprint_unknown_buffers; /* of live buffers */
	/*
	 * Allocators can overlap. All of them have the same memory, so the capacity is that of the largest;
	 * what each has given out is its own, so it is added up; an allocation surely fits into the smallest
	 * of their largest free blocks. METRICS_UNKNOWN while none was read.
	 */
	uint64_t allocators, unread_allocators;
	uint64_t capacity_bytes, used_bytes, largest_free_bytes;
};

struct metrics_cells {
	struct metrics_cell *cells;
	size_t count, capacity;
	struct table index;
};

void metrics_cells_fini(struct metrics_cells *cells);
/* What @process, and nobody else, holds and what its books say. 0 or -ENOMEM. */
int metrics_cells_add_process(struct metrics_cells *cells, const struct snapshot_process *process);
/*
 * Adds what the buffers of @from take to METRICS_CELLS_ALL, by type: a device's number means another chip
 * in each process. 0 or -ENOMEM.
 */
int metrics_cells_add_all(struct metrics_cells *cells, const struct metrics_cells *from);
/* By device, -1 and METRICS_CELLS_ALL last, then type. Nothing can be added afterwards. */
void metrics_cells_sort(struct metrics_cells *cells);

#endif
