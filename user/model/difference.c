// SPDX-License-Identifier: BSD-2-Clause
/* Two moments compared; see difference.h. Owns the lists of the result and nothing of the snapshots. */
#include "model/difference.h"

#include <errno.h>
#include <stdlib.h>

#include "base/table.h"
#include "model/snapshot.h"

static void difference_add(struct difference_sum *sum, const struct snapshot_buffer *buffer)
{
	sum->buffers++;
	sum->bytes += snapshot_buffer_bytes(buffer);
}

static struct difference_type *difference_type_of(struct difference_process *process, enum memory_type type)
{
	uint32_t i;

	for (i = 0; i < process->type_count; i++) {
		if (process->types[i].type == type)
			return &process->types[i];
	}
	process->types[i].type = type;
	process->type_count++;
	return &process->types[i];
}

/* ---- one process ---- */

static uint64_t difference_key(const struct difference_process *process, const struct snapshot_buffer *buffer)
{
	return process->rebuilt ? buffer->object : buffer->serial;
}

static bool difference_same(const struct difference_process *process, const struct snapshot_buffer *before,
			    const struct snapshot_buffer *after)
{
	return !process->rebuilt || (before->address == after->address && before->size_bytes == after->size_bytes &&
				     before->type == after->type);
}

/* The live buffers of @from by their keys. 0 or -ENOMEM. */
static int difference_index(const struct difference_process *process, struct table *index)
{
	const struct snapshot_process *from = process->before;
	int err = 0;

	for (size_t i = 0; from && !err && i < from->buffer_count; i++) {
		if (from->buffers[i].state == BUFFER_LIVE)
			err = table_set(index, difference_key(process, &from->buffers[i]), (uint32_t)i);
	}
	return err;
}

/* What is in the index and stays is taken out of it. */
static void difference_walk_after(struct difference_process *process, struct table *index)
{
	const struct snapshot_process *to = process->after;

	for (size_t i = 0; to && i < to->buffer_count; i++) {
		const struct snapshot_buffer *buffer = &to->buffers[i];
		struct difference_type *type;
		uint32_t at;

		if (buffer->state != BUFFER_LIVE)
			continue;
		type = difference_type_of(process, buffer->type);
		if (table_find(index, difference_key(process, buffer), &at) &&
		    difference_same(process, &process->before->buffers[at], buffer)) {
			table_remove(index, difference_key(process, buffer), NULL);
			difference_add(&type->stayed, buffer);
		} else {
			process->added[process->added_count++] = *buffer;
			difference_add(&type->added, buffer);
		}
	}
}

/* In the order of the snapshot, which is by size. */
static void difference_walk_before(struct difference_process *process, const struct table *index)
{
	const struct snapshot_process *from = process->before;

	for (size_t i = 0; from && i < from->buffer_count; i++) {
		const struct snapshot_buffer *buffer = &from->buffers[i];
		uint32_t at;

		if (buffer->state != BUFFER_LIVE || !table_find(index, difference_key(process, buffer), &at) || at != i)
			continue;
		process->freed[process->freed_count++] = *buffer;
		difference_add(&difference_type_of(process, buffer->type)->freed, buffer);
	}
}

static int difference_compare(struct difference_process *process)
{
	size_t before = process->before ? process->before->buffer_count : 0;
	size_t after = process->after ? process->after->buffer_count : 0;
	struct table index = {0};
	int err;

	process->rebuilt =
		process->before && process->after && process->before->resynchronised != process->after->resynchronised;
	process->added = calloc(after + 1, sizeof(*process->added));
	process->freed = calloc(before + 1, sizeof(*process->freed));
	err = process->added && process->freed ? difference_index(process, &index) : -ENOMEM;
	if (!err) {
		difference_walk_after(process, &index);
		difference_walk_before(process, &index);
	}
	table_fini(&index);
	return err;
}

/* ---- all ---- */

static const struct snapshot_process *difference_find(const struct snapshot *snapshot, uint32_t process)
{
	for (size_t i = 0; i < snapshot->process_count; i++) {
		if (snapshot->processes[i].process == process)
			return &snapshot->processes[i];
	}
	return NULL;
}

static void difference_total(struct difference *difference, const struct difference_process *process)
{
	for (uint32_t i = 0; i < process->type_count; i++) {
		const struct difference_type *type = &process->types[i];

		difference->added.buffers += type->added.buffers;
		difference->added.bytes += type->added.bytes;
		difference->freed.buffers += type->freed.buffers;
		difference->freed.bytes += type->freed.bytes;
		difference->stayed.buffers += type->stayed.buffers;
		difference->stayed.bytes += type->stayed.bytes;
	}
}

static int difference_process(struct difference *difference, const struct snapshot_process *before,
			      const struct snapshot_process *after)
{
	struct difference_process *process = &difference->processes[difference->process_count++];
	int err;

	process->before = before;
	process->after = after;
	err = difference_compare(process);
	if (err)
		return err;
	difference_total(difference, process);
	if (!process->type_count) {
		free(process->added);
		free(process->freed);
		*process = (struct difference_process){0};
		difference->process_count--;
	}
	return 0;
}

static int64_t difference_growth(const struct difference_process *process)
{
	int64_t growth = 0;

	for (uint32_t i = 0; i < process->type_count; i++)
		growth += (int64_t)(process->types[i].added.bytes - process->types[i].freed.bytes);
	return growth;
}

static int difference_by_growth(const void *a, const void *b)
{
	const struct difference_process *left = a, *right = b;
	int64_t left_growth = difference_growth(left), right_growth = difference_growth(right);
	uint32_t left_process = (left->after ? left->after : left->before)->process;
	uint32_t right_process = (right->after ? right->after : right->before)->process;

	if (left_growth != right_growth)
		return left_growth > right_growth ? -1 : 1;
	return (left_process > right_process) - (left_process < right_process);
}

static int difference_by_type(const void *a, const void *b)
{
	return (int)((const struct difference_type *)a)->type - (int)((const struct difference_type *)b)->type;
}

int difference_make(const struct snapshot *from, const struct snapshot *to, struct difference *out)
{
	int err = 0;

	*out = (struct difference){.from = from, .to = to};
	out->processes = calloc(from->process_count + to->process_count + 1, sizeof(*out->processes));
	if (!out->processes)
		return -ENOMEM;
	for (size_t i = 0; !err && i < to->process_count; i++)
		err = difference_process(out, difference_find(from, to->processes[i].process), &to->processes[i]);
	for (size_t i = 0; !err && i < from->process_count; i++) {
		if (!difference_find(to, from->processes[i].process))
			err = difference_process(out, &from->processes[i], NULL);
	}
	if (err) {
		difference_fini(out);
		return err;
	}
	for (size_t i = 0; i < out->process_count; i++)
		qsort(out->processes[i].types, out->processes[i].type_count, sizeof(out->processes[i].types[0]),
		      difference_by_type);
	if (out->process_count)
		qsort(out->processes, out->process_count, sizeof(*out->processes), difference_by_growth);
	return 0;
}

void difference_fini(struct difference *difference)
{
	for (size_t i = 0; i < difference->process_count; i++) {
		free(difference->processes[i].added);
		free(difference->processes[i].freed);
	}
	free(difference->processes);
	difference->processes = NULL;
	difference->process_count = 0;
}
