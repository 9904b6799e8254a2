// SPDX-License-Identifier: BSD-2-Clause
/* The summary for programs; see json_view.h. */
#include "view/json_view.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <jansson.h>

#include "view/json_fields.h"
#include "view/phrase.h"

#define JSON_VIEW_SCHEMA "bufscope.summary/1"

/* Writes the members of @object without its braces and releases it. 0, -ENOMEM or -EIO. */
static int json_view_members(FILE *out, json_t *object, bool failed)
{
	int err = 0;

	if (!object || failed)
		err = -ENOMEM;
	else if (json_dumpf(object, out, JSON_COMPACT | JSON_EMBED | JSON_ENSURE_ASCII))
		err = ferror(out) ? -EIO : -ENOMEM;
	json_decref(object);
	return err;
}

static json_t *json_view_reasons(const struct snapshot_reason *reasons, size_t count, bool *failed)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *reason = json_object();

		json_fields_string(reason, "reason", reasons[i].reason, failed);
		json_fields_string(reason, "text", reasons[i].text, failed);
		if (json_array_append_new(array, reason))
			*failed = true;
	}
	return array;
}

static json_t *json_view_command(const struct snapshot_process *process, bool *failed)
{
	const char *end = process->command + process->command_len;
	json_t *array = json_array();

	for (const char *at = process->command; at < end;) {
		size_t len = strnlen(at, (size_t)(end - at));

		if (json_array_append_new(array, json_fields_text(at, len)))
			*failed = true;
		at += len + 1;
	}
	return array;
}

static const char *json_view_end_word(enum process_end end)
{
	switch (end) {
	case PROCESS_EXITED:
		return "exit";
	case PROCESS_SIGNALLED:
		return "signal";
	case PROCESS_EXECED:
		return "exec";
	case PROCESS_RUNNING:
		break;
	}
	return "running";
}

static json_t *json_view_end(const struct snapshot_process *process, bool *failed)
{
	bool exited = process->end == PROCESS_EXITED && process->exit_status >= 0;
	json_t *end = json_object();

	json_fields_string(end, "how", json_view_end_word(process->end), failed);
	json_fields_set(end, "code", exited ? json_integer(process->exit_status) : json_null(), failed);
	json_fields_set(end, "signal", process->end == PROCESS_SIGNALLED ? json_integer(process->signal) : json_null(),
			failed);
	json_fields_bool(end, "core_dumped", process->core_dumped, failed);
	json_fields_u64_or_null(end, "end_ns", process->end_ns != 0, process->end_ns, failed);
	return end;
}

static json_t *json_view_devices(const struct snapshot_process *process, bool *failed)
{
	json_t *array = json_array();

	for (size_t i = 0; i < process->device_count; i++) {
		const struct snapshot_device *device = &process->devices[i];
		json_t *object = json_object(), *types = json_array();

		for (uint32_t t = 0; t < device->type_count; t++) {
			const struct snapshot_type *figures = &device->types[t];
			json_t *type = json_object();

			json_fields_string(type, "type", memory_type_name(figures->type), failed);
			json_fields_u64(type, "live_buffers", figures->live_buffers, failed);
			json_fields_u64(type, "live_bytes", figures->live_bytes, failed);
			json_fields_u64(type, "held_buffers", figures->held_buffers, failed);
			json_fields_u64(type, "held_bytes", figures->held_bytes, failed);
			json_fields_u64(type, "peak_bytes", figures->peak_bytes, failed);
			json_fields_u64(type, "peak_bytes_ns", figures->peak_bytes_ns, failed);
			json_fields_u64(type, "peak_buffers", figures->peak_buffers, failed);
			json_fields_u64(type, "peak_buffers_ns", figures->peak_buffers_ns, failed);
			if (json_array_append_new(types, type))
				*failed = true;
		}
		json_fields_i64(object, "device", device->device, failed);
		json_fields_chip(object, &device->chip, failed);
		json_fields_set(object, "types", types, failed);
		if (json_array_append_new(array, object))
			*failed = true;
	}
	return array;
}

static json_t *json_view_runtimes(const struct snapshot_process *process, bool *failed)
{
	json_t *array = json_array();

	for (size_t i = 0; i < process->runtime_count; i++) {
		json_t *runtime = json_object();

		json_fields_runtime(runtime, &process->runtimes[i], failed);
		if (json_array_append_new(array, runtime))
			*failed = true;
	}
	return array;
}

