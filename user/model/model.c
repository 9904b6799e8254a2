// SPDX-License-Identifier: BSD-2-Clause
/*
 * The model's door: which event goes where, what concerns all processes, and the questions that
 * others ask. See model.h for the rules, process.h for what is inside.
 */
#include "model/model.h"

#include <errno.h>
#include <stdlib.h>

#include "model/process.h"

struct model *model_new(const struct model_options *options)
{
	struct model *model = calloc(1, sizeof(*model));

	if (model)
		model->options = *options;
	return model;
}

void model_free(struct model *model)
{
	if (!model)
		return;
	for (uint32_t i = 0; i < model->process_count; i++)
		process_free(model->processes[i]);
	free(model->processes);
	table_fini(&model->by_number);
	process_marks_fini(&model->marks);
	free(model);
}

void model_set_listener(struct model *model, model_listener listener, void *context)
{
	model->listener = listener;
	model->listener_context = context;
}

static void model_lost(struct model *model, struct process *process, const struct event *event)
{
	struct notice notice = {.kind = NOTICE_LOST, .lost = event->lost};
	uint64_t sum = event->lost.allocations + event->lost.frees + event->lost.others;

	if (!sum)
		return;
	model->lost_records += sum;
	if (process) {
		process->active = true;
		process->books.fresh = false;
		process->shown.lost_records += sum;
		process->doubts.lost.allocations += event->lost.allocations;
		process->doubts.lost.frees += event->lost.frees;
		process->doubts.lost.others += event->lost.others;
		process->doubts.last_lost_ns = event->time_ns;
	} else {
		/* Whose they were is not known, so they may have been anyone's who was running. */
		model->lost_unknown += sum;
		for (uint32_t i = 0; i < model->process_count; i++) {
			if (!model->processes[i] || !process_running(model->processes[i]))
				continue;
			model->processes[i]->doubts.lost_elsewhere += sum;
			model->processes[i]->doubts.last_lost_ns = event->time_ns;
		}
	}
	process_notify(model, process, event, &notice);
}

static void model_stop(struct model *model, struct process *process, const struct event_stop *stop)
{
	model->stops += stop->times;
	model->stopped_ns += stop->stopped_ns;
	if (!process)
		return;
	process->active = true;
	process->shown.stops += stop->times;
	process->shown.stopped_ns += stop->stopped_ns;
}

static int model_apply_running(struct model *model, struct process *process, const struct event *event)
{
	/* Not UNSURE: it answers a question of ours. */
	if (event->kind != EVENT_EXEC && event->kind != EVENT_EXIT && event->kind != EVENT_UNSURE)
		process->active = true;
	if (event->kind >= EVENT_ALLOCATE && event->kind <= EVENT_RELEASE)
		process->books.fresh = false;
	switch (event->kind) {
	case EVENT_RUNTIME:
		return process_runtime(model, process, event);
	case EVENT_DEVICE:
		return device_learn(&process->devices, &event->device);
	case EVENT_CHIP:
		return device_identify(&process->devices, &event->chip);
	case EVENT_ALLOCATE:
		return buffers_allocate(model, process, event);
	case EVENT_FREE:
		return buffers_free(model, process, event);
	case EVENT_CLOSE:
		return buffers_close(model, process, event);
	case EVENT_BULK_FREE:
		return buffers_bulk_free(model, process, event);
	case EVENT_RELEASE:
		return buffers_release(model, process, event);
	case EVENT_UNSURE:
		return buffers_unsure(model, process, event);
	case EVENT_BOOKS:
		return books_note(process, &event->books);
	case EVENT_CENSUS:
		return process_census(model, process, event);
	case EVENT_RESTART:
		process_resynchronise(model, process, event->time_ns);
		return 0;
	case EVENT_OUT_OF_MEMORY:
		return failures_note(model, process, event);
	case EVENT_EXEC:
	case EVENT_EXIT:
		process_end(model, process, event);
		return 0;
	case EVENT_BIRTH:
	case EVENT_LOST:
	case EVENT_STOP:
		break;
	}
	model->ignored_events++;
	return 0;
}

int model_apply(struct model *model, const struct event *event)
{
	struct process *process = process_find(model, event->process);
	int err;

	if (event->kind == EVENT_LOST) {
		/* Also of one that has ended: the count of losses may come later than the end. */
		model_lost(model, process, event);
		return 0;
	}
	if (event->kind == EVENT_STOP) {
		model_stop(model, process, &event->stop);
		return 0;
	}
	if (event->kind == EVENT_BIRTH && !process && event->process) {
		err = process_birth(model, event);
		process = NULL;
	} else if (process && process_running(process)) {
		err = model_apply_running(model, process, event);
	} else {
		model->ignored_events++;
		return 0;
	}
	if (err == -ENOMEM) {
		if (process) {
			process->active = true;
			process->doubts.out_of_memory++;
		} else {
			model->out_of_memory++;
		}
	}
	return err;
}

