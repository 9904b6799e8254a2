// SPDX-License-Identifier: BSD-2-Clause
/* The list of named moments; see marks_view.h. */
#include "view/marks_view.h"

#include "base/strbuf.h"
#include "base/units.h"
#include "view/grid.h"

enum {
	MARKS_NAME,
	MARKS_AGE,
	MARKS_PROCESSES,
	MARKS_BUFFERS,
	MARKS_BYTES,
	MARKS_COLUMNS,
};

struct marks_table {
	const struct marks_view *view;
	const struct marks_row *rows;
};

static const struct grid_column *marks_column(size_t column)
{
	static const struct grid_column columns[MARKS_COLUMNS] = {
		[MARKS_NAME] = {"MARK", false, false, 0},          [MARKS_AGE] = {"AGE", true, false, 0},
		[MARKS_PROCESSES] = {"PROCESSES", true, false, 0}, [MARKS_BUFFERS] = {"BUFFERS", true, false, 0},
		[MARKS_BYTES] = {"LIVE", true, false, 0},
	};

	return &columns[column];
}

static void marks_cell(struct strbuf *out, const void *context, size_t index, size_t column)
{
	const struct marks_table *table = context;
	const struct marks_row *row = &table->rows[index];
	uint64_t now = table->view->now_ns;

	switch (column) {
	case MARKS_NAME:
		strbuf_adds(out, row->name);
		break;
	case MARKS_AGE:
		units_duration(out, now > row->time_ns ? now - row->time_ns : 0);
		break;
	case MARKS_PROCESSES:
		strbuf_addf(out, "%llu", (unsigned long long)row->processes);
		break;
	case MARKS_BUFFERS:
		strbuf_addf(out, "%llu", (unsigned long long)row->buffers);
		break;
	case MARKS_BYTES:
		units_size(out, row->bytes);
		break;
	}
}

int marks_view(struct strbuf *out, const struct marks_view *view, const struct marks_row *rows, size_t count)
{
	struct marks_table table = {.view = view, .rows = rows};
	struct grid grid = {
		.column_count = MARKS_COLUMNS,
		.row_count = count,
		.column = marks_column,
		.cell = marks_cell,
		.context = &table,
	};

	if (!count)
		strbuf_adds(out, "There are no marks (\"bufscope mark NAME\" makes one).\n");
	else
		grid_print(out, &view->style, &grid);
	return strbuf_error(out);
}