static json_t *json_view_unmatched(const struct snapshot_process *process, bool *failed)
{
	json_t *array = json_array();

	for (size_t i = 0; i < process->unmatched_count; i++) {
		json_t *unmatched = json_object();

		json_fields_unmatched(unmatched, &process->unmatched[i], failed);
		if (json_array_append_new(array, unmatched))
			*failed = true;
	}
	return array;
}

static json_t *json_view_failures(const struct snapshot_process *process, bool *failed)
{
	json_t *array = json_array();

	for (size_t i = 0; i < process->failure_count; i++) {
		json_t *failure = json_object();

		json_fields_u64(failure, "time_ns", process->failures[i].time_ns, failed);
		json_fields_u64(failure, "thread", process->failures[i].thread, failed);
		json_fields_failure(failure, &process->failures[i], failed);
		if (json_array_append_new(array, failure))
			*failed = true;
	}
	return array;
}

static json_t *json_view_allocators(const struct snapshot_process *process, bool *failed)
{
	json_t *array = json_array();

	for (size_t i = 0; i < process->allocator_count; i++) {
		const struct snapshot_allocator *allocator = &process->allocators[i];
		json_t *object = json_object();

		json_fields_u64(object, "id", allocator->id, failed);
		json_fields_u64(object, "object", allocator->allocator, failed);
		json_fields_set(object, "on_devices", json_fields_chips(allocator->chips, allocator->chip_count),
				failed);
		json_fields_string(object, "type", memory_type_name(allocator->type), failed);
		json_fields_u64(object, "banks", allocator->banks, failed);
		json_fields_u64(object, "capacity_bytes", allocator->capacity_bytes, failed);
		json_fields_u64(object, "used_bytes", allocator->used_bytes, failed);
		json_fields_u64(object, "free_bytes", allocator->free_bytes, failed);
		json_fields_u64(object, "largest_free_bytes", allocator->largest_free_bytes, failed);
		json_fields_string(object, "books", phrase_books_word(allocator->books), failed);
		json_fields_string(object, "why", *allocator->why ? allocator->why : NULL, failed);
		json_fields_u64(object, "table_only", allocator->table_only, failed);
		json_fields_u64(object, "books_only", allocator->books_only, failed);
		if (json_array_append_new(array, object))
			*failed = true;
	}
	return array;
}

static json_t *json_view_census(const struct snapshot_process *process, bool *failed)
{
	json_t *census;

	if (!process->census)
		return json_null();
	census = json_object();
	json_fields_u64(census, "time_ns", process->census->time_ns, failed);
	json_fields_census(census, process->census, failed);
	return census;
}

static void json_view_counts(json_t *object, const struct snapshot_process *process, bool *failed)
{
	json_fields_u64(object, "before_attach", process->before_attach, failed);
	json_fields_u64(object, "allocated", process->allocated, failed);
	json_fields_u64(object, "freed", process->freed, failed);
	json_fields_u64(object, "missed_frees", process->missed_frees, failed);
	json_fields_u64(object, "held_at_close", process->held_at_close, failed);
	json_fields_u64(object, "held_released", process->held_released, failed);
	json_fields_u64(object, "cleared", process->cleared, failed);
	json_fields_u64(object, "live", process->live, failed);
	json_fields_u64(object, "held", process->held, failed);
	json_fields_u64(object, "uncertain", process->uncertain, failed);
	json_fields_u64(object, "unknown_frees", process->unknown_frees, failed);
	json_fields_u64(object, "double_frees", process->double_frees, failed);
	json_fields_u64(object, "out_of_memory", process->out_of_memory, failed);
}

