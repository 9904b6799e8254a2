// SPDX-License-Identifier: BSD-2-Clause
/* The screen of `bufscope top`; see top_view.h. */
#include "cmd/top_view.h"

#include <string.h>
#include <time.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "cmd/top_line.h"
#include "cmd/top_table.h"

static void add_time(struct strbuf *out, uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / 1000000000);
	struct tm at = {0};

	localtime_r(&seconds, &at);
	strbuf_addf(out, "%02d:%02d:%02d", at.tm_hour, at.tm_min, at.tm_sec);
}

/* ---- above the rows ---- */

static void title(struct top_lines *lines, const struct top_data *data)
{
	const struct top_frame *frame = lines->frame;
	struct strbuf left = STRBUF_INIT, right = STRBUF_INIT;

	strbuf_addf(&left, " bufscope top  %s  ", data->host);
	add_time(&left, data->realtime_ns);
	strbuf_adds(&right, data->own_only ? "only your processes" : "all processes");
	strbuf_adds(&right, data->selection ? ", selected  " : "  ");
	if (frame->paused)
		strbuf_adds(&right, "PAUSED ");
	else if (frame->keys)
		strbuf_addf(&right, "every %g s ", (double)frame->interval_ns / 1e9);
	top_lines_spread(lines, frame->keys ? TOP_REVERSE : TOP_BOLD, &left, &right);
	strbuf_fini(&left);
	strbuf_fini(&right);
}

/* Half a figure would be a wrong one: what does not fit in @width columns is left out, and that is told. */
static void add_totals(struct strbuf *out, const struct top_sums *sums, size_t width)
{
	static const char more[] = ", ...";
	const char *before = ": ";
	int last = -1;

	strbuf_addf(out, "%llu buffer%s", (unsigned long long)sums->all.buffers, sums->all.buffers == 1 ? "" : "s");
	for (int type = 0; type < TOP_TYPES; type++) {
		if (sums->types[type].buffers)
			last = type;
	}
	for (int type = 0; type <= last; type++) {
		size_t start = out->len;

		if (!sums->types[type].buffers)
			continue;
		strbuf_addf(out, "%s%s ", before, memory_type_name((enum memory_type)type));
		units_size(out, sums->types[type].bytes);
		if (top_line_columns(strbuf_str(out)) + (type < last ? strlen(more) : 0) > width) {
			out->len = start;
			strbuf_addf(out, "%s...", before);
			return;
		}
		before = ", ";
	}
}

static void place(struct top_lines *lines, const struct top_rows *rows, const struct top_state *state,
		  const struct top_data *data)
{
	struct strbuf text = STRBUF_INIT;

	if (state->level == TOP_OVERVIEW) {
		strbuf_addf(&text, " %zu process%s: ", data->process_count, data->process_count == 1 ? "" : "es");
	} else {
		strbuf_adds(&text, *state->device ? " device " : " all devices");
		if (rows->device)
			strbuf_adds(&text, *rows->device->name ? rows->device->name : rows->device->short_name);
	}
	if (state->level >= TOP_PROCESS && rows->process)
		strbuf_addf(&text, " > PID %u", rows->process->pid);
	if (state->level >= TOP_PROCESS && !rows->process)
		strbuf_addf(&text, " > process %.*s", (int)strcspn(state->process, "."), state->process);
	if (state->level == TOP_TYPE)
		strbuf_addf(&text, " > %s", memory_type_name((enum memory_type)state->type));
	if (state->level > TOP_OVERVIEW)
		strbuf_adds(&text, ": ");
	if (rows->here)
		add_totals(&text, rows->here, lines->frame->width);
	else
		strbuf_adds(&text, "it has ended, all it held is free");
	top_lines_add(lines, TOP_BOLD, &text);
	strbuf_fini(&text);
}

static void mark(struct top_lines *lines, const struct top_rows *rows, const struct top_state *state,
		 const struct top_data *data)
{
	struct strbuf text = STRBUF_INIT;

	if (!state->mark)
		return;
	strbuf_addf(&text, " since mark %u at ", state->mark_number);
	add_time(&text, state->mark->realtime_ns);
	strbuf_adds(&text, ", ");
	units_duration(&text, (data->now_ns - state->mark->now_ns) / 1000000000 * 1000000000);
	strbuf_adds(&text, " ago: ");
	if (rows->here) {
		top_line_growth(&text, rows->here->grown_bytes);
		strbuf_addf(&text, ", %+lld buffers", (long long)rows->here->grown_buffers);
	}
	top_lines_add(lines, TOP_PLAIN, &text);
	strbuf_fini(&text);
}

static void filter(struct top_lines *lines, const struct top_rows *rows, const struct top_state *state)
{
	enum top_kind kind = state->level == TOP_TYPE ? TOP_BUFFERS : TOP_PROCESSES;
	struct strbuf text = STRBUF_INIT;

	if ((!*state->filter[kind] && !lines->frame->typing) || state->level == TOP_PROCESS)
		return;
	strbuf_addf(&text, " filter: %s%s", state->filter[kind], lines->frame->typing ? "_" : "");
	strbuf_addf(&text, "  (%zu left out)", rows->left_out);
	top_lines_add(lines, TOP_YELLOW, &text);
	strbuf_fini(&text);
}

