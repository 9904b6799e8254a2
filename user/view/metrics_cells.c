// SPDX-License-Identifier: BSD-2-Clause
/* Sums by device and type; see metrics_cells.h. */
#include "view/metrics_cells.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "view/metrics_view.h"

void metrics_cells_fini(struct metrics_cells *cells)
{
	free(cells->cells);
	table_fini(&cells->index);
	memset(cells, 0, sizeof(*cells));
}

static uint64_t metrics_cells_key(int32_t device, enum memory_type type)
{
	return (uint64_t)(uint32_t)device << 8 | type;
}

/* The cell, made if need be. NULL: out of memory. */
static struct metrics_cell *metrics_cells_at(struct metrics_cells *cells, int32_t device, enum memory_type type)
{
	uint64_t key = metrics_cells_key(device, type);
	struct metrics_cell *grown;
	size_t capacity;
	uint32_t at;

	if (table_find(&cells->index, key, &at))
		return &cells->cells[at];
	if (cells->count == cells->capacity) {
		capacity = cells->capacity ? 2 * cells->capacity : 16;
		grown = realloc(cells->cells, capacity * sizeof(*grown));
		if (!grown)
			return NULL;
		cells->cells = grown;
		cells->capacity = capacity;
	}
	if (table_set(&cells->index, key, (uint32_t)cells->count))
		return NULL;
	cells->cells[cells->count] = (struct metrics_cell){
		.device = device,
		.type = type,
		.capacity_bytes = METRICS_UNKNOWN,
		.used_bytes = METRICS_UNKNOWN,
		.largest_free_bytes = METRICS_UNKNOWN,
	};
	return &cells->cells[cells->count++];
}

static int metrics_cells_add_footprint(struct metrics_cells *cells, const struct snapshot_buffer *buffer)
{
	static const int32_t unknown = -1;
	const int32_t *chips = buffer->chip_count ? buffer->chips : &unknown;
	uint32_t count = buffer->chip_count ? buffer->chip_count : 1;

	for (uint32_t i = 0; i < count; i++) {
		struct metrics_cell *cell = metrics_cells_at(cells, chips[i], buffer->type);

		if (!cell)
			return -ENOMEM;
		cell->footprint_bytes += buffer->footprint_bytes;
		cell->footprint_unknown_buffers += !buffer->footprint_bytes;
	}
	return 0;
}

static void metrics_cells_add_books(struct metrics_cell *cell, uint64_t capacity, uint64_t used, uint64_t largest_free)
{
	if (cell->capacity_bytes == METRICS_UNKNOWN) {
		cell->capacity_bytes = cell->used_bytes = 0;
		cell->largest_free_bytes = largest_free;
	}
	if (cell->capacity_bytes < capacity)
		cell->capacity_bytes = capacity;
	if (cell->largest_free_bytes > largest_free)
		cell->largest_free_bytes = largest_free;
	cell->used_bytes += used;
}

static int metrics_cells_add_allocator(struct metrics_cells *cells, const struct snapshot_allocator *allocator)
{
	bool unread = allocator->books == BOOKS_VERDICT_UNREAD;

	for (uint32_t i = 0; i < allocator->chip_count; i++) {
		struct metrics_cell *cell = metrics_cells_at(cells, allocator->chips[i], allocator->type);

		if (!cell)
			return -ENOMEM;
		cell->allocators++;
		cell->unread_allocators += unread;
		if (!unread)
			metrics_cells_add_books(cell, allocator->capacity_bytes, allocator->used_bytes,
						allocator->largest_free_bytes);
	}
	return 0;
}

static int metrics_cells_add_device(struct metrics_cells *cells, const struct snapshot_device *device)
{
	for (uint32_t i = 0; i < device->type_count; i++) {
		const struct snapshot_type *figures = &device->types[i];
		struct metrics_cell *cell = metrics_cells_at(cells, device->device, figures->type);

		if (!cell)
			return -ENOMEM;
		cell->live_buffers += figures->live_buffers;
		cell->live_bytes += figures->live_bytes;
		cell->held_buffers += figures->held_buffers;
		cell->held_bytes += figures->held_bytes;
		cell->peak_buffers = figures->peak_buffers;
		cell->peak_bytes = figures->peak_bytes;
	}
	return 0;
}

static const char *metrics_cells_chip(const struct snapshot_process *process, int32_t device)
{
	for (size_t i = 0; i < process->device_count; i++) {
		if (process->devices[i].device == device && process->devices[i].chip.known)
			return process->devices[i].chip.pci;
	}
	return NULL;
}

int metrics_cells_add_process(struct metrics_cells *cells, const struct snapshot_process *process)
{
	int err = 0;

	for (size_t i = 0; !err && i < process->device_count; i++)
		err = metrics_cells_add_device(cells, &process->devices[i]);
	for (size_t i = 0; !err && i < process->buffer_count; i++) {
		if (process->buffers[i].state == BUFFER_LIVE)
			err = metrics_cells_add_footprint(cells, &process->buffers[i]);
	}
	for (size_t i = 0; !err && i < process->allocator_count; i++)
		err = metrics_cells_add_allocator(cells, &process->allocators[i]);
	for (size_t i = 0; i < cells->count; i++)
		cells->cells[i].chip = metrics_cells_chip(process, cells->cells[i].device);
	return err;
}

int metrics_cells_add_all(struct metrics_cells *cells, const struct metrics_cells *from)
{
	for (size_t i = 0; i < from->count; i++) {
		const struct metrics_cell *add = &from->cells[i];
		struct metrics_cell *cell = metrics_cells_at(cells, METRICS_CELLS_ALL, add->type);

		if (!cell)
			return -ENOMEM;
		cell->live_buffers += add->live_buffers;
		cell->live_bytes += add->live_bytes;
		cell->held_buffers += add->held_buffers;
		cell->held_bytes += add->held_bytes;
		cell->footprint_bytes += add->footprint_bytes;
		cell->footprint_unknown_buffers += add->footprint_unknown_buffers;
	}
	return 0;
}

static int metrics_cells_compare(const void *a, const void *b)
{
	const struct metrics_cell *x = a, *y = b;

	if (x->device != y->device)
		return (uint32_t)x->device < (uint32_t)y->device ? -1 : 1;
	return (x->type > y->type) - (x->type < y->type);
}

void metrics_cells_sort(struct metrics_cells *cells)
{
	if (cells->count)
		qsort(cells->cells, cells->count, sizeof(*cells->cells), metrics_cells_compare);
	table_fini(&cells->index);
}
