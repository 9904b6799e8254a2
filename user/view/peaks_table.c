/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of peaks; see peaks_table.h. */
#include "view/peaks_table.h"

#include <errno.h>
#include <stdlib.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "view/grid.h"
#include "view/phrase.h"

enum {
	PEAKS_TYPE,
	PEAKS_DEVICE,
	PEAKS_BYTES,
	PEAKS_BYTES_AT,
	PEAKS_BUFFERS,
	PEAKS_BUFFERS_AT,
	PEAKS_COLUMNS,
};

struct peaks_row {
	const struct snapshot_type *figures; /* of the first device */
	int32_t first, last;
};

struct peaks_rows {
	const struct snapshot_process *process;
	struct peaks_row *rows;
	size_t count;
};

static const struct grid_column *peaks_column(size_t column)
{
	static const struct grid_column columns[PEAKS_COLUMNS] = {
		[PEAKS_TYPE] = {"type", false, false, 0},      [PEAKS_DEVICE] = {"device", false, false, 0},
		[PEAKS_BYTES] = {"bytes", true, false, 0},     [PEAKS_BYTES_AT] = {"first at", true, false, 1},
		[PEAKS_BUFFERS] = {"buffers", true, false, 0}, [PEAKS_BUFFERS_AT] = {"first at", true, false, 2},
	};

	return &columns[column];
}

static void peaks_devices(struct strbuf *out, const struct peaks_row *row)
{
	if (row->first < 0)
		strbuf_adds(out, GRID_UNKNOWN);
	else if (row->first == row->last)
		strbuf_addf(out, "%d", row->first);
	else
		strbuf_addf(out, "%d-%d", row->first, row->last);
}

static void peaks_cell(struct strbuf *out, const void *context, size_t row, size_t column)
{
	const struct peaks_rows *rows = context;
	const struct snapshot_type *figures = rows->rows[row].figures;

	switch (column) {
	case PEAKS_TYPE:
		strbuf_adds(out, memory_type_name(figures->type));
		break;
	case PEAKS_DEVICE:
		peaks_devices(out, &rows->rows[row]);
		break;
	case PEAKS_BYTES:
		units_size(out, figures->peak_bytes);
		break;
	case PEAKS_BYTES_AT:
		phrase_since(out, rows->process,
			     figures->peak_bytes ? figures->peak_bytes_ns : figures->peak_buffers_ns);
		break;
	case PEAKS_BUFFERS:
		strbuf_addf(out, "%llu", (unsigned long long)figures->peak_buffers);
		break;
	case PEAKS_BUFFERS_AT:
		phrase_since(out, rows->process, figures->peak_buffers_ns);
		break;
	}
}

static const struct snapshot_type *peaks_figures(const struct snapshot_device *device, enum memory_type type)
{
	for (uint32_t i = 0; i < device->type_count; i++) {
		if (device->types[i].type == type)
			return &device->types[i];
	}
	return NULL;
}

/* A mesh has the same peaks on every chip, some moments apart when they are opened one by one. */
static bool peaks_equal(const struct snapshot_type *a, const struct snapshot_type *b)
{
	return a->peak_bytes == b->peak_bytes && a->peak_buffers == b->peak_buffers;
}

static void peaks_collect(struct peaks_rows *rows, enum memory_type type)
{
	struct peaks_row *last = NULL;

	for (size_t i = 0; i < rows->process->device_count; i++) {
		const struct snapshot_device *device = &rows->process->devices[i];
		const struct snapshot_type *figures = peaks_figures(device, type);

		if (!figures)
			continue;
		if (last && phrase_is_next_chip(last->last, device->device) && peaks_equal(last->figures, figures)) {
			last->last = device->device;
			continue;
		}
		last = &rows->rows[rows->count++];
		*last = (struct peaks_row){figures, device->device, device->device};
	}
}

int peaks_table(struct strbuf *out, const struct style *style, const struct snapshot_process *process)
{
	struct peaks_rows rows = {.process = process};
	struct grid grid = {
		.column_count = PEAKS_COLUMNS,
		.column = peaks_column,
		.cell = peaks_cell,
		.context = &rows,
	};
	int err = 0;

	/* One type more than there are: buffers whose object could not be read have none. */
	rows.rows = calloc(process->device_count * (MEMORY_TYPE_COUNT + 1) + 1, sizeof(*rows.rows));
	if (!rows.rows) {
		out->error = -ENOMEM;
		return -ENOMEM;
	}
	for (int type = 0; type <= MEMORY_TYPE_COUNT; type++)
		peaks_collect(&rows, (enum memory_type)type);
	grid.row_count = rows.count;
	if (rows.count) {
		strbuf_adds(out, "\nPeaks\n");
		err = grid_print(out, style, &grid);
	}
	free(rows.rows);
	return err;
}
