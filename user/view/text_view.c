// SPDX-License-Identifier: BSD-2-Clause
/* The summary for people; see text_view.h. Whatever a traced process can influence is escaped. */
#include "view/text_view.h"

#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "view/books_table.h"
#include "view/column.h"
#include "view/peaks_table.h"
#include "view/phrase.h"

#define TEXT_LLU(value) ((unsigned long long)(value))

struct text_total {
	uint64_t buffers, bytes;
};

static struct text_total text_total(const struct snapshot_process *process)
{
	struct text_total total = {0};

	for (size_t i = 0; i < process->device_count; i++) {
		for (uint32_t type = 0; type < process->devices[i].type_count; type++) {
			const struct snapshot_type *figures = &process->devices[i].types[type];

			total.buffers += figures->live_buffers + figures->held_buffers;
			total.bytes += figures->live_bytes + figures->held_bytes;
		}
	}
	return total;
}

static void text_device_name(struct strbuf *out, const struct snapshot_device *device)
{
	char name[CHIP_NAME_LEN];

	if (device->device < 0)
		strbuf_adds(out, "Device unknown:");
	else if (chip_name(&device->chip, name))
		strbuf_addf(out, "Device %d (%s):", device->device, name);
	else
		strbuf_addf(out, "Device %d:", device->device);
}

static void text_device(struct strbuf *out, const struct snapshot_device *device)
{
	uint64_t held_buffers = 0, held_bytes = 0;
	bool any = false;

	for (uint32_t i = 0; i < device->type_count; i++) {
		const struct snapshot_type *type = &device->types[i];
		uint64_t buffers = type->live_buffers + type->held_buffers;

		if (!buffers)
			continue;
		if (!any) {
			text_device_name(out, device);
			strbuf_addc(out, '\n');
		}
		any = true;
		strbuf_addf(out, "  %s: %llu buffers, ", memory_type_name(type->type), TEXT_LLU(buffers));
		units_mb(out, type->live_bytes + type->held_bytes);
		strbuf_adds(out, " total\n");
		held_buffers += type->held_buffers;
		held_bytes += type->held_bytes;
	}
	if (!held_buffers)
		return;
	strbuf_addf(out, "    of these %llu buffers, ", TEXT_LLU(held_buffers));
	units_mb(out, held_bytes);
	strbuf_adds(out, " held: closed, memory back with the runtime\n");
}

/* What lifecycle.md shows: box, total, devices. */
static void text_table(struct strbuf *out, const struct text_view *view, const struct snapshot_process *process,
		       bool name_it)
{
	struct text_total total = text_total(process);

	style_box(out, &view->style);
	if (name_it)
		strbuf_addf(out, "PID %u\n", process->pid);
	strbuf_addf(out, "Total tracked allocations: %llu\n\n", TEXT_LLU(total.buffers));
	if (total.buffers) {
		for (size_t i = 0; i < process->device_count; i++)
			text_device(out, &process->devices[i]);
		return;
	}
	/* A clean bill only where everything was seen. */
	if (!process->exact) {
		strbuf_adds(out, "No buffers known to remain (not exact: see below)\n");
	} else if (!process->runtime_count) {
		strbuf_adds(out, "No device runtime was seen in this process\n");
	} else {
		style_mark(out, &view->style, STYLE_GOOD);
		strbuf_adds(out, " No buffers remaining\n");
	}
}

static uint64_t text_moment(const struct snapshot *snapshot, const struct snapshot_process *process)
{
	return process->end_ns ? process->end_ns : snapshot->now_ns;
}

static void text_process(struct strbuf *out, const struct text_view *view, const struct snapshot *snapshot,
			 const struct snapshot_process *process)
{
	uint64_t moment = text_moment(snapshot, process);
	struct text_total total = text_total(process);
	struct strbuf text = STRBUF_INIT;
	size_t start = out->len;

	strbuf_addf(out, "\nProcess %u: ", process->pid);
	phrase_command(&text, process->command, process->command_len);
	style_fit(out, &view->style, strbuf_str(&text), style_width(&view->style) - (out->len - start - 1));
	strbuf_addf(out, "\n  user %u, watched for ", process->user);
	units_duration(out, moment > process->observed_ns ? moment - process->observed_ns : 0);
	if (process->resynchronised)
		strbuf_adds(out, " since a rebuild");
	if (process->end == PROCESS_RUNNING || !total.buffers) {
		strbuf_adds(out, ", ");
		phrase_end(out, process);
		strbuf_addc(out, '\n');
	} else {
		strbuf_adds(out, "\n  ");
		phrase_removed(out, &view->style, process, total.buffers, total.bytes);
		strbuf_addc(out, '\n');
	}
	if (strbuf_error(&text))
		out->error = strbuf_error(&text);
	strbuf_fini(&text);
}

