// SPDX-License-Identifier: BSD-2-Clause
/* The rows on the screen of `bufscope top`; see top_table.h. */
#include "cmd/top_table.h"

#include <string.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "view/column.h"
#include "view/grid.h"
#include "view/phrase.h"
#include "view/style.h"

#define MIN_COMMAND 18  /* columns for a command, the gap before it included */
#define LONG_NAMES  100 /* a screen this wide has room for the whole names of devices */
#define TWO_BARS    64  /* a screen this wide has room for a second bar, and for how many processes there are */

/* Some rows of one kind that stand below each other. */
struct section {
	struct top_lines *lines;
	const struct top_rows *rows;
	const struct top_state *state;
	const struct top_data *data;
	size_t first, count; /* those that are shown */
	size_t total;
	bool held, types[TOP_TYPES]; /* any of those shown has such */
};

/* @first, @total: the rows of the section. Scrolls so that the cursor's row is seen, if it is one of them. */
static void section_begin(struct section *section, size_t first, size_t total, size_t room, size_t *scroll)
{
	size_t cursor = section->rows->cursor - first;

	section->total = total;
	section->count = total < room ? total : room;
	if (section->rows->cursor >= first && cursor < total) {
		if (cursor < *scroll)
			*scroll = cursor;
		if (section->count && cursor >= *scroll + section->count)
			*scroll = cursor - section->count + 1;
	}
	if (*scroll > total - section->count)
		*scroll = total - section->count;
	section->first = first + *scroll;
	for (size_t i = 0; i < section->count; i++) {
		const struct top_sums *sums = section->rows->rows[section->first + i].sums;

		for (int type = 0; sums && type < TOP_TYPES; type++) {
			section->types[type] |= sums->types[type].buffers || sums->types[type].held_buffers;
			section->held |= sums->types[type].held_buffers;
		}
	}
}

static const struct top_row *row_of(const struct section *section, size_t row)
{
	return &section->rows->rows[section->first + row];
}

/* @text begins with two blanks: the row's marks go there. */
static void add_row(struct section *section, size_t row, struct strbuf *text)
{
	bool chosen = section->lines->frame->keys && section->first + row == section->rows->cursor;

	if (!strbuf_error(text) && chosen)
		text->data[0] = '>';
	if (!strbuf_error(text) && row_of(section, row)->fresh)
		text->data[1] = '+';
	top_lines_add(section->lines, chosen ? TOP_REVERSE : TOP_PLAIN, text);
}

static void add_heading(struct section *section, struct strbuf *text, size_t first)
{
	size_t width = section->lines->frame->width;
	struct strbuf shown = STRBUF_INIT;

	if (section->count < section->total)
		strbuf_addf(&shown, " %zu-%zu of %zu", section->first - first + 1,
			    section->first - first + section->count, section->total);
	/* The heading is ASCII. That there are more rows is more than what the last column is called. */
	if (shown.len < width && text->len >= width - shown.len && !strbuf_error(text)) {
		text->len = width - shown.len - 1;
		text->data[text->len] = '\0';
	}
	top_lines_spread(section->lines, TOP_DIM, text, &shown);
	strbuf_fini(&shown);
}

/* ---- devices ---- */

struct bars {
	size_t count;     /* types with a bar: on a narrow screen only DRAM */
	size_t width;     /* of each */
	size_t figure[2]; /* of it, for its figure */
	size_t at;        /* the column where they begin, behind the device's name */
};

static void growth_cell(struct strbuf *out, const struct top_sums *sums)
{
	top_line_growth(out, sums->grown_bytes);
	strbuf_addf(out, " (%+lld)", (long long)sums->grown_buffers);
}

static const char *device_name(const struct section *section, size_t row)
{
	const struct top_device *device = row_of(section, row)->device;

	return section->lines->frame->width >= LONG_NAMES && *device->name ? device->name : device->short_name;
}

