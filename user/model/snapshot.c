// SPDX-License-Identifier: BSD-2-Clause
/*
 * One moment of the model copied into plain data that owns itself: everything lies in one arena, so
 * a snapshot outlives the model and is freed in one go.
 */
#include "model/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "model/arena.h"
#include "model/process.h"
#include "model/reasons.h"
#include "model/snapshot_internal.h"

struct snapshot_owner {
	struct snapshot snapshot; /* first: the public pointer is this one */
	struct arena arena;
};

struct snapshot *snapshot_new(struct arena **arena)
{
	struct snapshot_owner *owner = calloc(1, sizeof(*owner));

	if (!owner)
		return NULL;
	*arena = &owner->arena;
	return &owner->snapshot;
}

void snapshot_free(struct snapshot *snapshot)
{
	struct snapshot_owner *owner = (struct snapshot_owner *)snapshot;

	if (!owner)
		return;
	arena_fini(&owner->arena);
	free(owner);
}

static const char *snapshot_string(struct arena *arena, const char *text)
{
	return arena_string(arena, text, text ? strlen(text) : 0);
}

static void snapshot_runtimes(struct arena *arena, struct snapshot_process *out)
{
	struct snapshot_runtime *list = arena_copy(arena, out->runtimes, out->runtime_count, sizeof(*list));

	for (size_t i = 0; list && i < out->runtime_count; i++) {
		struct layout_field *layout;

		list[i].name = snapshot_string(arena, list[i].name);
		list[i].library = snapshot_string(arena, list[i].library);
		list[i].build_id = snapshot_string(arena, list[i].build_id);
		layout = arena_copy(arena, list[i].layout, list[i].layout_count, sizeof(*layout));
		for (size_t field = 0; layout && field < list[i].layout_count; field++)
			layout[field].name = snapshot_string(arena, layout[field].name);
		list[i].layout = layout;
	}
	out->runtimes = list;
}

static void snapshot_unmatched_list(struct arena *arena, struct snapshot_process *out)
{
	struct snapshot_unmatched *list = arena_copy(arena, out->unmatched, out->unmatched_count, sizeof(*list));

	for (size_t i = 0; list && i < out->unmatched_count; i++)
		list[i].chips = arena_copy(arena, list[i].chips, list[i].chip_count, sizeof(*list[i].chips));
	out->unmatched = list;
}

/* Chips in order of their numbers; those not known last. */
static int snapshot_by_chip(const void *a, const void *b)
{
	uint32_t left = (uint32_t)((const struct snapshot_device *)a)->device;
	uint32_t right = (uint32_t)((const struct snapshot_device *)b)->device;

	return (left > right) - (left < right);
}

static void snapshot_devices(struct arena *arena, const struct process *process, struct snapshot_process *out)
{
	struct snapshot_device *list = arena_array(arena, process->devices.chip_count, sizeof(*list));

	out->devices = list;
	for (uint32_t i = 0; list && i < process->devices.chip_count; i++) {
		const struct device_chip *chip = &process->devices.chips[i];
		struct snapshot_device *device = &list[out->device_count];

		if (!chip->used_types)
			continue;
		device->device = chip->chip;
		device->chip = chip->identity;
		for (unsigned int type = 0; type < DEVICE_TYPES; type++) {
			const struct device_figure *figure = &chip->figures[type];

			if (!(chip->used_types & 1u << type))
				continue;
			device->types[device->type_count++] = (struct snapshot_type){
				.type = (enum memory_type)type,
				.live_buffers = figure->live_buffers,
				.live_bytes = figure->live_bytes,
				.held_buffers = figure->held_buffers,
				.held_bytes = figure->held_bytes,
				.peak_bytes = figure->peak_bytes,
				.peak_bytes_ns = figure->peak_bytes_ns,
				.peak_buffers = figure->peak_buffers,
				.peak_buffers_ns = figure->peak_buffers_ns,
			};
		}
		out->device_count++;
	}
	if (out->device_count)
		qsort(list, out->device_count, sizeof(*list), snapshot_by_chip);
}

