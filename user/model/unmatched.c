// SPDX-License-Identifier: BSD-2-Clause
/* Frees of objects that are not in the table: counted, explained as far as that is sound, never applied. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/process.h"

/* The parent's table holds the object, and it was there before the fork: the child got a copy of it. */
static bool unmatched_is_inherited(struct model *model, const struct process *process, uint64_t object)
{
	const struct process *parent;
	const struct record *record;

	if (!process->forked_from)
		return false;
	parent = process_find(model, process->forked_from);
	record = parent ? store_find(&parent->store, object) : NULL;
	return record && record->allocated_ns < process->born_ns;
}

static enum unmatched_verdict unmatched_judge(struct model *model, const struct process *process, uint64_t object,
					      const struct freed_entry *before)
{
	/* An allocation between the two frees may be among lost records; then nothing is proven. */
	if (before && before->time_ns >= process->doubts.last_lost_ns)
		return UNMATCHED_DOUBLE;
	if (unmatched_is_inherited(model, process, object))
		return UNMATCHED_INHERITED;
	if (process->doubts.last_lost_ns)
		return UNMATCHED_LOST;
	return process_is_late(process) ? UNMATCHED_BEFORE_ATTACH : UNMATCHED_UNKNOWN;
}

/* Keeps the first ones in full. The chips are copied: their device entry may go away. */
static int unmatched_keep(struct process *process, const struct snapshot_unmatched *unmatched, uint32_t limit)
{
	struct snapshot_unmatched *list;
	int32_t *chips = NULL;

	if (process->shown.unmatched_count >= limit)
		return 0;
	list = realloc(process->unmatched, (process->shown.unmatched_count + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	process->unmatched = list;
	process->shown.unmatched = list;
	if (unmatched->chip_count) {
		chips = malloc(unmatched->chip_count * sizeof(*chips));
		if (!chips)
			return -ENOMEM;
		memcpy(chips, unmatched->chips, unmatched->chip_count * sizeof(*chips));
	}
	list[process->shown.unmatched_count] = *unmatched;
	list[process->shown.unmatched_count].chips = chips;
	process->shown.unmatched_count++;
	return 0;
}

int unmatched_free(struct model *model, struct process *process, const struct event *event)
{
	const struct event_buffer *buffer = &event->buffer;
	const struct freed_entry *before = freed_find(&process->freed, buffer->object);
	const struct device_entry *device = NULL;
	struct snapshot_unmatched unmatched = {
		.verdict = unmatched_judge(model, process, buffer->object, before),
		.object = buffer->object,
		.readable = buffer->fault == BUFFER_FAULT_NONE,
		.type = MEMORY_TYPE_COUNT,
		.time_ns = event->time_ns,
		.thread = event->thread,
	};
	struct notice notice = {.kind = NOTICE_UNMATCHED_FREE, .unmatched = &unmatched};
	int err, noted;

	if (unmatched.readable) {
		unmatched.address = buffer->address;
		unmatched.size_bytes = buffer->size_bytes;
		unmatched.type = buffer->type;
		device = device_find(&process->devices, buffer->device_object);
	}
	if (device) {
		unmatched.chips = device->chips;
		unmatched.chip_count = device->chip_count;
	}
	if (unmatched.verdict == UNMATCHED_DOUBLE) {
		process->shown.double_frees++;
		unmatched.freed_ns = before->time_ns;
		unmatched.freed_thread = before->thread;
	} else {
		process->shown.unknown_frees++;
	}
	if (unmatched.verdict == UNMATCHED_UNKNOWN)
		process->doubts.unmatched++;
	if (unmatched.verdict == UNMATCHED_BEFORE_ATTACH)
		process->doubts.older++;
	process_notify(model, process, event, &notice);
	err = unmatched_keep(process, &unmatched, model->options.max_unmatched_frees);
	/* The first free stays the one that a third is compared with: it was the rightful one. */
	noted = before ? 0 : freed_note(&process->freed, buffer->object, event->time_ns, event->thread);
	return err ? err : noted;
}
