// SPDX-License-Identifier: BSD-2-Clause
/* What changed; see diff_view.h. */
#include "view/diff_view.h"

#include <errno.h>
#include <stdbool.h>

#include <jansson.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "model/snapshot.h"
#include "view/column.h"
#include "view/grid.h"
#include "view/json_fields.h"
#include "view/phrase.h"

#define DIFF_SCHEMA "bufscope.diff/1"

/* ---- for people ---- */

static void diff_moment(struct strbuf *out, const struct diff_view *view, const char *name, uint64_t time_ns)
{
	if (!name) {
		strbuf_adds(out, "now");
		return;
	}
	/* Only letters, digits and a few signs: the server takes no other names. */
	strbuf_addf(out, "\"%s\" (", name);
	units_duration(out, view->now_ns > time_ns ? view->now_ns - time_ns : 0);
	strbuf_adds(out, " ago)");
}

enum {
	DIFF_TYPE,
	DIFF_ADDED,
	DIFF_ADDED_BYTES,
	DIFF_FREED,
	DIFF_FREED_BYTES,
	DIFF_STAYED,
	DIFF_STAYED_BYTES,
	DIFF_GROWTH,
	DIFF_COLUMNS,
};

static const struct grid_column *diff_column(size_t column)
{
	static const struct grid_column columns[DIFF_COLUMNS] = {
		[DIFF_TYPE] = {"type", false, false, 0},    [DIFF_ADDED] = {"added", true, false, 0},
		[DIFF_ADDED_BYTES] = {"", true, false, 2},  [DIFF_FREED] = {"freed", true, false, 0},
		[DIFF_FREED_BYTES] = {"", true, false, 2},  [DIFF_STAYED] = {"stayed", true, false, 0},
		[DIFF_STAYED_BYTES] = {"", true, false, 1}, [DIFF_GROWTH] = {"growth", true, false, 0},
	};

	return &columns[column];
}

static void diff_cell(struct strbuf *out, const void *context, size_t row, size_t column)
{
	const struct difference_process *process = context;
	const struct difference_type *type = &process->types[row];

	switch (column) {
	case DIFF_TYPE:
		strbuf_adds(out, memory_type_name(type->type));
		break;
	case DIFF_ADDED:
		strbuf_addf(out, "%llu", (unsigned long long)type->added.buffers);
		break;
	case DIFF_ADDED_BYTES:
		units_size(out, type->added.bytes);
		break;
	case DIFF_FREED:
		strbuf_addf(out, "%llu", (unsigned long long)type->freed.buffers);
		break;
	case DIFF_FREED_BYTES:
		units_size(out, type->freed.bytes);
		break;
	case DIFF_STAYED:
		strbuf_addf(out, "%llu", (unsigned long long)type->stayed.buffers);
		break;
	case DIFF_STAYED_BYTES:
		units_size(out, type->stayed.bytes);
		break;
	case DIFF_GROWTH:
		phrase_growth(out, type->added.bytes, type->freed.bytes);
		break;
	}
}

static void diff_buffers(struct strbuf *out, const struct diff_view *view, const char *title,
			 const struct snapshot_buffer *buffers, size_t count)
{
	size_t shown = count < view->max_buffers ? count : (size_t)view->max_buffers;

	if (!shown)
		return;
	strbuf_addf(out, "%s%s\n", title, shown < count ? ", the largest" : "");
	column_table(out, &view->style, buffers, shown, view->now_ns);
	if (shown < count)
		strbuf_addf(out, "  ... and %zu more (--buffers all shows them)\n", count - shown);
}

static void diff_doubts(struct strbuf *out, const struct diff_view *view, const struct difference_process *process)
{
	bool before = !process->before || process->before->exact, after = !process->after || process->after->exact;

	if (!before || !after) {
		style_on(out, &view->style, STYLE_RED);
		strbuf_adds(out, "NOT exact");
		style_off(out, &view->style);
		strbuf_addf(out, " %s (bufscope dump tells why)\n",
			    before  ? "at the second moment"
			    : after ? "at the first moment"
				    : "at both moments");
	}
	if (process->rebuilt)
		strbuf_adds(out,
			    "Its table was rebuilt in between: a buffer replaced by an equal one counts as stayed\n");
}

static void diff_process(struct strbuf *out, const struct diff_view *view, const struct difference_process *process)
{
	const struct snapshot_process *shown = process->after ? process->after : process->before;
	struct grid grid = {
		.column_count = DIFF_COLUMNS,
		.row_count = process->type_count,
		.column = diff_column,
		.cell = diff_cell,
		.context = process,
	};
	struct strbuf text = STRBUF_INIT;
	size_t start;

	strbuf_addc(out, '\n');
	start = out->len;
	strbuf_addf(out, "Process %u%s: ", shown->pid, !process->after ? " (gone)" : !process->before ? " (new)" : "");
	phrase_command(&text, shown->command, shown->command_len);
	style_fit(out, &view->style, strbuf_str(&text), style_width(&view->style) - (out->len - start));
	strbuf_addc(out, '\n');
	if (strbuf_error(&text))
		out->error = strbuf_error(&text);
	strbuf_fini(&text);
	grid_print(out, &view->style, &grid);
	diff_buffers(out, view, "Added", process->added, process->added_count);
	diff_buffers(out, view, "Freed, as they were", process->freed, process->freed_count);
	diff_doubts(out, view, process);
}