static void text_closures(struct strbuf *out, const struct snapshot_process *process)
{
	for (size_t i = 0; i < process->closure_count; i++) {
		strbuf_addf(out, "  %llu buffers, ", TEXT_LLU(process->closures[i].buffers));
		units_mb(out, process->closures[i].bytes);
		strbuf_adds(out, " held since the close at ");
		phrase_since(out, process, process->closures[i].time_ns);
		strbuf_addc(out, '\n');
	}
}

static void text_buffers(struct strbuf *out, const struct text_view *view, const struct snapshot *snapshot,
			 const struct snapshot_process *process)
{
	uint64_t hidden, shown = process->buffer_count;

	if (!shown || !view->max_buffers)
		return;
	if (shown > view->max_buffers)
		shown = view->max_buffers;
	hidden = process->buffer_count - shown;
	if (hidden && !view->order)
		strbuf_adds(out, "\nThe largest\n");
	else
		strbuf_addf(out, "\n%s, %s\n", hidden ? "Some" : "All", view->order ? view->order : "largest first");
	column_table(out, &view->style, process->buffers, shown, text_moment(snapshot, process));
	if (hidden)
		strbuf_addf(out, "  ... and %llu more (--buffers all shows them)\n", TEXT_LLU(hidden));
}

/* Nothing is said about what did not happen. */
static void text_counts(struct strbuf *out, const struct text_view *view, const struct snapshot_process *process)
{
	bool spread = text_total(process).buffers != process->live + process->held;
	bool running = process->end == PROCESS_RUNNING;
	const struct {
		uint64_t count;
		const char *what;
		bool always;
	} counts[] = {
		{process->before_attach, process->resynchronised ? "found in memory" : "found at attach", false},
		{process->allocated, "allocated", true},
		{process->freed, "freed", true},
		{process->missed_frees, "freed unseen", false},
		{process->held_at_close, "held after a close", false},
		{process->held_released, "of those released", false},
		{process->live, running ? "live" : "live at the end", true},
		{process->held, running ? "still held" : "held at the end", false},
		{process->unknown_frees, "frees of unknown buffers", false},
		{process->double_frees, "double frees", false},
	};
	struct strbuf line = STRBUF_INIT;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		if (counts[i].count || counts[i].always)
			strbuf_addf(&line, "%s%s %llu", line.len ? ", " : "", counts[i].what,
				    TEXT_LLU(counts[i].count));
	}
	if (spread)
		strbuf_adds(&line, " (each once, on however many chips it lies)");
	strbuf_adds(out, "\nBuffers: ");
	style_wrap(out, &view->style, strbuf_str(&line), 9, 2);
	if (strbuf_error(&line))
		out->error = strbuf_error(&line);
	strbuf_fini(&line);
}

static void text_stops(struct strbuf *out, const struct snapshot_process *process)
{
	if (!process->stops)
		return;
	strbuf_addf(out, "Stopped %llu time%s so that nothing is lost (--lossless), ", TEXT_LLU(process->stops),
		    process->stops == 1 ? "" : "s");
	units_duration(out, process->stopped_ns);
	strbuf_adds(out, " in all\n");
}

static void text_unmatched(struct strbuf *out, const struct text_view *view, const struct snapshot_process *process)
{
	uint64_t total = process->unknown_frees + process->double_frees;
	uint64_t shown = process->unmatched_count < view->max_buffers ? process->unmatched_count : view->max_buffers;

	if (!total)
		return;
	strbuf_adds(out, "\nFrees that matched no buffer\n");
	for (uint64_t i = 0; i < shown; i++) {
		const struct snapshot_unmatched *unmatched = &process->unmatched[i];

		strbuf_adds(out, "  ");
		style_mark(out, &view->style, STYLE_WARNING);
		if (unmatched->readable) {
			strbuf_addf(out, " buffer %llu on ", TEXT_LLU(unmatched->address));
			phrase_devices(out, unmatched->chips, unmatched->chip_count);
		} else {
			strbuf_addf(out, " object 0x%llx", TEXT_LLU(unmatched->object));
		}
		strbuf_adds(out, " at ");
		phrase_since(out, process, unmatched->time_ns);
		strbuf_addf(out, " by thread %u\n      ", unmatched->thread);
		phrase_verdict(out, process, unmatched);
		strbuf_addc(out, '\n');
	}
	if (total > shown)
		strbuf_addf(out, "  ... and %llu more\n", TEXT_LLU(total - shown));
}

