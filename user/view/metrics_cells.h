/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums over buffers and allocators by device and memory type, for metrics. Owns its memory. */
#ifndef BUFSCOPE_VIEW_METRICS_CELLS_H
#define BUFSCOPE_VIEW_METRICS_CELLS_H

#include <stddef.h>
#include <stdint.h>

#include "base/table.h"
#include "model/snapshot.h"

#define METRICS_CELLS_OTHER INT32_MAX /* device: those that have no cell of their own */

struct metrics_cell {
	int32_t device; /* -1: not known */
	enum memory_type type;
	uint64_t live_buffers, live_bytes, held_buffers, held_bytes;
	uint64_t peak_buffers, peak_bytes; /* of one process; not added up, as peaks have their times */
	uint64_t footprint_bytes, footprint_unknown_buffers; /* of live buffers */
	uint64_t processes;                                  /* that hold anything here */
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
	struct table index, devices;
};

void metrics_cells_fini(struct metrics_cells *cells);
/* What @process holds and what its books say. 0 or -ENOMEM. */
int metrics_cells_add_process(struct metrics_cells *cells, const struct snapshot_process *process);
/* Adds @from to @cells; devices beyond @max_devices are added to METRICS_CELLS_OTHER. 0 or -ENOMEM. */
int metrics_cells_add(struct metrics_cells *cells, const struct metrics_cells *from, size_t max_devices);
/* By device, -1 and METRICS_CELLS_OTHER last, then type. Nothing can be added afterwards. */
void metrics_cells_sort(struct metrics_cells *cells);

#endif
