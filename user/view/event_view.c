// SPDX-License-Identifier: BSD-2-Clause
/* What the model concludes, line by line; see event_view.h. */
#include "view/event_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "view/json_fields.h"
#include "view/phrase.h"

#define EVENT_VIEW_SCHEMA "bufscope.event/1"
#define EVENT_LLU(value)  ((unsigned long long)(value))

void event_view_fini(struct event_view *view)
{
	table_fini(&view->warnings);
	table_fini(&view->pids);
}

/* The name in the "event" field. */
static const char *event_word(enum notice_kind kind)
{
	switch (kind) {
	case NOTICE_ALLOCATE:
		return "allocate";
	case NOTICE_FREE:
		return "free";
	case NOTICE_HOLD:
		return "hold";
	case NOTICE_RELEASE:
		return "release";
	case NOTICE_CLOSE:
		return "close";
	case NOTICE_UNMATCHED_FREE:
		return "unmatched_free";
	case NOTICE_MISSED_FREE:
		return "missed_free";
	case NOTICE_FORK:
		return "fork";
	case NOTICE_EXEC:
		return "exec";
	case NOTICE_EXIT:
		return "exit";
	case NOTICE_CLEAR:
		return "clear";
	case NOTICE_LOST:
		return "lost";
	case NOTICE_RUNTIME:
		return "runtime";
	case NOTICE_CENSUS:
		return "census";
	case NOTICE_OUT_OF_MEMORY:
		return "oom";
	}
	return "unknown";
}

/* "✓ [PID 12345] " */
static void event_text_start(struct strbuf *out, const struct event_view *view, const struct notice *notice,
			     enum style_mark mark)
{
	style_mark(out, &view->style, mark);
	if (notice->process)
		strbuf_addf(out, " [PID %u] ", notice->process->pid);
	else
		strbuf_addc(out, ' ');
}

/* "buffer 2560032 on device 0" */
static void event_text_buffer(struct strbuf *out, const struct snapshot_buffer *buffer)
{
	strbuf_addf(out, "buffer %llu on ", EVENT_LLU(buffer->address));
	phrase_devices(out, buffer->chips, buffer->chip_count);
}

static void event_text_allocate(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	const struct snapshot_buffer *buffer = notice->buffer;

	if (buffer->type == MEMORY_TYPE_COUNT && !buffer->size_bytes) {
		event_text_start(out, view, notice, STYLE_WARNING);
		strbuf_addf(out, "Allocated a buffer that could not be read (object 0x%llx)\n",
			    EVENT_LLU(buffer->object));
		return;
	}
	event_text_start(out, view, notice, STYLE_GOOD);
	/* Only a census finds a buffer without seeing its allocation. */
	strbuf_addf(out, "%s %llu bytes of %s on ", buffer->allocated_ns ? "Allocated" : "Found",
		    EVENT_LLU(buffer->size_bytes), memory_type_name(buffer->type));
	phrase_devices(out, buffer->chips, buffer->chip_count);
	strbuf_addf(out, " (buffer_id=%llu)\n", EVENT_LLU(buffer->address));
}

static void event_text_life(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	const struct snapshot_buffer *buffer = notice->buffer;
	const char *before = "Freed ", *after = "";
	enum style_mark mark = STYLE_GONE;

	if (notice->kind == NOTICE_RELEASE) {
		before = "Released held ";
	} else if (notice->kind == NOTICE_HOLD) {
		mark = STYLE_NEUTRAL;
		before = "Device closed, still held: ";
	} else if (notice->kind == NOTICE_MISSED_FREE) {
		mark = STYLE_WARNING;
		before = "Missed the free of ";
		after = ": its object was allocated again";
	}
	event_text_start(out, view, notice, mark);
	strbuf_adds(out, before);
	event_text_buffer(out, buffer);
	strbuf_addf(out, " (%llu bytes)%s\n", EVENT_LLU(buffer->size_bytes), after);
}

