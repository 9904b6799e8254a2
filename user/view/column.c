// SPDX-License-Identifier: BSD-2-Clause
/* The columns of a table of buffers; see column.h. */
#include "view/column.h"

#include "base/strbuf.h"
#include "base/units.h"
#include "view/phrase.h"
#include "view/style.h"

#define COLUMN_CHIPS_MAX 12

static void column_serial(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	(void)now_ns;
	strbuf_addf(out, "%llu", (unsigned long long)buffer->serial);
}

static void column_type(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	(void)now_ns;
	strbuf_adds(out, memory_type_name(buffer->type));
}

/* Its object could not be read, so that there is nothing to say about it. */
static bool column_unread(const struct snapshot_buffer *buffer)
{
	return buffer->type == MEMORY_TYPE_COUNT && !buffer->size_bytes;
}

static void column_size(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	(void)now_ns;
	if (column_unread(buffer))
		strbuf_addc(out, '?');
	else
		units_size(out, buffer->size_bytes);
}

static void column_taken(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	(void)now_ns;
	if (buffer->footprint_bytes)
		units_size(out, buffer->footprint_bytes);
	else
		strbuf_adds(out, GRID_UNKNOWN);
}

/* A mesh with holes can be long; then its number of chips says more than half a list. */
static void column_chips(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	size_t start = out->len;

	(void)now_ns;
	phrase_chips(out, buffer->chips, buffer->chip_count);
	if (strbuf_error(out) || out->len - start <= COLUMN_CHIPS_MAX)
		return;
	out->len = start;
	out->data[start] = '\0';
	strbuf_addf(out, "%u chips", buffer->chip_count);
}

static void column_address(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	(void)now_ns;
	if (column_unread(buffer))
		strbuf_addc(out, '?');
	else
		strbuf_addf(out, "0x%llx", (unsigned long long)buffer->address);
}

static void column_elapsed(struct strbuf *out, uint64_t since_ns, uint64_t now_ns)
{
	if (!since_ns)
		strbuf_addc(out, '?');
	else
		units_duration(out, now_ns > since_ns ? now_ns - since_ns : 0);
}

static void column_age(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	/* Only a census finds a buffer without seeing its allocation. */
	if (!buffer->allocated_ns)
		strbuf_adds(out, "before attach");
	else
		column_elapsed(out, buffer->allocated_ns, now_ns);
}

static void column_thread(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	(void)now_ns;
	if (buffer->thread)
		strbuf_addf(out, "%u", buffer->thread);
	else
		strbuf_addc(out, '?');
}

static void column_state(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	strbuf_adds(out, phrase_state_word(buffer->state));
	if (buffer->state != BUFFER_HELD)
		return;
	strbuf_addc(out, ' ');
	column_elapsed(out, buffer->held_ns, now_ns);
}

const struct column column_buffer[] = {
	{{"serial", true, false, 1}, "number of the allocation in this run, from 1", column_serial},
	{{"type", false, false, 0}, "memory type", column_type},
	{{"size", true, false, 0}, "bytes asked for, on each chip", column_size},
	{{"taken", true, true, 2}, "bytes really taken, on each chip, as the runtime's books say", column_taken},
	{{"chips", false, false, 0}, "the chips it lies on, as the runtime numbers them", column_chips},
	{{"address", true, false, 4}, "on the device, per bank", column_address},
	{{"age", true, false, 0}, "since it was allocated", column_age},
	{{"thread", true, true, 3}, "that allocated it", column_thread},
	{{"state", false, false, 0}, "live; held, and for how long; or uncertain: held or gone", column_state},
};
const size_t column_buffer_count = sizeof(column_buffer) / sizeof(column_buffer[0]);
_Static_assert(sizeof(column_buffer) / sizeof(column_buffer[0]) <= GRID_MAX_COLUMNS, "room for all widths");

struct column_rows {
	const struct snapshot_buffer *buffers;
	uint64_t now_ns;
};

static const struct grid_column *column_head(size_t column)
{
	return &column_buffer[column].head;
}

static void column_cell(struct strbuf *out, const void *context, size_t row, size_t column)
{
	const struct column_rows *rows = context;

	column_buffer[column].render(out, &rows->buffers[row], rows->now_ns);
}

int column_table(struct strbuf *out, const struct style *style, const struct snapshot_buffer *buffers, size_t count,
		 uint64_t now_ns)
{
	struct column_rows rows = {.buffers = buffers, .now_ns = now_ns};
	struct grid grid = {
		.column_count = column_buffer_count,
		.row_count = count,
		.column = column_head,
		.cell = column_cell,
		.context = &rows,
	};

	return grid_print(out, style, &grid);
}