/* @fixed: columns behind the bars. */
static void measure(const struct section *section, struct bars *bars, size_t fixed)
{
	size_t width = section->lines->frame->width;
	struct strbuf text = STRBUF_INIT;

	for (size_t i = 0; i < section->count; i++) {
		if (strlen(device_name(section, i)) > bars->at)
			bars->at = strlen(device_name(section, i));
	}
	bars->at = (bars->at > strlen("device") ? bars->at : strlen("device")) + 4;
	fixed += bars->at;
	bars->count = width >= TWO_BARS ? 2 : 1;
	bars->width = width > fixed + bars->count ? (width - fixed) / bars->count - 1 : 1;
	for (size_t i = 0; i < section->count; i++) {
		for (size_t type = 0; type < bars->count; type++) {
			const struct top_sums *sums = row_of(section, i)->sums;

			strbuf_reset(&text);
			top_line_figure(&text, &sums->types[type], sums->capacity_bytes[type]);
			/* Without a capacity there is no bar that it had to leave room for. */
			if (sums->capacity_bytes[type] && text.len > bars->figure[type])
				bars->figure[type] = text.len;
			if (strbuf_error(&text))
				section->lines->out->error = strbuf_error(&text);
		}
	}
	strbuf_fini(&text);
}

static void devices(struct section *section)
{
	bool mark = section->state->mark, wide = section->lines->frame->width >= TWO_BARS;
	struct strbuf text = STRBUF_INIT;
	struct bars bars = {0};

	measure(section, &bars, (wide ? 6 : 0) + (mark ? 18 : 0));
	strbuf_adds(&text, "  device");
	top_line_pad(&text, bars.at);
	for (size_t type = 0; type < bars.count; type++) {
		strbuf_adds(&text, memory_type_name((enum memory_type)type));
		top_line_pad(&text, bars.at + (type + 1) * (bars.width + 1));
	}
	strbuf_addf(&text, "%s%s", wide ? "procs" : "", mark ? "  since mark" : "");
	add_heading(section, &text, 0);
	for (size_t i = 0; i < section->count; i++) {
		const struct top_row *row = row_of(section, i);

		strbuf_reset(&text);
		strbuf_adds(&text, "  ");
		strbuf_adds(&text, device_name(section, i));
		top_line_pad(&text, bars.at);
		for (size_t type = 0; type < bars.count; type++) {
			top_line_usage(&text, &row->sums->types[type], row->sums->capacity_bytes[type], bars.width,
				       bars.figure[type]);
			strbuf_addc(&text, ' ');
		}
		if (wide)
			strbuf_addf(&text, "%5zu", row->sums->processes);
		strbuf_adds(&text, mark ? "  " : "");
		if (mark)
			growth_cell(&text, row->sums);
		add_row(section, i, &text);
	}
	strbuf_fini(&text);
}

/* ---- processes and types: grids of cells ---- */

static void cell_unknown(struct strbuf *out, bool known)
{
	if (!known)
		strbuf_adds(out, GRID_UNKNOWN);
}

static void cell_grown_bytes(struct strbuf *out, const struct section *section, size_t row)
{
	cell_unknown(out, section->state->mark);
	if (section->state->mark)
		top_line_growth(out, row_of(section, row)->sums->grown_bytes);
}

static void cell_grown_buffers(struct strbuf *out, const struct section *section, size_t row)
{
	cell_unknown(out, section->state->mark);
	if (section->state->mark)
		strbuf_addf(out, "%+lld", (long long)row_of(section, row)->sums->grown_buffers);
}

static void cell_held(struct strbuf *out, const struct section *section, size_t row)
{
	cell_unknown(out, section->held);
	if (section->held)
		units_size(out, row_of(section, row)->sums->all.held_bytes);
}

static void cell_buffers(struct strbuf *out, const struct section *section, size_t row)
{
	strbuf_addf(out, "%llu", (unsigned long long)row_of(section, row)->sums->all.buffers);
}

static void cell_pid(struct strbuf *out, const struct section *section, size_t row)
{
	const struct top_process *process = row_of(section, row)->process;

	strbuf_addf(out, "%s%u", process->exact ? "" : "!", process->pid);
}

static void cell_user(struct strbuf *out, const struct section *section, size_t row)
{
	strbuf_adds(out, row_of(section, row)->process->user);
}