static void event_text_close(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	event_text_start(out, view, notice, STYLE_NEUTRAL);
	strbuf_adds(out, notice->closed.device_object ? "Closed " : "Memory given back on ");
	phrase_devices(out, notice->closed.chips, notice->closed.chip_count);
	if (notice->closed.held_buffers) {
		strbuf_addf(out, ": %llu buffers (", EVENT_LLU(notice->closed.held_buffers));
		units_mb(out, notice->closed.held_bytes);
		strbuf_adds(out, ") are held by the program");
	}
	strbuf_addc(out, '\n');
}

static void event_text_unmatched(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	const struct snapshot_unmatched *unmatched = notice->unmatched;

	event_text_start(out, view, notice, STYLE_WARNING);
	strbuf_addf(out, "Deallocation for %s buffer ",
		    unmatched->verdict == UNMATCHED_DOUBLE ? "ALREADY FREED" : "unknown");
	if (unmatched->readable)
		strbuf_addf(out, "%llu", EVENT_LLU(unmatched->address));
	else
		strbuf_addf(out, "object 0x%llx", EVENT_LLU(unmatched->object));
	strbuf_adds(out, " on ");
	phrase_devices(out, unmatched->chips, unmatched->chip_count);
	strbuf_adds(out, "\n   (");
	phrase_verdict(out, notice->process, unmatched);
	strbuf_adds(out, ")\n");
}

static void event_text_lost(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	const struct event_lost *lost = &notice->lost;

	event_text_start(out, view, notice, STYLE_WARNING);
	strbuf_addf(out, "Lost %llu records (%llu of allocations, %llu of frees, %llu others)",
		    EVENT_LLU(lost->allocations + lost->frees + lost->others), EVENT_LLU(lost->allocations),
		    EVENT_LLU(lost->frees), EVENT_LLU(lost->others));
	strbuf_adds(out, notice->process ? "\n" : " of an unknown process\n");
}

static void event_text_runtime(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	const struct snapshot_process *process = notice->process;
	const struct snapshot_runtime *runtime = &process->runtimes[process->runtime_count - 1];

	event_text_start(out, view, notice, STYLE_NEUTRAL);
	strbuf_adds(out, "Watching ");
	escape_terminal(out, runtime->name, strlen(runtime->name));
	strbuf_adds(out, " in ");
	escape_terminal(out, runtime->library, strlen(runtime->library));
	strbuf_addc(out, '\n');
}

static void event_text_census(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	const struct snapshot_census *census = notice->census;
	bool good = census->exact && !census->books_differ && !census->books_unread;

	event_text_start(out, view, notice, good ? STYLE_GOOD : STYLE_WARNING);
	strbuf_addf(out, "Census: of %llu books %llu equal the table",
		    EVENT_LLU(census->books_equal + census->books_differ + census->books_unread),
		    EVENT_LLU(census->books_equal));
	if (census->books_differ)
		strbuf_addf(out, ", %llu differ", EVENT_LLU(census->books_differ));
	if (census->books_unread)
		strbuf_addf(out, ", %llu could not be read", EVENT_LLU(census->books_unread));
	if (!census->exact) {
		strbuf_adds(out, "; not complete: ");
		escape_terminal(out, census->reason, strlen(census->reason));
	}
	strbuf_addc(out, '\n');
}

static void event_text_failure(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	event_text_start(out, view, notice, STYLE_WARNING);
	strbuf_adds(out, "Out of memory: asked for ");
	phrase_asked(out, notice->failure);
	strbuf_adds(out, "\n   ");
	phrase_holders(out, notice->failure);
	strbuf_addc(out, '\n');
}

/* Fork, exec, exit. */
static void event_text_process(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	size_t verb;

	event_text_start(out, view, notice, STYLE_NEUTRAL);
	if (notice->kind == NOTICE_FORK) {
		strbuf_adds(out, "Forked");
		if (notice->fork.parent)
			strbuf_addf(out, " from PID %u", notice->fork.parent->pid);
	} else if (notice->kind == NOTICE_EXEC && notice->process->born == BIRTH_LAUNCH &&
		   !notice->process->exec_count) {
		/* We started it as ourselves; it becomes the command. */
		strbuf_adds(out, "Executes ");
		phrase_command(out, notice->process->command, notice->process->command_len);
	} else {
		verb = out->len;
		phrase_end(out, notice->process);
		if (!strbuf_error(out))
			out->data[verb] = (char)(out->data[verb] - 'a' + 'A');
	}
	strbuf_addc(out, '\n');
}

