// SPDX-License-Identifier: BSD-2-Clause
/* The rows on the screen of `bufscope top`; see top_rows.h. */
#include "cmd/top_rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "view/column.h"

/* ---- sums ---- */

static void add_chip(struct top_sums *sums, int32_t chip)
{
	for (uint32_t i = 0; i < sums->chip_count; i++) {
		if (sums->chips[i] == chip)
			return;
	}
	if (sums->chip_count < EVENT_MAX_CHIPS)
		sums->chips[sums->chip_count++] = chip;
}

/* @chip and @type may be all of them: "", -1. Returns whether the process was ever there. */
static bool add_process(struct top_sums *sums, const struct top_process *process, const char *chip, int type)
{
	bool there = false;

	for (size_t d = 0; d < process->device_count; d++) {
		const struct top_device *device = &process->devices[d];

		if (*chip && strcmp(device->key, chip))
			continue;
		there = true;
		for (int t = 0; t < TOP_TYPES; t++) {
			const struct top_figures *figures = &device->types[t];

			if (type >= 0 && t != type)
				continue;
			top_figures_add(&sums->types[t], figures);
			top_figures_add(&sums->all, figures);
			if (device->capacity_bytes[t] > sums->capacity_bytes[t])
				sums->capacity_bytes[t] = device->capacity_bytes[t];
			if (figures->buffers || figures->held_buffers)
				add_chip(sums, device->number);
			if (*chip)
				sums->peak_bytes += device->peak_bytes[t];
		}
	}
	return there;
}

/* @id: of one process, or NULL: of all. */
static void add_up(struct top_sums *sums, const struct top_data *data, const char *id, const char *chip, int type)
{
	for (size_t i = 0; data && i < data->process_count; i++) {
		if ((!id || !strcmp(data->processes[i].id, id)) && add_process(sums, &data->processes[i], chip, type))
			sums->processes++;
	}
}

static struct top_sums *sum(struct top_rows *rows, const struct top_data *data, const struct top_data *mark,
			    const struct top_row *of)
{
	const char *id = of->process ? of->process->id : NULL;
	struct top_sums *sums = arena_array(&rows->arena, 1, sizeof(*sums)), then = {0};

	if (!sums)
		return NULL;
	if (of->process)
		sums->processes = add_process(sums, of->process, of->chip, of->type);
	else
		add_up(sums, data, NULL, of->chip, of->type);
	if (!mark)
		return sums;
	add_up(&then, mark, id, of->chip, of->type);
	sums->grown_bytes = (int64_t)(sums->all.bytes - then.all.bytes);
	sums->grown_buffers = (int64_t)(sums->all.buffers - then.all.buffers);
	return sums;
}

/* ---- which rows ---- */

struct building {
	struct top_rows *rows;
	const struct top_data *data;
	const struct top_state *state;
	size_t capacity;
};

static struct top_row *add_row(struct building *building, enum top_kind kind)
{
	struct top_rows *rows = building->rows;
	struct top_row *row;

	if (rows->count == building->capacity) {
		size_t capacity = building->capacity ? building->capacity * 2 : 64;
		struct top_row *more = realloc(rows->rows, capacity * sizeof(*more));

		if (!more) {
			rows->arena.failed = true;
			return NULL;
		}
		rows->rows = more;
		building->capacity = capacity;
	}
	row = &rows->rows[rows->count++];
	memset(row, 0, sizeof(*row));
	row->kind = kind;
	row->chip = building->state->device;
	row->type = -1;
	return row;
}

static void add_sums(struct building *building, struct top_row *row)
{
	row->sums = sum(building->rows, building->data, building->state->mark, row);
}

static void add_devices(struct building *building)
{
	const struct top_data *data = building->data;
	struct top_rows *rows = building->rows;

	for (size_t p = 0; p < data->process_count; p++) {
		for (size_t d = 0; d < data->processes[p].device_count; d++) {
			const struct top_device *device = &data->processes[p].devices[d];
			struct top_row *row;
			size_t i = 0;

			while (i < rows->count && strcmp(rows->rows[i].chip, device->key))
				i++;
			if (i < rows->count)
				continue;
			row = add_row(building, TOP_DEVICES);
			if (!row)
				return;
			row->chip = device->key;
			row->device = device;
			add_sums(building, row);
		}
	}
	rows->device_count = rows->count;
}

