/* SPDX-License-Identifier: BSD-2-Clause */
/* Allocations that failed for want of memory: what was asked for, and who held what at that moment. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/process.h"

/* Is @chip of some process the one that @asker has under @number? */
static bool failures_same_chip(const struct process *asker, int32_t number, const struct device_chip *chip)
{
	const struct chip_identity *asked = device_identity(&asker->devices, number);

	if (asked->known && chip->identity.known)
		return chip_same(asked, &chip->identity);
	/* Nothing tells: the number is all there is. */
	return asked->known == chip->identity.known && number == chip->chip;
}

static void failures_add_figure(const struct process *process, const struct process *asker,
				const struct snapshot_failure *failure, struct snapshot_holder *holder)
{
	/* The same address is needed on every chip, so the fullest of them decides. */
	for (uint32_t i = 0; i < process->devices.chip_count; i++) {
		const struct device_chip *chip = &process->devices.chips[i];
		const struct device_figure *figure = &chip->figures[failure->type];

		for (uint32_t asked = 0; asked < failure->chip_count; asked++) {
			if (figure->live_bytes > holder->bytes &&
			    failures_same_chip(asker, failure->chips[asked], chip)) {
				holder->bytes = figure->live_bytes;
				holder->buffers = figure->live_buffers;
			}
		}
	}
}

/* Largest first; the smallest of too many is left out and counted. */
static void failures_insert(struct snapshot_failure *failure, const struct snapshot_holder *holder)
{
	uint32_t at = failure->holder_count;

	if (at == SNAPSHOT_MAX_HOLDERS) {
		failure->holders_left_out++;
		if (failure->holders[at - 1].bytes >= holder->bytes)
			return;
		at--;
	} else {
		failure->holder_count++;
	}
	for (; at && failure->holders[at - 1].bytes < holder->bytes; at--)
		failure->holders[at] = failure->holders[at - 1];
	failure->holders[at] = *holder;
}

static void failures_holders(const struct model *model, const struct process *asker, struct snapshot_failure *failure)
{
	for (uint32_t i = 0; i < model->process_count; i++) {
		const struct process *process = model->processes[i];
		struct snapshot_holder holder = {0};

		if (!process || !process_running(process))
			continue;
		failures_add_figure(process, asker, failure, &holder);
		if (!holder.bytes)
			continue;
		holder.pid = process->shown.pid;
		holder.user = process->shown.user;
		snprintf(holder.id, sizeof(holder.id), "%s", process->shown.id);
		failures_insert(failure, &holder);
	}
}

/* As the last census read them, if the last one had them. */
static void failures_books(const struct process *process, uint64_t allocator, struct snapshot_failure *failure)
{
	for (uint32_t i = 0; i < process->books.count; i++) {
		const struct books_entry *entry = &process->books.entries[i];

		if (!entry->listed || entry->verdict == BOOKS_VERDICT_UNREAD || entry->allocator != allocator ||
		    entry->type != failure->type)
			continue;
		failure->books_ns = process->census.time_ns;
		failure->capacity_bytes = entry->capacity_bytes;
		failure->free_bytes = entry->free_bytes;
		failure->largest_free_bytes = entry->largest_free_bytes;
	}
}

static int failures_keep(struct process *process, const struct snapshot_failure *failure)
{
	struct snapshot_failure *list;
	size_t count = process->shown.failure_count;

	if (count >= FAILURES_KEPT)
		return 0;
	list = realloc(process->failures, (count + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	list[count] = *failure;
	process->failures = list;
	process->shown.failures = list;
	process->shown.failure_count = count + 1;
	return 0;
}

int failures_note(struct model *model, struct process *process, const struct event *event)
{
	const struct event_buffer *asked = &event->buffer;
	struct snapshot_failure failure = {
		.time_ns = event->time_ns,
		.thread = event->thread,
		.known = asked->fault == BUFFER_FAULT_NONE,
		.type = asked->type,
	};
	struct notice notice = {.kind = NOTICE_OUT_OF_MEMORY, .failure = &failure};
	const struct device_entry *device;
	int err;

	process->shown.out_of_memory++;
	if (failure.known) {
		failure.size_bytes = asked->size_bytes;
		failure.page_size_bytes = asked->page_size_bytes;
		device = device_find(&process->devices, asked->device_object);
		for (uint32_t i = 0; device && i < device->chip_count && i < EVENT_MAX_CHIPS; i++)
			failure.chips[failure.chip_count++] = device->chips[i];
		failures_holders(model, process, &failure);
		failures_books(process, asked->allocator, &failure);
	}
	err = failures_keep(process, &failure);
	process_notify(model, process, event, &notice);
	return err;
}