static void event_text(struct strbuf *out, const struct event_view *view, const struct notice *notice)
{
	switch (notice->kind) {
	case NOTICE_ALLOCATE:
		event_text_allocate(out, view, notice);
		break;
	case NOTICE_FREE:
	case NOTICE_HOLD:
	case NOTICE_RELEASE:
	case NOTICE_MISSED_FREE:
		event_text_life(out, view, notice);
		break;
	case NOTICE_CLOSE:
		event_text_close(out, view, notice);
		break;
	case NOTICE_UNMATCHED_FREE:
		event_text_unmatched(out, view, notice);
		break;
	case NOTICE_FORK:
	case NOTICE_EXEC:
	case NOTICE_EXIT:
		event_text_process(out, view, notice);
		break;
	case NOTICE_CLEAR:
		phrase_removed(out, &view->style, notice->process, notice->cleared.device_buffers,
			       notice->cleared.bytes);
		strbuf_addc(out, '\n');
		break;
	case NOTICE_LOST:
		event_text_lost(out, view, notice);
		break;
	case NOTICE_RUNTIME:
		event_text_runtime(out, view, notice);
		break;
	case NOTICE_CENSUS:
		event_text_census(out, view, notice);
		break;
	case NOTICE_OUT_OF_MEMORY:
		event_text_failure(out, view, notice);
		break;
	}
}

/* Whether this warning is one too many to be shown. *err: -ENOMEM (it is shown then). */
static bool event_is_surplus(struct event_view *view, const struct notice *notice, int *err)
{
	uint32_t process = notice->process->process, count = 0;

	if (notice->kind != NOTICE_UNMATCHED_FREE)
		return false;
	table_find(&view->warnings, process, &count);
	if (count < UINT32_MAX - 1)
		count++;
	*err = table_set(&view->warnings, process, count);
	if (!*err)
		*err = table_set(&view->pids, process, notice->process->pid);
	return !*err && count > EVENT_VIEW_FULL_WARNINGS;
}

static void event_text_surplus(struct strbuf *out, const struct event_view *view, uint32_t pid, uint32_t count)
{
	if (count <= EVENT_VIEW_FULL_WARNINGS)
		return;
	style_mark(out, &view->style, STYLE_WARNING);
	strbuf_addf(out, " [PID %u] %u more deallocations for unknown buffers, not shown\n", pid,
		    count - EVENT_VIEW_FULL_WARNINGS);
}

static int event_text_notice(struct strbuf *out, struct event_view *view, const struct notice *notice)
{
	bool ends = notice->kind == NOTICE_EXIT || notice->kind == NOTICE_EXEC;
	size_t start = out->len;
	uint32_t count;
	int err = 0;

	if (notice->process && event_is_surplus(view, notice, &err))
		return 0;
	if (ends && table_remove(&view->warnings, notice->process->process, &count)) {
		table_remove(&view->pids, notice->process->process, NULL);
		event_text_surplus(out, view, notice->process->pid, count);
	}
	event_text(out, view, notice);
	style_finish(out, &view->style, start);
	return err ? err : strbuf_error(out);
}

static void event_json_end(json_t *object, const struct notice *notice, bool *failed)
{
	bool signalled = notice->exit.signal;

	json_fields_set(object, "code", notice->exit.status < 0 ? json_null() : json_integer(notice->exit.status),
			failed);
	json_fields_set(object, "signal", signalled ? json_integer(notice->exit.signal) : json_null(), failed);
	json_fields_bool(object, "core_dumped", notice->exit.core_dumped, failed);
}

static void event_json_closed(json_t *object, const struct notice *notice, bool *failed)
{
	json_fields_u64_or_null(object, "device_object", notice->closed.device_object, notice->closed.device_object,
				failed);
	json_fields_u64_or_null(object, "allocator_object", notice->closed.allocator, notice->closed.allocator, failed);
	json_fields_set(object, "on_devices", json_fields_chips(notice->closed.chips, notice->closed.chip_count),
			failed);
	json_fields_u64(object, "held_buffers", notice->closed.held_buffers, failed);
	json_fields_u64(object, "held_bytes", notice->closed.held_bytes, failed);
}