static int snapshot_by_size(const void *a, const void *b)
{
	const struct snapshot_buffer *left = a, *right = b;
	uint64_t left_bytes = snapshot_buffer_bytes(left), right_bytes = snapshot_buffer_bytes(right);

	if (left_bytes != right_bytes)
		return left_bytes > right_bytes ? -1 : 1;
	return (left->serial > right->serial) - (left->serial < right->serial);
}

static void snapshot_buffers(struct arena *arena, const struct process *process, struct snapshot_process *out)
{
	struct snapshot_buffer *list = arena_array(arena, store_count(&process->store), sizeof(*list));
	const int32_t **chips = arena_array(arena, process->devices.entry_count, sizeof(*chips));
	const struct record *record;
	size_t cursor = 0, count = 0;

	if (!list || !chips)
		return;
	/* Many buffers, few device objects: they share one copy of its chips. */
	for (uint32_t i = 0; i < process->devices.entry_count; i++)
		chips[i] = arena_copy(arena, process->devices.entries[i].chips, process->devices.entries[i].chip_count,
				      sizeof(**chips));
	while ((record = store_next(&process->store, &cursor))) {
		buffers_describe(process, record, &list[count]);
		list[count++].chips = chips[process->shapes.shapes[record->shape].key.device];
	}
	qsort(list, count, sizeof(*list), snapshot_by_size);
	out->buffers = list;
	out->buffer_count = count;
}

static const int32_t *snapshot_chips(struct arena *arena, const struct process *process, uint32_t device,
				     uint32_t *count)
{
	const struct device_entry *entry;

	*count = 0;
	if (device == BOOKS_NO_DEVICE)
		return NULL;
	entry = &process->devices.entries[device];
	*count = entry->chip_count;
	return arena_copy(arena, entry->chips, entry->chip_count, sizeof(*entry->chips));
}

static void snapshot_allocators(struct arena *arena, const struct process *process, struct snapshot_process *out)
{
	struct snapshot_allocator *list = arena_array(arena, process->books.count, sizeof(*list));

	out->allocators = list;
	for (uint32_t i = 0; list && i < process->books.count; i++) {
		const struct books_entry *entry = &process->books.entries[i];
		struct snapshot_allocator *allocator = &list[out->allocator_count];

		if (!entry->listed)
			continue;
		*allocator = (struct snapshot_allocator){
			.id = entry->id,
			.allocator = entry->allocator,
			.type = (enum memory_type)entry->type,
			.banks = entry->banks,
			.capacity_bytes = entry->capacity_bytes,
			.used_bytes = entry->used_bytes,
			.free_bytes = entry->free_bytes,
			.largest_free_bytes = entry->largest_free_bytes,
			.books = entry->verdict,
			.why = snapshot_string(arena, entry->why),
			.table_only = entry->table_only,
			.books_only = entry->books_only,
		};
		allocator->chips = snapshot_chips(arena, process, entry->device, &allocator->chip_count);
		out->allocator_count++;
	}
}

static void snapshot_census(struct arena *arena, struct snapshot_process *out)
{
	struct snapshot_census *census;

	if (!out->census)
		return;
	census = arena_copy(arena, out->census, 1, sizeof(*census));
	out->census = census;
	if (census && census->reason)
		census->reason = snapshot_string(arena, census->reason);
}

static int snapshot_by_time(const void *a, const void *b)
{
	const struct snapshot_closure *left = a, *right = b;

	return (left->time_ns > right->time_ns) - (left->time_ns < right->time_ns);
}