/* What a person must know before they believe the figures. */
static void warnings(struct top_lines *lines, const struct top_rows *rows, const struct top_data *data)
{
	const char *reasons = rows->process && !rows->process->exact ? rows->process->reasons : data->reasons;
	struct strbuf text = STRBUF_INIT;

	if (lines->frame->trouble) {
		strbuf_addf(&text, " ! %s", lines->frame->trouble);
		top_lines_add(lines, TOP_RED, &text);
	}
	strbuf_reset(&text);
	if (!data->exact && (!rows->process || !rows->process->exact || *data->reasons)) {
		strbuf_addf(&text, " ! not exact: %s", *reasons ? reasons : "see the processes with a \"!\"");
		top_lines_add(lines, TOP_YELLOW, &text);
	}
	strbuf_fini(&text);
}

static void process(struct top_lines *lines, const struct top_process *of, const struct top_data *data)
{
	struct strbuf text = STRBUF_INIT;

	if (!of)
		return;
	strbuf_addf(&text, " %s", of->command);
	top_lines_add(lines, TOP_PLAIN, &text);
	strbuf_reset(&text);
	strbuf_addf(&text, " user %s, watched for ", of->user);
	units_duration(&text, data->now_ns > of->observed_ns ? data->now_ns - of->observed_ns : 0);
	strbuf_addf(&text, "%s%s%s", of->exact ? ", exact" : "", *of->cgroup ? ", " : "", of->cgroup);
	top_lines_add(lines, TOP_DIM, &text);
	strbuf_fini(&text);
}

/* The device that the user is on, with all who are there. */
static void bars(struct top_lines *lines, const struct top_sums *sums)
{
	struct strbuf text = STRBUF_INIT;

	for (int type = 0; sums && type < TOP_TYPES; type++) {
		if (!sums->capacity_bytes[type] && !sums->types[type].buffers)
			continue;
		strbuf_reset(&text);
		strbuf_addf(&text, " %-9s", memory_type_name((enum memory_type)type));
		top_line_usage(&text, &sums->types[type], sums->capacity_bytes[type],
			       lines->frame->width > 11 ? lines->frame->width - 11 : 0, 24);
		top_lines_add(lines, TOP_PLAIN, &text);
	}
	strbuf_fini(&text);
}

static void help(struct top_lines *lines)
{
	static const char *const text[] = {
		"",
		" Enter, Right     into the device, process or type under the cursor",
		" Backspace, Left  out again (Esc too)",
		" Up Down j k      move; PgUp PgDn Home End",
		" s                next order",
		" /                only rows with this text; Enter ends, Esc clears",
		" p, Space         pause, go on",
		" m u              mark this moment: growth since then; unmark",
		" + -              longer, shorter interval",
		" q                quit",
		"",
		" Bytes are as asked for, on each chip; a bar is what is really taken",
		" (\">=\": at least). MB is 2^20 bytes. \"!\": not every buffer was seen.",
	};
	struct strbuf line = STRBUF_INIT;

	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		strbuf_reset(&line);
		strbuf_adds(&line, text[i]);
		top_lines_add(lines, TOP_PLAIN, &line);
	}
	strbuf_fini(&line);
}

/* Half a key tells nobody anything: those at the end that do not fit are left out whole. */
static void fit_keys(struct strbuf *text, size_t width)
{
	for (size_t at = text->len; at > 0 && text->len > width; at--) {
		if (strncmp(text->data + at, "  ", 2))
			continue;
		text->len = at;
		text->data[at] = '\0';
	}
}

static void keys(struct top_lines *lines, const struct top_rows *rows, const struct top_state *state)
{
	enum top_kind kind = top_rows_kind(rows, state);
	struct strbuf text = STRBUF_INIT;

	if (lines->frame->help)
		strbuf_adds(&text, " any key: back");
	else if (lines->frame->typing)
		strbuf_adds(&text, " type a part of the row  Enter done  Esc clear");
	else
		strbuf_addf(&text, " q quit  h help  Enter in  Bksp out  s sort: %s  / filter  p %s  m mark%s",
			    top_rows_sort_name(kind, state->sort[kind]), lines->frame->paused ? "go on" : "pause",
			    state->mark ? "  u unmark" : "");
	fit_keys(&text, lines->frame->width);
	top_lines_add(lines, TOP_REVERSE, &text);
	strbuf_fini(&text);
}

int top_view(struct strbuf *out, const struct top_frame *frame, const struct top_rows *rows, struct top_state *state,
	     const struct top_data *data)
{
	struct top_lines lines = {.frame = frame, .out = out};

	/* One line is for the keys. */
	lines.room = !frame->height ? SIZE_MAX : frame->keys ? frame->height - 1 : frame->height;
	title(&lines, data);
	if (frame->help) {
		help(&lines);
	} else {
		place(&lines, rows, state, data);
		warnings(&lines, rows, data);
		mark(&lines, rows, state, data);
		filter(&lines, rows, state);
		if (state->level >= TOP_PROCESS)
			process(&lines, rows->process, data);
		/* Rows are what it is about: on a low screen they go first. */
		if (state->level > TOP_OVERVIEW && lines.room - lines.count > 12)
			bars(&lines, rows->device_sums);
		top_table(&lines, rows, state, data);
	}
	if (frame->height)
		top_lines_fill(&lines);
	lines.room = SIZE_MAX;
	if (frame->keys)
		keys(&lines, rows, state);
	return strbuf_error(out);
}