/* All of a process but its buffers. */
static json_t *json_view_process_head(const struct snapshot_process *process, bool *failed)
{
	json_t *object = json_object();

	json_fields_string(object, "id", process->id, failed);
	json_fields_u64(object, "pid", process->pid, failed);
	json_fields_u64(object, "start_ns", process->start_ns, failed);
	json_fields_u64(object, "observed_ns", process->observed_ns, failed);
	json_fields_u64(object, "resynchronised", process->resynchronised, failed);
	json_fields_u64(object, "exec_count", process->exec_count, failed);
	json_fields_string(object, "parent", process->parent_id, failed);
	json_fields_set(object, "command", json_view_command(process, failed), failed);
	json_fields_u64(object, "user", process->user, failed);
	json_fields_string(object, "cgroup", process->cgroup, failed);
	json_fields_set(object, "end", json_view_end(process, failed), failed);
	json_fields_bool(object, "exact", process->exact, failed);
	json_fields_set(object, "inexact_reasons", json_view_reasons(process->reasons, process->reason_count, failed),
			failed);
	json_fields_u64(object, "lost_records", process->lost_records, failed);
	json_fields_u64(object, "stops", process->stops, failed);
	json_fields_u64(object, "stopped_ns", process->stopped_ns, failed);
	json_fields_set(object, "runtimes", json_view_runtimes(process, failed), failed);
	json_view_counts(object, process, failed);
	json_fields_set(object, "unmatched_frees", json_view_unmatched(process, failed), failed);
	json_fields_set(object, "failed_allocations", json_view_failures(process, failed), failed);
	json_fields_set(object, "devices", json_view_devices(process, failed), failed);
	json_fields_set(object, "allocators", json_view_allocators(process, failed), failed);
	json_fields_set(object, "census", json_view_census(process, failed), failed);
	return object;
}

static int json_view_buffers(FILE *out, const struct snapshot_process *process)
{
	for (size_t i = 0; i < process->buffer_count; i++) {
		json_t *buffer = json_object();
		bool failed = false;
		int err;

		json_fields_buffer(buffer, &process->buffers[i], &failed);
		fputs(i ? ",\n{" : "\n{", out);
		err = json_view_members(out, buffer, failed);
		if (err)
			return err;
		fputc('}', out);
	}
	return 0;
}

static int json_view_process(FILE *out, const struct snapshot_process *process)
{
	bool failed = false;
	json_t *head = json_view_process_head(process, &failed);
	int err;

	fputc('{', out);
	err = json_view_members(out, head, failed);
	if (err)
		return err;
	fputs(",\"buffers\":[", out);
	err = json_view_buffers(out, process);
	if (err)
		return err;
	fputs("]}", out);
	return 0;
}

static json_t *json_view_head(const struct json_view *view, const struct snapshot *snapshot, bool *failed)
{
	json_t *object = json_object(), *host = json_object(), *clock = json_object();

	json_fields_string(host, "hostname", view->hostname, failed);
	json_fields_string(host, "kernel", view->kernel, failed);
	json_fields_string(host, "machine", view->machine, failed);
	json_fields_u64(clock, "boottime_ns", view->boottime_ns, failed);
	json_fields_u64(clock, "realtime_ns", view->realtime_ns, failed);
	json_fields_string(object, "schema", JSON_VIEW_SCHEMA, failed);
	json_fields_string(object, "bufscope", view->version, failed);
	json_fields_set(object, "host", host, failed);
	json_fields_set(object, "clock", clock, failed);
	json_fields_u64(object, "now_ns", snapshot->now_ns, failed);
	json_fields_bool(object, "exact", snapshot->exact, failed);
	json_fields_set(object, "inexact_reasons", json_view_reasons(snapshot->reasons, snapshot->reason_count, failed),
			failed);
	json_fields_u64(object, "lost_records", snapshot->lost_records, failed);
	json_fields_u64(object, "stops", snapshot->stops, failed);
	json_fields_u64(object, "stopped_ns", snapshot->stopped_ns, failed);
	if (view->visible)
		json_fields_string(object, "visible", view->visible, failed);
	if (view->selection)
		json_fields_set(object, "selection", json_deep_copy(view->selection), failed);
	return object;
}

int json_view_summary(FILE *out, const struct json_view *view, const struct snapshot *snapshot)
{
	bool failed = false;
	json_t *head = json_view_head(view, snapshot, &failed);
	int err;

	fputc('{', out);
	err = json_view_members(out, head, failed);
	if (err)
		return err;
	fputs(",\n\"processes\":[", out);
	for (size_t i = 0; i < snapshot->process_count; i++) {
		fputs(i ? ",\n" : "\n", out);
		err = json_view_process(out, &snapshot->processes[i]);
		if (err)
			return err;
	}
	fputs("]}\n", out);
	return fflush(out) || ferror(out) ? -EIO : 0;
}
