// SPDX-License-Identifier: BSD-2-Clause
/* The columns of a table of buffers; see column.h. */
#include "view/column.h"

#include <string.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "view/phrase.h"
#include "view/style.h"

#define COLUMN_MAX       16
#define COLUMN_INDENT    2
#define COLUMN_GAP       2
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
	if (buffer->state == BUFFER_LIVE)
		return;
	strbuf_addc(out, ' ');
	column_elapsed(out, buffer->held_ns, now_ns);
}

const struct column column_buffer[] = {
	{"serial", "number of the allocation in this run, from 1", true, 1, column_serial},
	{"type", "memory type", false, 0, column_type},
	{"size", "bytes asked for, on each chip", true, 0, column_size},
	{"chips", "the chips it lies on, as the runtime numbers them", false, 0, column_chips},
	{"address", "on the device, per bank", true, 3, column_address},
	{"age", "since it was allocated", true, 0, column_age},
	{"thread", "that allocated it", true, 2, column_thread},
	{"state", "live, or held (uncertain) and for how long", false, 0, column_state},
};
const size_t column_buffer_count = sizeof(column_buffer) / sizeof(column_buffer[0]);
_Static_assert(sizeof(column_buffer) / sizeof(column_buffer[0]) <= COLUMN_MAX, "room for all widths");

/* Leaves out columns until the rest fits: sets their widths to 0. */
static void column_drop(size_t *widths, size_t limit)
{
	for (;;) {
		size_t total = COLUMN_INDENT, worst = COLUMN_MAX;

		for (size_t i = 0; i < column_buffer_count; i++) {
			if (!widths[i])
				continue;
			total += widths[i] + COLUMN_GAP;
			if (column_buffer[i].drop &&
			    (worst == COLUMN_MAX || column_buffer[i].drop > column_buffer[worst].drop))
				worst = i;
		}
		if (total - COLUMN_GAP <= limit || worst == COLUMN_MAX)
			return;
		widths[worst] = 0;
	}
}

static void column_cell(struct strbuf *line, const char *text, size_t width, bool right)
{
	size_t columns = style_columns(text, strlen(text));
	int pad = (int)(columns < width ? width - columns : 0);

	strbuf_addf(line, "%*s%s%*s", right ? pad : 0, "", text, right ? 0 : pad, "");
}

/* One line; @buffer NULL: the heading. No blanks at its end. */
static void column_line(struct strbuf *out, const size_t *widths, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	struct strbuf cell = STRBUF_INIT;
	const char *gap = "  ";

	for (size_t i = 0; i < column_buffer_count; i++) {
		if (!widths[i])
			continue;
		strbuf_reset(&cell);
		if (buffer)
			column_buffer[i].render(&cell, buffer, now_ns);
		else
			strbuf_adds(&cell, column_buffer[i].title);
		strbuf_adds(out, gap);
		column_cell(out, strbuf_str(&cell), widths[i], column_buffer[i].right);
	}
	if (strbuf_error(&cell))
		out->error = strbuf_error(&cell);
	strbuf_fini(&cell);
	while (!strbuf_error(out) && out->len && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
	strbuf_addc(out, '\n');
}

int column_table(struct strbuf *out, const struct style *style, const struct snapshot_buffer *buffers, size_t count,
		 uint64_t now_ns)
{
	size_t widths[COLUMN_MAX] = {0};
	struct strbuf cell = STRBUF_INIT;

	for (size_t i = 0; i < column_buffer_count; i++) {
		widths[i] = strlen(column_buffer[i].title);
		for (size_t row = 0; row < count; row++) {
			size_t columns;

			strbuf_reset(&cell);
			column_buffer[i].render(&cell, &buffers[row], now_ns);
			columns = style_columns(strbuf_str(&cell), cell.len);
			if (columns > widths[i])
				widths[i] = columns;
		}
	}
	strbuf_fini(&cell);
	column_drop(widths, style_width(style));
	style_on(out, style, STYLE_DIM);
	column_line(out, widths, NULL, now_ns);
	style_off(out, style);
	for (size_t row = 0; row < count; row++)
		column_line(out, widths, &buffers[row], now_ns);
	return strbuf_error(out);
}
