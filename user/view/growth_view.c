// SPDX-License-Identifier: BSD-2-Clause
/* What grows; see growth_view.h. */
#include "view/growth_view.h"

#include <errno.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "view/grid.h"
#include "view/json_fields.h"
#include "view/phrase.h"

#define GROWTH_SCHEMA     "bufscope.watch/1"
#define GROWTH_MAX_GROUPS ((size_t)MEMORY_TYPE_COUNT * SIZE_CLASS_COUNT)

/* ---- for programs ---- */

static json_t *growth_json_groups(const struct size_classes *classes, bool *failed)
{
	json_t *array = json_array();

	for (int type = 0; type < MEMORY_TYPE_COUNT; type++) {
		for (int i = 0; i < SIZE_CLASS_COUNT; i++) {
			const struct size_class *size_class = &classes->of[type][i];
			json_t *group;

			if (!size_class->buffers)
				continue;
			group = json_object();
			json_fields_string(group, "type", memory_type_name((enum memory_type)type), failed);
			json_fields_u64(group, "class_bytes", 1ull << i, failed);
			json_fields_u64(group, "buffers", size_class->buffers, failed);
			json_fields_u64(group, "bytes", size_class->bytes, failed);
			if (json_array_append_new(array, group))
				*failed = true;
		}
	}
	return array;
}

int growth_view_json(FILE *out, const struct growth_moment *moments, size_t count)
{
	json_t *object = json_object(), *array = json_array();
	bool failed = false;
	int err = 0;

	for (size_t i = 0; i < count; i++) {
		json_t *moment = json_object();

		json_fields_string(moment, "name", moments[i].name, &failed);
		json_fields_u64(moment, "time_ns", moments[i].time_ns, &failed);
		json_fields_set(moment, "groups", growth_json_groups(moments[i].classes, &failed), &failed);
		if (json_array_append_new(array, moment))
			failed = true;
	}
	json_fields_string(object, "schema", GROWTH_SCHEMA, &failed);
	json_fields_set(object, "moments", array, &failed);
	if (!object || failed)
		err = -ENOMEM;
	else if (json_dumpf(object, out, JSON_COMPACT | JSON_ENSURE_ASCII) || fputc('\n', out) == EOF || fflush(out))
		err = ferror(out) ? -EIO : -ENOMEM;
	json_decref(object);
	return err;
}

/* ---- for people ---- */

struct growth_row {
	enum memory_type type;
	int size_class;
	const struct growth_group *group;
};

struct growth_table {
	const struct growth *growth;
	struct growth_row rows[GROWTH_MAX_GROUPS];
	size_t count;
};

enum {
	GROWTH_TYPE,
	GROWTH_SIZE,
	GROWTH_BUFFERS,
	GROWTH_NOW,
	GROWTH_MORE,
	GROWTH_MORE_BYTES,
	GROWTH_GREW,
	GROWTH_SHRANK,
	GROWTH_COLUMNS,
};

static const struct grid_column *growth_column(size_t column)
{
	static const struct grid_column columns[GROWTH_COLUMNS] = {
		[GROWTH_TYPE] = {"TYPE", false, false, 0},      [GROWTH_SIZE] = {"SIZES UP TO", true, false, 0},
		[GROWTH_BUFFERS] = {"BUFFERS", true, false, 2}, [GROWTH_NOW] = {"NOW", true, false, 0},
		[GROWTH_MORE] = {"GROWTH", true, true, 0},      [GROWTH_MORE_BYTES] = {"", true, true, 0},
		[GROWTH_GREW] = {"GREW", true, true, 0},        [GROWTH_SHRANK] = {"SHRANK", true, true, 1},
	};

	return &columns[column];
}

static void growth_times(struct strbuf *out, const struct growth *growth, uint32_t count)
{
	strbuf_addf(out, "%u of %u", count, growth->moments - 1);
}

static void growth_cell(struct strbuf *out, const void *context, size_t index, size_t column)
{
	const struct growth_table *table = context;
	const struct growth_row *row = &table->rows[index];
	const struct size_class *first = &row->group->first, *last = &row->group->last;

	/* Of one moment nothing can be said but what there is. */
	if (table->growth->moments == 1 && column >= GROWTH_MORE) {
		strbuf_adds(out, GRID_UNKNOWN);
		return;
	}
	switch (column) {
	case GROWTH_TYPE:
		strbuf_adds(out, memory_type_name(row->type));
		break;
	case GROWTH_SIZE:
		units_size(out, 1ull << row->size_class);
		break;
	case GROWTH_BUFFERS:
		strbuf_addf(out, "%llu", (unsigned long long)last->buffers);
		break;
	case GROWTH_NOW:
		units_size(out, last->bytes);
		break;
	case GROWTH_MORE:
		strbuf_addf(out, last->buffers == first->buffers ? "%lld" : "%+lld",
			    (long long)(last->buffers - first->buffers));
		break;
	case GROWTH_MORE_BYTES:
		phrase_growth(out, last->bytes, first->bytes);
		break;
	case GROWTH_GREW:
		growth_times(out, table->growth, row->group->grew);
		break;
	case GROWTH_SHRANK:
		growth_times(out, table->growth, row->group->shrank);
		break;
	}
}

/* What grew most comes first. */
static int growth_by_bytes(const void *a, const void *b)
{
	const struct growth_row *left = a, *right = b;
	int64_t left_more = (int64_t)(left->group->last.bytes - left->group->first.bytes);
	int64_t right_more = (int64_t)(right->group->last.bytes - right->group->first.bytes);

	if (left_more != right_more)
		return left_more > right_more ? -1 : 1;
	if (left->type != right->type)
		return left->type < right->type ? -1 : 1;
	return left->size_class - right->size_class;
}

static void growth_collect(struct growth_table *table, bool only_growing)
{
	for (int type = 0; type < MEMORY_TYPE_COUNT; type++) {
		for (int i = 0; i < SIZE_CLASS_COUNT; i++) {
			const struct growth_group *group = &table->growth->of[type][i];
			bool any = group->first.buffers || group->last.buffers;

			if (only_growing ? growth_is_growing(group) : any)
				table->rows[table->count++] = (struct growth_row){(enum memory_type)type, i, group};
		}
	}
	if (table->count)
		qsort(table->rows, table->count, sizeof(table->rows[0]), growth_by_bytes);
}

int growth_view_text(struct strbuf *out, const struct style *style, const struct growth *growth, bool only_growing)
{
	struct growth_table *table = calloc(1, sizeof(*table));
	struct grid grid = {
		.column_count = GROWTH_COLUMNS,
		.column = growth_column,
		.cell = growth_cell,
		.context = table,
	};
	size_t start = out->len;

	if (!table) {
		out->error = -ENOMEM;
		return -ENOMEM;
	}
	table->growth = growth;
	growth_collect(table, only_growing);
	strbuf_addf(out, "%u moment%s", growth->moments, growth->moments == 1 ? "" : "s");
	if (growth->moments > 1) {
		strbuf_adds(out, " in ");
		units_duration(out, growth->last_ns - growth->first_ns);
	}
	strbuf_adds(out, table->count ? ":\n" : only_growing ? ": nothing has grown\n" : ": nothing is allocated\n");
	if (table->count) {
		grid.row_count = table->count;
		grid_print(out, style, &grid);
	}
	free(table);
	style_finish(out, style, start);
	return strbuf_error(out);
}