static void cell_memory(struct strbuf *out, const struct section *section, size_t row, int type)
{
	cell_unknown(out, section->types[type]);
	if (section->types[type])
		units_size(out, row_of(section, row)->sums->types[type].bytes);
}

static void cell_dram(struct strbuf *out, const struct section *section, size_t row)
{
	cell_memory(out, section, row, MEMORY_DRAM);
}

static void cell_l1(struct strbuf *out, const struct section *section, size_t row)
{
	cell_memory(out, section, row, MEMORY_L1);
}

static void cell_l1_small(struct strbuf *out, const struct section *section, size_t row)
{
	cell_memory(out, section, row, MEMORY_L1_SMALL);
}

static void cell_trace(struct strbuf *out, const struct section *section, size_t row)
{
	cell_memory(out, section, row, MEMORY_TRACE);
}

static void cell_devices(struct strbuf *out, const struct section *section, size_t row)
{
	const struct top_sums *sums = row_of(section, row)->sums;

	if (sums->chip_count)
		phrase_chips(out, sums->chips, sums->chip_count);
	else
		strbuf_addc(out, '-');
}

static void cell_type(struct strbuf *out, const struct section *section, size_t row)
{
	strbuf_adds(out, memory_type_name((enum memory_type)row_of(section, row)->type));
}

static void cell_size(struct strbuf *out, const struct section *section, size_t row)
{
	units_size(out, row_of(section, row)->sums->all.bytes);
}

static void cell_taken(struct strbuf *out, const struct section *section, size_t row)
{
	const struct top_figures *figures = &row_of(section, row)->sums->all;

	cell_unknown(out, !figures->guessed);
	if (!figures->guessed)
		units_size(out, figures->taken_bytes);
}

static void cell_peak(struct strbuf *out, const struct section *section, size_t row)
{
	const struct top_sums *sums = row_of(section, row)->sums;

	cell_unknown(out, sums->peak_bytes);
	if (sums->peak_bytes)
		units_size(out, sums->peak_bytes);
}

struct cell {
	struct grid_column head;
	void (*render)(struct strbuf *out, const struct section *section, size_t row);
};

static const struct cell process_cells[] = {
	{{"pid", true, false, 0}, cell_pid},
	{{"user", false, false, 5}, cell_user},
	{{"DRAM", true, true, 0}, cell_dram},
	{{"L1", true, true, 3}, cell_l1},
	{{"L1_SMALL", true, true, 8}, cell_l1_small},
	{{"TRACE", true, true, 7}, cell_trace},
	{{"buffers", true, false, 4}, cell_buffers},
	{{"devices", false, false, 6}, cell_devices},
	{{"held", true, true, 9}, cell_held},
	{{"+bytes", true, true, 1}, cell_grown_bytes},
	{{"+buffers", true, true, 2}, cell_grown_buffers},
};

static const struct cell type_cells[] = {
	{{"type", false, false, 0}, cell_type},        {{"size", true, false, 0}, cell_size},
	{{"buffers", true, false, 0}, cell_buffers},   {{"taken", true, true, 3}, cell_taken},
	{{"held", true, true, 5}, cell_held},          {{"peak size", true, true, 4}, cell_peak},
	{{"+bytes", true, true, 1}, cell_grown_bytes}, {{"+buffers", true, true, 2}, cell_grown_buffers},
};

static const struct grid_column *process_head(size_t column)
{
	return &process_cells[column].head;
}

static const struct grid_column *type_head(size_t column)
{
	return &type_cells[column].head;
}

static const struct grid_column *buffer_head(size_t column)
{
	return &column_buffer[column].head;
}

static void process_cell(struct strbuf *out, const void *context, size_t row, size_t column)
{
	process_cells[column].render(out, context, row);
}

static void type_cell(struct strbuf *out, const void *context, size_t row, size_t column)
{
	type_cells[column].render(out, context, row);
}

static void buffer_cell(struct strbuf *out, const void *context, size_t row, size_t column)
{
	const struct section *section = context;

	column_buffer[column].render(out, row_of(section, row)->buffer, section->data->now_ns);
}