static bool passes(const struct building *building, enum top_kind kind, const struct strbuf *text)
{
	const char *filter = building->state->filter[kind];

	if (strbuf_error(text))
		building->rows->arena.failed = true;
	if (!*filter || strcasestr(strbuf_str(text), filter))
		return true;
	building->rows->left_out++;
	return false;
}

static void add_processes(struct building *building)
{
	struct strbuf text = STRBUF_INIT;

	for (size_t i = 0; i < building->data->process_count; i++) {
		const struct top_process *process = &building->data->processes[i];
		struct top_row *row;

		if (*building->state->device && !top_data_device(process, building->state->device))
			continue;
		strbuf_reset(&text);
		strbuf_addf(&text, "%u %s %s %s", process->pid, process->user, process->command, process->cgroup);
		if (!passes(building, TOP_PROCESSES, &text))
			continue;
		row = add_row(building, TOP_PROCESSES);
		if (!row)
			break;
		row->process = process;
		add_sums(building, row);
	}
	strbuf_fini(&text);
}

static void add_types(struct building *building)
{
	for (int type = 0; type < TOP_TYPES; type++) {
		struct top_row *row = add_row(building, TOP_KIND_TYPES);

		if (!row)
			return;
		row->type = type;
		row->process = building->rows->process;
		add_sums(building, row);
		if (row->sums && !row->sums->all.buffers && !row->sums->all.held_buffers && !row->sums->peak_bytes &&
		    !row->sums->grown_buffers)
			building->rows->count--;
	}
}

/* @device: NULL: any. */
static bool lies_on(const struct snapshot_buffer *buffer, const struct top_device *device)
{
	for (uint32_t i = 0; device && i < buffer->chip_count; i++) {
		if (buffer->chips[i] == device->number)
			return true;
	}
	return !device || (!buffer->chip_count && device->number < 0);
}

static void add_buffers(struct building *building)
{
	const struct top_state *state = building->state;
	const struct top_process *process = building->rows->process;
	const struct top_device *device = top_data_device(process, state->device);
	struct strbuf text = STRBUF_INIT;

	/* The process has left the device that the user looks at. */
	if (*state->device && !device)
		return;
	for (size_t i = 0; i < process->buffer_count; i++) {
		const struct snapshot_buffer *buffer = &process->buffers[i];
		struct top_row *row;

		if ((int)buffer->type != state->type || !lies_on(buffer, device))
			continue;
		strbuf_reset(&text);
		for (size_t c = 0; *state->filter[TOP_BUFFERS] && c < column_buffer_count; c++) {
			column_buffer[c].render(&text, buffer, building->data->now_ns);
			strbuf_addc(&text, ' ');
		}
		if (!passes(building, TOP_BUFFERS, &text))
			continue;
		row = add_row(building, TOP_BUFFERS);
		if (!row)
			break;
		row->process = process;
		row->buffer = buffer;
		row->fresh = state->mark && buffer->allocated_ns > state->mark->now_ns;
	}
	strbuf_fini(&text);
}

/* ---- order ---- */