/* What is particular to the kind of event. */
static void event_json_body(json_t *object, const struct notice *notice, bool *failed)
{
	switch (notice->kind) {
	case NOTICE_ALLOCATE:
	case NOTICE_FREE:
	case NOTICE_HOLD:
	case NOTICE_RELEASE:
	case NOTICE_MISSED_FREE:
		json_fields_buffer(object, notice->buffer, failed);
		break;
	case NOTICE_CLOSE:
		event_json_closed(object, notice, failed);
		break;
	case NOTICE_UNMATCHED_FREE:
		json_fields_unmatched(object, notice->unmatched, failed);
		break;
	case NOTICE_FORK:
		json_fields_string(object, "parent", notice->fork.parent ? notice->fork.parent->id : NULL, failed);
		break;
	case NOTICE_EXEC:
		break;
	case NOTICE_EXIT:
		event_json_end(object, notice, failed);
		break;
	case NOTICE_CLEAR:
		json_fields_u64(object, "buffers", notice->cleared.buffers, failed);
		json_fields_u64(object, "device_buffers", notice->cleared.device_buffers, failed);
		json_fields_u64(object, "bytes", notice->cleared.bytes, failed);
		break;
	case NOTICE_LOST:
		json_fields_u64(object, "allocations", notice->lost.allocations, failed);
		json_fields_u64(object, "frees", notice->lost.frees, failed);
		json_fields_u64(object, "others", notice->lost.others, failed);
		break;
	case NOTICE_RUNTIME:
		json_fields_runtime(object, &notice->process->runtimes[notice->process->runtime_count - 1], failed);
		break;
	case NOTICE_CENSUS:
		json_fields_census(object, notice->census, failed);
		json_fields_u64(object, "resynchronised", notice->process->resynchronised, failed);
		break;
	case NOTICE_OUT_OF_MEMORY:
		json_fields_failure(object, notice->failure, failed);
		break;
	}
}

static int event_json_notice(struct strbuf *out, const struct notice *notice)
{
	json_t *object = json_object();
	bool buffer_kind = notice->kind <= NOTICE_RELEASE || notice->kind == NOTICE_MISSED_FREE;
	bool failed = false;
	char *line = NULL;

	json_fields_string(object, "schema", EVENT_VIEW_SCHEMA, &failed);
	json_fields_u64(object, "time_ns", notice->time_ns, &failed);
	json_fields_string(object, "process", notice->process ? notice->process->id : NULL, &failed);
	json_fields_u64_or_null(object, "pid", notice->process, notice->process ? notice->process->pid : 0, &failed);
	json_fields_u64(object, "thread", notice->thread, &failed);
	json_fields_string(object, "event", event_word(notice->kind), &failed);
	event_json_body(object, notice, &failed);
	if (buffer_kind) {
		/* The event's own thread goes before: who allocated it has a name of its own here. */
		json_fields_u64_or_null(object, "allocated_by", notice->buffer->thread, notice->buffer->thread,
					&failed);
		json_fields_u64(object, "thread", notice->thread, &failed);
	}
	if (!failed)
		line = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(object);
	if (!line)
		return -ENOMEM;
	strbuf_adds(out, line);
	strbuf_addc(out, '\n');
	free(line);
	return strbuf_error(out);
}

int event_view_notice(struct strbuf *out, struct event_view *view, const struct notice *notice)
{
	return view->json ? event_json_notice(out, notice) : event_text_notice(out, view, notice);
}

int event_view_finish(struct strbuf *out, struct event_view *view)
{
	size_t cursor = 0, start = out->len;
	uint64_t process;
	uint32_t count, pid;

	while (table_next(&view->warnings, &cursor, &process, &count)) {
		if (table_find(&view->pids, process, &pid))
			event_text_surplus(out, view, pid, count);
	}
	event_view_fini(view);
	style_finish(out, &view->style, start);
	return strbuf_error(out);
}