/* The command takes what the columns leave, so it is no column of the grid. */
static void add_command(struct strbuf *line, const struct section *section, size_t row, size_t at)
{
	top_line_pad(line, at);
	strbuf_adds(line, row < section->count ? row_of(section, row)->process->command : "command");
}

static void print(struct section *section, const struct grid *grid, size_t first, bool commands)
{
	struct style style = {.width = (unsigned int)section->lines->frame->width - (commands ? MIN_COMMAND : 0)};
	struct strbuf text = STRBUF_INIT, line = STRBUF_INIT;
	const char *at, *end;
	size_t columns, widest = 0;

	if (section->lines->frame->width <= MIN_COMMAND)
		style.width = 1;
	if (grid_print(&text, &style, grid))
		section->lines->out->error = strbuf_error(&text);
	for (at = strbuf_str(&text); (end = strchr(at, '\n')); at = end + 1) {
		columns = style_columns(at, (size_t)(end - at));
		widest = columns > widest ? columns : widest;
	}
	at = strbuf_str(&text);
	for (size_t i = 0; (end = strchr(at, '\n')); i++, at = end + 1) {
		size_t row = i ? i - 1 : section->count; /* the first line is the heading */

		strbuf_reset(&line);
		strbuf_add(&line, at, (size_t)(end - at));
		if (commands)
			add_command(&line, section, row, widest + 2);
		if (i)
			add_row(section, row, &line);
		else
			add_heading(section, &line, first);
	}
	strbuf_fini(&line);
	strbuf_fini(&text);
}

static void cells(struct section *section, enum top_kind kind, size_t first)
{
	struct grid grid = {.row_count = section->count, .context = section};

	if (kind == TOP_PROCESSES) {
		grid.column_count = sizeof(process_cells) / sizeof(process_cells[0]);
		grid.column = process_head;
		grid.cell = process_cell;
	} else if (kind == TOP_KIND_TYPES) {
		grid.column_count = sizeof(type_cells) / sizeof(type_cells[0]);
		grid.column = type_head;
		grid.cell = type_cell;
	} else {
		grid.column_count = column_buffer_count;
		grid.column = buffer_head;
		grid.cell = buffer_cell;
	}
	print(section, &grid, first, kind == TOP_PROCESSES);
}

/* ---- all ---- */

static void nothing(struct top_lines *lines, const struct top_rows *rows, const struct top_state *state)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_adds(&text, rows->left_out               ? " no row has the text of the filter"
			   : state->level < TOP_PROCESS ? " no process uses a device"
							: " nothing is allocated");
	top_lines_add(lines, TOP_PLAIN, &text);
	strbuf_fini(&text);
}

static void empty_line(struct top_lines *lines)
{
	struct strbuf none = STRBUF_INIT;

	top_lines_add(lines, TOP_PLAIN, &none);
}

void top_table(struct top_lines *lines, const struct top_rows *rows, struct top_state *state,
	       const struct top_data *data)
{
	static const enum top_kind kinds[TOP_LEVELS] = {TOP_PROCESSES, TOP_PROCESSES, TOP_KIND_TYPES, TOP_BUFFERS};
	struct section above = {.lines = lines, .rows = rows, .state = state, .data = data}, below = above;
	enum top_kind kind = kinds[state->level];
	size_t total = rows->count - rows->device_count, room, share;

	empty_line(lines);
	/* Of two tables each gets half, and what the other leaves; headings and a line between them. */
	if (rows->device_count) {
		room = lines->room - lines->count;
		room = room > 3 ? room - 3 : 1;
		share = room - (total < room ? total : room);
		share = share > room / 2 ? share : room / 2;
		section_begin(&above, 0, rows->device_count, share ? share : 1, &state->scroll[TOP_DEVICES]);
		devices(&above);
		empty_line(lines);
	}
	if (!total) {
		if (rows->here)
			nothing(lines, rows, state);
		return;
	}
	room = lines->room > lines->count + 1 ? lines->room - lines->count - 1 : 1;
	section_begin(&below, rows->device_count, total, room, &state->scroll[kind]);
	cells(&below, kind, rows->device_count);
}