static void text_failures(struct strbuf *out, const struct text_view *view, const struct snapshot_process *process)
{
	uint64_t shown = process->failure_count < view->max_buffers ? process->failure_count : view->max_buffers;
	struct strbuf line = STRBUF_INIT;

	if (!process->out_of_memory)
		return;
	strbuf_adds(out, "\nOut of memory\n");
	for (uint64_t i = 0; i < shown; i++) {
		const struct snapshot_failure *failure = &process->failures[i];
		size_t start;

		strbuf_adds(out, "  ");
		style_mark(out, &view->style, STYLE_WARNING);
		strbuf_adds(out, " asked for ");
		phrase_asked(out, failure);
		strbuf_addc(out, '\n');
		start = out->len;
		strbuf_adds(out, "      at ");
		phrase_since(out, process, failure->time_ns);
		strbuf_addf(out, " by thread %u: ", failure->thread);
		strbuf_reset(&line);
		phrase_holders(&line, failure);
		style_wrap(out, &view->style, strbuf_str(&line), (unsigned int)(out->len - start), 6);
	}
	if (process->out_of_memory > shown)
		strbuf_addf(out, "  ... and %llu more\n", TEXT_LLU(process->out_of_memory - shown));
	if (strbuf_error(&line))
		out->error = strbuf_error(&line);
	strbuf_fini(&line);
}

/* A path may be longer than any line and has no place to break it: it is never cut, it may be copied. */
static void text_runtimes(struct strbuf *out, const struct snapshot_process *process)
{
	strbuf_addc(out, '\n');
	for (size_t i = 0; i < process->runtime_count; i++) {
		const struct snapshot_runtime *runtime = &process->runtimes[i];

		strbuf_adds(out, "Library: ");
		escape_terminal(out, runtime->name, strlen(runtime->name));
		strbuf_addc(out, ' ');
		escape_terminal(out, runtime->library, strlen(runtime->library));
		strbuf_adds(out, "\n  build-id ");
		escape_terminal(out, *runtime->build_id ? runtime->build_id : "none",
				*runtime->build_id ? strlen(runtime->build_id) : 4);
		strbuf_addc(out, '\n');
	}
	if (!process->runtime_count)
		strbuf_adds(out, "Library: none\n");
}

static void text_reasons(struct strbuf *out, const struct text_view *view, const struct snapshot_reason *reasons,
			 size_t count)
{
	struct strbuf text = STRBUF_INIT;

	style_on(out, &view->style, STYLE_RED);
	strbuf_adds(out, "NOT exact:");
	style_off(out, &view->style);
	if (count > 1)
		strbuf_addc(out, '\n');
	for (size_t i = 0; i < count; i++) {
		const char *said = *reasons[i].text ? reasons[i].text : reasons[i].reason;

		strbuf_reset(&text);
		escape_terminal(&text, said, strlen(said));
		strbuf_adds(out, count > 1 ? "  - " : " ");
		style_wrap(out, &view->style, strbuf_str(&text), count > 1 ? 4 : 11, 4);
	}
	if (strbuf_error(&text))
		out->error = strbuf_error(&text);
	strbuf_fini(&text);
}

static void text_exactness(struct strbuf *out, const struct text_view *view, const struct snapshot_process *process)
{
	if (!process->exact)
		text_reasons(out, view, process->reasons, process->reason_count);
	else if (process->census && (process->before_attach || process->resynchronised))
		strbuf_adds(out, "Exact: every buffer was found in memory, every change since was seen.\n");
	else if (process->runtime_count)
		strbuf_adds(out, "Exact: every allocation and free was seen.\n");
}

static void text_block(struct strbuf *out, const struct text_view *view, const struct snapshot *snapshot,
		       const struct snapshot_process *process)
{
	text_table(out, view, process, snapshot->process_count > 1);
	text_process(out, view, snapshot, process);
	text_closures(out, process);
	text_buffers(out, view, snapshot, process);
	books_table(out, &view->style, process);
	text_counts(out, view, process);
	text_stops(out, process);
	peaks_table(out, &view->style, process);
	text_unmatched(out, view, process);
	text_failures(out, view, process);
	text_runtimes(out, process);
	text_exactness(out, view, process);
}

static void text_grand_total(struct strbuf *out, const struct snapshot *snapshot)
{
	struct text_total sum = {0};

	for (size_t i = 0; i < snapshot->process_count; i++) {
		struct text_total total = text_total(&snapshot->processes[i]);

		sum.buffers += total.buffers;
		sum.bytes += total.bytes;
	}
	strbuf_addf(out, "All %zu processes: %llu buffers, ", snapshot->process_count, TEXT_LLU(sum.buffers));
	units_mb(out, sum.bytes);
	strbuf_addc(out, '\n');
}

int text_view_summary(struct strbuf *out, const struct text_view *view, const struct snapshot *snapshot)
{
	size_t start = out->len;

	if (!snapshot->process_count) {
		style_box(out, &view->style);
		strbuf_addf(out, "Total tracked allocations: 0\n\n%s\n",
			    view->nothing ? view->nothing : "No process used a device runtime.");
	}
	for (size_t i = 0; i < snapshot->process_count; i++) {
		text_block(out, view, snapshot, &snapshot->processes[i]);
		if (snapshot->process_count > 1)
			strbuf_addc(out, '\n');
	}
	if (snapshot->process_count > 1)
		text_grand_total(out, snapshot);
	if (snapshot->reason_count)
		text_reasons(out, view, snapshot->reasons, snapshot->reason_count);
	style_finish(out, &view->style, start);
	return strbuf_error(out);
}