static int up(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int down(uint64_t a, uint64_t b)
{
	return up(b, a);
}

/* Chips that the driver names come first, then those of each process. */
static int by_chip(const struct top_device *a, const struct top_device *b)
{
	bool a_named = *a->name, b_named = *b->name;

	if (a_named != b_named)
		return b_named - a_named;
	if (!a_named && a->number != b->number)
		return (a->number > b->number) - (a->number < b->number);
	return strcmp(a->key, b->key);
}

static int by_name(const struct top_row *a, const struct top_row *b)
{
	if (a->buffer)
		return up(a->buffer->serial, b->buffer->serial);
	if (a->kind == TOP_PROCESSES)
		return a->process->pid != b->process->pid ? up(a->process->pid, b->process->pid)
							  : strcmp(a->process->id, b->process->id);
	if (a->kind == TOP_KIND_TYPES)
		return a->type - b->type;
	return by_chip(a->device, b->device);
}

static int by_size(const struct top_row *a, const struct top_row *b)
{
	if (a->buffer)
		return down(a->buffer->size_bytes, b->buffer->size_bytes);
	return down(a->sums->all.bytes, b->sums->all.bytes);
}

static int by_buffers(const struct top_row *a, const struct top_row *b)
{
	return down(a->sums->all.buffers, b->sums->all.buffers);
}

static int by_growth(const struct top_row *a, const struct top_row *b)
{
	return (a->sums->grown_bytes < b->sums->grown_bytes) - (a->sums->grown_bytes > b->sums->grown_bytes);
}

/* A buffer of unknown age is older than the watch: its 0 is the oldest. */
static int by_age(const struct top_row *a, const struct top_row *b)
{
	return up(a->buffer->allocated_ns, b->buffer->allocated_ns);
}

static int by_youth(const struct top_row *a, const struct top_row *b)
{
	return down(a->buffer->allocated_ns, b->buffer->allocated_ns);
}

static int by_address(const struct top_row *a, const struct top_row *b)
{
	return up(a->buffer->address, b->buffer->address);
}

#define MAX_SORTS 4

static const struct {
	const char *name;
	int (*compare)(const struct top_row *a, const struct top_row *b);
} sorts[TOP_KINDS][MAX_SORTS] = {
	[TOP_DEVICES] = {{"number", by_name}, {"size", by_size}, {"growth", by_growth}},
	[TOP_PROCESSES] = {{"size", by_size}, {"buffers", by_buffers}, {"growth", by_growth}, {"pid", by_name}},
	[TOP_KIND_TYPES] = {{"type", by_name}, {"size", by_size}, {"growth", by_growth}},
	[TOP_BUFFERS] = {{"size", by_size}, {"oldest", by_age}, {"newest", by_youth}, {"address", by_address}},
};

static int compare(const void *left, const void *right, void *context)
{
	const struct top_row *a = left, *b = right;
	const struct top_state *state = context;
	int order = sorts[a->kind][state->sort[a->kind]].compare(a, b);

	return order ? order : by_name(a, b);
}

const char *top_rows_sort_name(enum top_kind kind, unsigned int sort)
{
	return sorts[kind][sort].name;
}

void top_rows_next_sort(const struct top_rows *rows, struct top_state *state)
{
	enum top_kind kind = top_rows_kind(rows, state);
	unsigned int next = state->sort[kind] + 1;

	state->sort[kind] = next < MAX_SORTS && sorts[kind][next].name ? next : 0;
}

/* ---- the cursor ---- */

static void row_key(const struct top_row *row, char *key)
{
	if (row->kind == TOP_DEVICES)
		snprintf(key, TOP_MAX_KEY, "device %s", row->chip);
	else if (row->kind == TOP_PROCESSES)
		snprintf(key, TOP_MAX_KEY, "process %s", row->process->id);
	else if (row->kind == TOP_KIND_TYPES)
		snprintf(key, TOP_MAX_KEY, "type %d", row->type);
	else
		snprintf(key, TOP_MAX_KEY, "buffer %llu", (unsigned long long)row->buffer->serial);
}

static void put_cursor(const struct top_rows *rows, struct top_cursor *cursor, size_t index)
{
	cursor->index = index;
	if (index < rows->count)
		row_key(&rows->rows[index], cursor->key);
}

static void find_cursor(struct top_rows *rows, struct top_state *state)
{
	struct top_cursor *cursor = &state->cursor[state->level];
	char key[TOP_MAX_KEY];
	size_t i = 0;

	for (; *cursor->key && i < rows->count; i++) {
		row_key(&rows->rows[i], key);
		if (!strcmp(key, cursor->key))
			break;
	}
	if (!*cursor->key || i == rows->count)
		i = cursor->index < rows->count ? cursor->index : rows->count ? rows->count - 1 : 0;
	put_cursor(rows, cursor, i);
	rows->cursor = i;
}

void top_rows_move(const struct top_rows *rows, struct top_state *state, long by)
{
	long to = (long)rows->cursor + by, last = (long)rows->count - 1;

	to = to > last ? last : to;
	put_cursor(rows, &state->cursor[state->level], to < 0 ? 0 : (size_t)to);
}

void top_rows_enter(const struct top_rows *rows, struct top_state *state)
{
	const struct top_row *row = rows->cursor < rows->count ? &rows->rows[rows->cursor] : NULL;

	if (!row || row->kind == TOP_BUFFERS)
		return;
	if (row->kind == TOP_DEVICES) {
		state->level = TOP_DEVICE;
		snprintf(state->device, sizeof(state->device), "%s", row->chip);
	} else if (row->kind == TOP_PROCESSES) {
		state->level = TOP_PROCESS;
		snprintf(state->process, sizeof(state->process), "%s", row->process->id);
	} else {
		state->level = TOP_TYPE;
		state->type = row->type;
		state->scroll[TOP_BUFFERS] = 0;
		*state->filter[TOP_BUFFERS] = '\0';
	}
	memset(&state->cursor[state->level], 0, sizeof(state->cursor[state->level]));
}

void top_rows_leave(struct top_state *state)
{
	if (state->level == TOP_TYPE) {
		state->level = TOP_PROCESS;
	} else if (state->level == TOP_PROCESS && *state->device) {
		state->level = TOP_DEVICE;
	} else {
		state->level = TOP_OVERVIEW;
		*state->device = '\0';
	}
}

enum top_kind top_rows_kind(const struct top_rows *rows, const struct top_state *state)
{
	static const enum top_kind kinds[TOP_LEVELS] = {TOP_PROCESSES, TOP_PROCESSES, TOP_KIND_TYPES, TOP_BUFFERS};

	return rows->cursor < rows->count ? rows->rows[rows->cursor].kind : kinds[state->level];
}

/* ---- all ---- */

void top_state_init(struct top_state *state)
{
	memset(state, 0, sizeof(*state));
}

static void add_places(struct building *building)
{
	struct top_rows *rows = building->rows;
	struct top_row place = {.chip = building->state->device, .type = -1};

	if (*place.chip)
		rows->device_sums = sum(rows, building->data, building->state->mark, &place);
	for (size_t i = 0; *place.chip && !rows->device && i < building->data->process_count; i++)
		rows->device = top_data_device(&building->data->processes[i], place.chip);
	if (building->state->level >= TOP_PROCESS)
		rows->process = place.process = top_data_process(building->data, building->state->process);
	if (building->state->level == TOP_TYPE)
		place.type = building->state->type;
	if (building->state->level < TOP_PROCESS || rows->process)
		rows->here = sum(rows, building->data, building->state->mark, &place);
}

int top_rows_build(struct top_rows *rows, const struct top_data *data, struct top_state *state)
{
	struct building building = {.rows = rows, .data = data, .state = state};

	top_rows_fini(rows);
	add_places(&building);
	if (state->level == TOP_OVERVIEW)
		add_devices(&building);
	if (state->level <= TOP_DEVICE)
		add_processes(&building);
	else if (state->level == TOP_PROCESS && rows->process)
		add_types(&building);
	else if (rows->process)
		add_buffers(&building);
	if (rows->arena.failed)
		return -ENOMEM;
	if (rows->device_count)
		qsort_r(rows->rows, rows->device_count, sizeof(*rows->rows), compare, state);
	if (rows->count > rows->device_count)
		qsort_r(rows->rows + rows->device_count, rows->count - rows->device_count, sizeof(*rows->rows), compare,
			state);
	find_cursor(rows, state);
	return 0;
}

void top_rows_fini(struct top_rows *rows)
{
	free(rows->rows);
	arena_fini(&rows->arena);
	memset(rows, 0, sizeof(*rows));
}