static int model_mark(struct process *process, const char *reason, const char *text)
{
	process->active = true;
	if (!process->marks) {
		process->marks = calloc(1, sizeof(*process->marks));
		if (!process->marks)
			return -ENOMEM;
	}
	return process_mark(process->marks, reason, text);
}

int model_mark_inexact(struct model *model, uint32_t number, const char *reason, const char *text)
{
	struct process *process = number ? process_find(model, number) : NULL;
	int err = 0;

	if (process) {
		err = model_mark(process, reason, text);
		if (err)
			process->doubts.out_of_memory++;
		return err;
	}
	for (uint32_t i = 0; i < model->process_count && !err; i++) {
		process = model->processes[i];
		if (process && process_running(process) && (process->active || process->named))
			err = model_mark(process, reason, text);
	}
	if (!err)
		err = process_mark(&model->marks, reason, text);
	if (err)
		model->out_of_memory++;
	return err;
}

int model_resynchronise(struct model *model, uint32_t number, uint64_t time_ns)
{
	struct process *process = process_find(model, number);

	if (!process || !process_running(process))
		return -ENOENT;
	process_resynchronise(model, process, time_ns);
	return 0;
}

size_t model_book_differences(const struct model *model, uint32_t number, struct book_difference *out, size_t max)
{
	const struct process *process;
	uint32_t slot;

	if (!table_find(&model->by_number, number, &slot))
		return 0;
	process = model->processes[slot];
	for (size_t i = 0; i < max && i < process->books.difference_count; i++)
		out[i] = process->books.differences[i];
	return process->books.difference_count;
}

int model_keep(struct model *model, uint32_t number)
{
	struct process *process = process_find(model, number);

	if (!process)
		return -ENOENT;
	process->keepers++;
	return 0;
}

void model_release(struct model *model, uint32_t number)
{
	struct process *process = process_find(model, number);

	if (!process || !process->keepers || --process->keepers || process_running(process) ||
	    model->options.keep_ended)
		return;
	process_forget(model, process);
}

uint32_t model_running(const struct model *model, uint32_t pid)
{
	for (uint32_t i = 0; i < model->process_count; i++) {
		const struct process *process = model->processes[i];

		if (process && process_running(process) && process->shown.pid == pid)
			return process->shown.process;
	}
	return 0;
}

size_t model_process_bytes(const struct model *model, uint32_t number)
{
	uint32_t slot;

	return table_find(&model->by_number, number, &slot) ? process_memory_bytes(model->processes[slot]) : 0;
}

uint64_t model_held_count(const struct model *model)
{
	return model->held;
}

uint64_t model_live_count(const struct model *model)
{
	return model->live;
}

uint64_t model_ignored_events(const struct model *model)
{
	return model->ignored_events;
}

/* As it was in the event that allocated it: what a source needs to recognise the object. */
static void model_buffer_again(const struct process *process, const struct record *record, struct event_buffer *out)
{
	const struct shape_key *key = &process->shapes.shapes[record->shape].key;

	*out = (struct event_buffer){
		.object = record->object,
		.device_object = process->devices.entries[key->device].object,
		.allocator = key->allocator,
		.address = record->address,
		.size_bytes = record->size_bytes,
		.page_size_bytes = key->page_size_bytes,
		.type = (enum memory_type)key->type,
		.runtime = key->runtime,
		.footprint_bytes = record->footprint_bytes,
	};
}

void model_visit_held(const struct model *model, model_held_visitor visit, void *context)
{
	for (uint32_t i = 0; i < model->process_count; i++) {
		const struct process *process = model->processes[i];
		const struct record *record;
		size_t cursor = 0;

		if (!process || !process_running(process) || !process->shown.held)
			continue;
		while ((record = store_next(&process->store, &cursor))) {
			struct event_buffer buffer;

			if (process->shapes.shapes[record->shape].key.state == BUFFER_LIVE)
				continue;
			model_buffer_again(process, record, &buffer);
			visit(context, process->shown.process, &buffer);
		}
	}
}

size_t model_memory_bytes(const struct model *model)
{
	size_t bytes = sizeof(*model) + model->process_capacity * sizeof(struct process *) +
		       table_memory_bytes(&model->by_number);

	for (uint32_t i = 0; i < model->process_count; i++) {
		if (model->processes[i])
			bytes += process_memory_bytes(model->processes[i]);
	}
	return bytes;
}