static void snapshot_closures(struct arena *arena, const struct process *process, struct snapshot_process *out)
{
	struct snapshot_closure *list = arena_array(arena, process->closure_count, sizeof(*list));

	out->closures = list;
	for (uint32_t i = 0; list && i < process->closure_count; i++) {
		const struct closure *closure = &process->closures[i];

		if (closure->buffers)
			list[out->closure_count++] = (struct snapshot_closure){
				.time_ns = closure->time_ns,
				.buffers = closure->buffers,
				.bytes = closure->bytes,
			};
	}
	if (out->closure_count)
		qsort(list, out->closure_count, sizeof(*list), snapshot_by_time);
}

static void snapshot_process(struct arena *arena, const struct process *process, struct snapshot_process *out)
{
	*out = process->shown;
	out->id = snapshot_string(arena, out->id);
	out->parent_id = out->parent_id ? snapshot_string(arena, out->parent_id) : NULL;
	out->command = arena_string(arena, out->command, out->command_len);
	out->cgroup = snapshot_string(arena, out->cgroup);
	snapshot_runtimes(arena, out);
	snapshot_unmatched_list(arena, out);
	out->failures = arena_copy(arena, out->failures, out->failure_count, sizeof(*out->failures));
	snapshot_devices(arena, process, out);
	snapshot_buffers(arena, process, out);
	snapshot_census(arena, out);
	snapshot_allocators(arena, process, out);
	snapshot_closures(arena, process, out);
	out->reasons = reasons_of_process(arena, process, &out->reason_count);
	out->exact = !out->reason_count;
}

struct snapshot_filter {
	model_filter wants; /* NULL: all, as the model's options say */
	const void *context;
};

static bool snapshot_wants(const struct model *model, const struct process *process,
			   const struct snapshot_filter *filter)
{
	if (!process || (!process->active && !process->named))
		return false;
	if (filter->wants)
		return filter->wants(filter->context, process->shown.process);
	/* Where the ended ones are kept for whoever asked for them, so is what they named. */
	return model->options.keep_ended || (process_running(process) && process->active);
}

static int snapshot_by_birth(const void *a, const void *b)
{
	const struct process *left = *(struct process *const *)a, *right = *(struct process *const *)b;

	return (left->order > right->order) - (left->order < right->order);
}

static void snapshot_processes(struct arena *arena, const struct model *model, const struct snapshot_filter *filter,
			       struct snapshot *out)
{
	const struct process **wanted = arena_array(arena, model->process_count, sizeof(*wanted));
	struct snapshot_process *list;
	size_t count = 0;

	for (uint32_t i = 0; wanted && i < model->process_count; i++) {
		if (snapshot_wants(model, model->processes[i], filter))
			wanted[count++] = model->processes[i];
	}
	if (!count)
		return;
	qsort(wanted, count, sizeof(*wanted), snapshot_by_birth);
	list = arena_array(arena, count, sizeof(*list));
	if (!list)
		return;
	for (size_t i = 0; i < count; i++) {
		snapshot_process(arena, wanted[i], &list[i]);
		if (!list[i].exact)
			out->exact = false;
	}
	out->processes = list;
	out->process_count = count;
}

struct snapshot *model_snapshot(const struct model *model, uint64_t now_ns)
{
	return model_snapshot_of(model, now_ns, NULL, NULL);
}

struct snapshot *model_snapshot_of(const struct model *model, uint64_t now_ns, model_filter wants, const void *context)
{
	struct snapshot_filter filter = {.wants = wants, .context = context};
	struct arena *arena;
	struct snapshot *out = snapshot_new(&arena);

	if (!out)
		return NULL;
	out->now_ns = now_ns;
	out->exact = true;
	out->lost_records = model->lost_records;
	out->stops = model->stops;
	out->stopped_ns = model->stopped_ns;
	snapshot_processes(arena, model, &filter, out);
	out->reasons = reasons_of_model(arena, model, &out->reason_count);
	if (out->reason_count)
		out->exact = false;
	if (arena->failed) {
		snapshot_free(out);
		return NULL;
	}
	return out;
}
