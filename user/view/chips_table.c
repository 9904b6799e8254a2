/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of chips; see chips_table.h. */
#include "view/chips_table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "model/chip_totals.h"
#include "view/grid.h"
#include "view/style.h"

enum {
	CHIPS_NAME,
	CHIPS_ID,
	CHIPS_TYPE,
	CHIPS_BUFFERS,
	CHIPS_NOW,
	CHIPS_HELD,
	CHIPS_OF,
	CHIPS_PROCESSES,
	CHIPS_COLUMNS,
};

struct chips_row {
	const struct chip_total *chip;
	const struct chip_total_type *type;
};

struct chips_rows {
	struct chips_row *rows;
	size_t count;
	bool any_held;
	size_t unknown; /* uses of chips that the driver did not tell of */
};

static const struct grid_column *chips_column(size_t column)
{
	static const struct grid_column columns[CHIPS_COLUMNS] = {
		[CHIPS_NAME] = {"CHIP", false, false, 0}, [CHIPS_ID] = {"ID", false, true, 2},
		[CHIPS_TYPE] = {"TYPE", false, false, 0}, [CHIPS_BUFFERS] = {"BUFFERS", true, false, 0},
		[CHIPS_NOW] = {"NOW", true, false, 0},    [CHIPS_HELD] = {"HELD", true, true, 1},
		[CHIPS_OF] = {"OF", true, true, 3},       [CHIPS_PROCESSES] = {"PROCESSES", true, false, 0},
	};

	return &columns[column];
}

/* What is the same in all rows of a chip, in its first. */
static void chips_identity(struct strbuf *out, const struct chip_total *chip, size_t column)
{
	char name[CHIP_NAME_LEN];

	switch (column) {
	case CHIPS_NAME:
		strbuf_adds(out, chip_name(&chip->chip, name));
		break;
	case CHIPS_ID:
		if (chip->chip.unique_id)
			strbuf_addf(out, "%016llX", (unsigned long long)chip->chip.unique_id);
		else
			strbuf_adds(out, GRID_UNKNOWN);
		break;
	case CHIPS_PROCESSES:
		strbuf_addf(out, "%zu", chip->member_count);
		break;
	}
}

static void chips_cell(struct strbuf *out, const void *context, size_t index, size_t column)
{
	const struct chips_rows *rows = context;
	const struct chips_row *row = &rows->rows[index];

	switch (column) {
	case CHIPS_TYPE:
		strbuf_adds(out, memory_type_name(row->type->type));
		break;
	case CHIPS_BUFFERS:
		strbuf_addf(out, "%llu", (unsigned long long)row->type->live_buffers);
		break;
	case CHIPS_NOW:
		units_size(out, row->type->live_bytes);
		break;
	case CHIPS_HELD:
		if (rows->any_held)
			units_size(out, row->type->held_bytes);
		else
			strbuf_adds(out, GRID_UNKNOWN);
		break;
	case CHIPS_OF:
		if (row->type->capacity_bytes)
			units_size(out, row->type->capacity_bytes);
		else
			strbuf_adds(out, GRID_UNKNOWN);
		break;
	default:
		if (!index || row->chip != row[-1].chip)
			chips_identity(out, row->chip, column);
		break;
	}
}

static void chips_collect(struct chips_rows *rows, const struct chip_totals *totals)
{
	for (size_t i = 0; i < totals->row_count; i++) {
		const struct chip_total *chip = &totals->rows[i];

		rows->unknown += !chip->chip.known;
		for (uint32_t type = 0; chip->chip.known && type < chip->type_count; type++) {
			rows->rows[rows->count++] = (struct chips_row){chip, &chip->types[type]};
			rows->any_held |= chip->types[type].held_bytes != 0;
		}
	}
}

int chips_table(struct strbuf *out, const struct style *style, const struct snapshot *snapshot)
{
	static const char unknown[] = "Without what is used under a number alone, as nothing tells which chip that is.";
	struct chip_totals *totals = chip_totals_new(snapshot);
	struct chips_rows rows = {0};
	struct grid grid = {
		.column_count = CHIPS_COLUMNS,
		.column = chips_column,
		.cell = chips_cell,
		.context = &rows,
	};

	if (totals)
		rows.rows = calloc(totals->row_count * (MEMORY_TYPE_COUNT + 1) + 1, sizeof(*rows.rows));
	if (rows.rows) {
		chips_collect(&rows, totals);
		grid.row_count = rows.count;
		if (rows.count) {
			strbuf_addc(out, '\n');
			grid_print(out, style, &grid);
		}
		if (rows.count && rows.unknown)
			style_wrap(out, style, unknown, 0, 4);
	} else {
		out->error = -ENOMEM;
	}
	free(rows.rows);
	chip_totals_free(totals);
	return strbuf_error(out);
}
