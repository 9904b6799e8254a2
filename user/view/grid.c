// SPDX-License-Identifier: BSD-2-Clause
/* A table of text; see grid.h. */
#include "view/grid.h"

#include <string.h>

#include "base/strbuf.h"
#include "view/style.h"

#define GRID_INDENT 2
#define GRID_GAP    2

/* 0: the column is left out. What fails is noted in @out. */
static size_t grid_width(const struct grid *grid, size_t column, struct strbuf *cell, struct strbuf *out)
{
	const struct grid_column *head = grid->column(column);
	size_t width = strlen(head->title);
	bool known = !head->optional;

	for (size_t row = 0; row < grid->row_count; row++) {
		size_t columns;

		strbuf_reset(cell);
		grid->cell(cell, grid->context, row, column);
		if (strbuf_error(cell))
			out->error = strbuf_error(cell);
		columns = style_columns(strbuf_str(cell), cell->len);
		if (columns > width)
			width = columns;
		known = known || strcmp(strbuf_str(cell), GRID_UNKNOWN);
	}
	return known ? width : 0;
}

/* Leaves out columns until the rest fits: sets their widths to 0. Returns what they take. */
static size_t grid_drop(const struct grid *grid, size_t *widths, size_t limit)
{
	for (;;) {
		size_t total = GRID_INDENT, worst = GRID_MAX_COLUMNS;

		for (size_t i = 0; i < grid->column_count; i++) {
			bool cut = grid->cut_width && i == grid->cut_column && grid->cut_width < widths[i];

			if (!widths[i])
				continue;
			total += (cut ? grid->cut_width : widths[i]) + GRID_GAP;
			if (grid->column(i)->drop &&
			    (worst == GRID_MAX_COLUMNS || grid->column(i)->drop > grid->column(worst)->drop))
				worst = i;
		}
		if (total - GRID_GAP <= limit || worst == GRID_MAX_COLUMNS)
			return total - GRID_GAP;
		widths[worst] = 0;
	}
}

/* @left: what the others leave over. */
static void grid_cut(const struct grid *grid, size_t *widths, size_t left)
{
	size_t *width = &widths[grid->cut_column];

	if (grid->cut_width && *width > grid->cut_width + left)
		*width = grid->cut_width + left;
}

static void grid_cell(struct strbuf *line, const struct style *style, const char *text, size_t width, bool right)
{
	size_t columns = style_columns(text, strlen(text));
	int pad = (int)(columns < width ? width - columns : 0);

	strbuf_addf(line, "%*s", right ? pad : 0, "");
	style_fit(line, style, text, width);
	strbuf_addf(line, "%*s", right ? 0 : pad, "");
}

/* One line; @row behind the last: the heading. */
static void grid_line(struct strbuf *out, const struct style *style, const struct grid *grid, const size_t *widths,
		      size_t row)
{
	struct strbuf cell = STRBUF_INIT;
	const char *gap = "  ";

	for (size_t i = 0; i < grid->column_count; i++) {
		if (!widths[i])
			continue;
		strbuf_reset(&cell);
		if (row < grid->row_count)
			grid->cell(&cell, grid->context, row, i);
		else
			strbuf_adds(&cell, grid->column(i)->title);
		if (strbuf_error(&cell))
			out->error = strbuf_error(&cell);
		strbuf_adds(out, gap);
		grid_cell(out, style, strbuf_str(&cell), widths[i], grid->column(i)->right);
	}
	strbuf_fini(&cell);
	while (!strbuf_error(out) && out->len && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
	strbuf_addc(out, '\n');
}

int grid_print(struct strbuf *out, const struct style *style, const struct grid *grid)
{
	size_t widths[GRID_MAX_COLUMNS] = {0};
	struct strbuf cell = STRBUF_INIT;
	size_t taken;

	for (size_t i = 0; i < grid->column_count; i++)
		widths[i] = grid_width(grid, i, &cell, out);
	strbuf_fini(&cell);
	taken = grid_drop(grid, widths, style_width(style));
	grid_cut(grid, widths, taken < style_width(style) ? style_width(style) - taken : 0);
	style_on(out, style, STYLE_DIM);
	grid_line(out, style, grid, widths, grid->row_count);
	style_off(out, style);
	for (size_t row = 0; row < grid->row_count; row++)
		grid_line(out, style, grid, widths, row);
	return strbuf_error(out);
}