static void diff_sum(struct strbuf *out, const char *what, const struct difference_sum *sum)
{
	strbuf_addf(out, "  %-8s%llu buffers, ", what, (unsigned long long)sum->buffers);
	units_size(out, sum->bytes);
	strbuf_addc(out, '\n');
}

int diff_view_text(struct strbuf *out, const struct diff_view *view, const struct difference *difference)
{
	size_t start = out->len;

	strbuf_adds(out, "From ");
	diff_moment(out, view, view->from, difference->from->now_ns);
	strbuf_adds(out, " to ");
	diff_moment(out, view, view->to, difference->to->now_ns);
	strbuf_addc(out, '\n');
	diff_sum(out, "added", &difference->added);
	diff_sum(out, "freed", &difference->freed);
	diff_sum(out, "stayed", &difference->stayed);
	strbuf_addf(out, "  %-8s", "growth");
	phrase_growth(out, difference->added.bytes, difference->freed.bytes);
	strbuf_addc(out, '\n');
	for (size_t i = 0; i < difference->process_count; i++)
		diff_process(out, view, &difference->processes[i]);
	style_finish(out, &view->style, start);
	return strbuf_error(out);
}

/* ---- for programs ---- */

static json_t *diff_json_moment(const char *name, uint64_t time_ns, bool *failed)
{
	json_t *moment = json_object();

	json_fields_string(moment, "mark", name, failed);
	json_fields_u64(moment, "time_ns", time_ns, failed);
	return moment;
}

static void diff_json_sums(json_t *object, const struct difference_type *sums, bool *failed)
{
	json_fields_u64(object, "added_buffers", sums->added.buffers, failed);
	json_fields_u64(object, "added_bytes", sums->added.bytes, failed);
	json_fields_u64(object, "freed_buffers", sums->freed.buffers, failed);
	json_fields_u64(object, "freed_bytes", sums->freed.bytes, failed);
	json_fields_u64(object, "stayed_buffers", sums->stayed.buffers, failed);
	json_fields_u64(object, "stayed_bytes", sums->stayed.bytes, failed);
}

static json_t *diff_json_buffers(const struct snapshot_buffer *buffers, size_t count, bool *failed)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *buffer = json_object();

		json_fields_buffer(buffer, &buffers[i], failed);
		if (json_array_append_new(array, buffer))
			*failed = true;
	}
	return array;
}

static json_t *diff_json_process(const struct difference_process *process, bool *failed)
{
	const struct snapshot_process *shown = process->after ? process->after : process->before;
	json_t *object = json_object(), *types = json_array();

	for (uint32_t i = 0; i < process->type_count; i++) {
		json_t *type = json_object();

		json_fields_string(type, "type", memory_type_name(process->types[i].type), failed);
		diff_json_sums(type, &process->types[i], failed);
		if (json_array_append_new(types, type))
			*failed = true;
	}
	json_fields_string(object, "id", shown->id, failed);
	json_fields_u64(object, "pid", shown->pid, failed);
	json_fields_u64(object, "user", shown->user, failed);
	json_fields_bool(object, "before", process->before != NULL, failed);
	json_fields_bool(object, "after", process->after != NULL, failed);
	json_fields_bool(object, "exact",
			 (!process->before || process->before->exact) && (!process->after || process->after->exact),
			 failed);
	json_fields_bool(object, "rebuilt", process->rebuilt, failed);
	json_fields_set(object, "types", types, failed);
	json_fields_set(object, "added", diff_json_buffers(process->added, process->added_count, failed), failed);
	json_fields_set(object, "freed", diff_json_buffers(process->freed, process->freed_count, failed), failed);
	return object;
}

int diff_view_json(FILE *out, const struct diff_view *view, const struct difference *difference)
{
	const struct difference_type sums = {.added = difference->added,
					     .freed = difference->freed,
					     .stayed = difference->stayed};
	json_t *object = json_object(), *processes = json_array();
	bool failed = false;
	int err = 0;

	json_fields_string(object, "schema", DIFF_SCHEMA, &failed);
	json_fields_string(object, "bufscope", view->version, &failed);
	json_fields_set(object, "from", diff_json_moment(view->from, difference->from->now_ns, &failed), &failed);
	json_fields_set(object, "to", diff_json_moment(view->to, difference->to->now_ns, &failed), &failed);
	diff_json_sums(object, &sums, &failed);
	for (size_t i = 0; i < difference->process_count; i++) {
		if (json_array_append_new(processes, diff_json_process(&difference->processes[i], &failed)))
			failed = true;
	}
	json_fields_set(object, "processes", processes, &failed);
	if (!object || failed)
		err = -ENOMEM;
	else if (json_dumpf(object, out, JSON_COMPACT | JSON_ENSURE_ASCII) || fputc('\n', out) == EOF || fflush(out))
		err = ferror(out) ? -EIO : -ENOMEM;
	json_decref(object);
	return err;
}
