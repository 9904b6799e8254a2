// SPDX-License-Identifier: BSD-2-Clause
/* Lines of the screen of `bufscope top`; see top_line.h. */
#include "cmd/top_line.h"

#include <errno.h>
#include <string.h>
#include <wchar.h>

#include "base/strbuf.h"
#include "base/units.h"

#define MIN_BAR 4

/* ---- lines ---- */

static bool is_style(char c)
{
	return c >= TOP_PLAIN && c <= TOP_REVERSE;
}

/* The next character of @text: its bytes, and the columns it takes; -1: it cannot be shown. */
static size_t character(const char *text, bool utf8, int *columns)
{
	mbstate_t state = {0};
	wchar_t wide;
	size_t len = 1;

	*columns = *text >= 0x20 && *text < 0x7f ? 1 : -1;
	if (!((unsigned char)*text & 0x80))
		return 1;
	if (utf8) {
		len = mbrtowc(&wide, text, strlen(text), &state);
		if (len != (size_t)-1 && len != (size_t)-2) {
			*columns = wcwidth(wide);
			return len;
		}
	}
	for (len = 1; ((unsigned char)text[len] & 0xc0) == 0x80;)
		len++;
	return len;
}

/* Characters that would join the one before, or that this locale does not have, are told as '?'. */
static size_t fit(struct top_lines *lines, const char *text, bool styles)
{
	size_t at = 0, width = lines->frame->width;

	while (*text) {
		int columns;
		size_t len = character(text, lines->frame->utf8, &columns);

		if (is_style(*text)) {
			if (styles)
				strbuf_addc(lines->out, *text);
		} else if (at + (columns == 2 ? 2 : 1) > width) {
			break;
		} else if (columns <= 0) {
			strbuf_addc(lines->out, '?');
			at++;
		} else {
			strbuf_add(lines->out, text, len);
			at += (size_t)columns;
		}
		text += len;
	}
	return at;
}

void top_lines_add(struct top_lines *lines, enum top_style style, const struct strbuf *text)
{
	size_t columns;

	if (strbuf_error(text))
		lines->out->error = strbuf_error(text);
	if (lines->count >= lines->room)
		return;
	lines->count++;
	strbuf_addc(lines->out, (char)style);
	columns = fit(lines, strbuf_str(text), style != TOP_REVERSE);
	if (style == TOP_REVERSE && columns < lines->frame->width)
		strbuf_addf(lines->out, "%*s", (int)(lines->frame->width - columns), "");
	strbuf_addc(lines->out, '\n');
}

void top_lines_spread(struct top_lines *lines, enum top_style style, struct strbuf *left, const struct strbuf *right)
{
	size_t columns = top_line_columns(strbuf_str(right));

	if (strbuf_error(right))
		lines->out->error = strbuf_error(right);
	if (top_line_columns(strbuf_str(left)) + 1 + columns <= lines->frame->width) {
		top_line_pad(left, lines->frame->width - columns);
		strbuf_adds(left, strbuf_str(right));
	}
	top_lines_add(lines, style, left);
}

void top_lines_fill(struct top_lines *lines)
{
	for (; lines->count < lines->room; lines->count++)
		strbuf_addc(lines->out, '\n');
}

/* ---- what stands in them ---- */

size_t top_line_columns(const char *text)
{
	size_t total = 0;

	while (*text) {
		int columns;
		size_t len = character(text, true, &columns);

		if (!is_style(*text))
			total += columns == 2 ? 2 : 1;
		text += len;
	}
	return total;
}

void top_line_pad(struct strbuf *out, size_t columns)
{
	size_t have = top_line_columns(strbuf_str(out));

	if (have < columns)
		strbuf_addf(out, "%*s", (int)(columns - have), "");
}

void top_line_growth(struct strbuf *out, int64_t bytes)
{
	if (!bytes) {
		strbuf_addc(out, '0');
		return;
	}
	strbuf_addc(out, bytes < 0 ? '-' : '+');
	units_size(out, bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes);
}

static void add_percent(struct strbuf *out, const struct top_figures *figures, uint64_t capacity_bytes)
{
	unsigned int percent = (unsigned int)((double)figures->taken_bytes * 100 / (double)capacity_bytes);

	if (figures->guessed)
		strbuf_adds(out, ">=");
	else if (figures->taken_bytes && !percent)
		strbuf_addc(out, '<');
	strbuf_addf(out, "%u%% ", figures->taken_bytes && !percent && !figures->guessed ? 1 : percent);
}

void top_line_figure(struct strbuf *out, const struct top_figures *figures, uint64_t capacity_bytes)
{
	struct strbuf used = STRBUF_INIT, capacity = STRBUF_INIT;
	size_t number;

	units_size(&used, figures->taken_bytes);
	units_size(&capacity, capacity_bytes);
	if (!figures->buffers && !capacity_bytes) {
		strbuf_addc(out, '-');
	} else if (!capacity_bytes) {
		strbuf_addf(out, "%s, capacity unknown", strbuf_str(&used));
	} else {
		add_percent(out, figures, capacity_bytes);
		number = strcspn(strbuf_str(&used), " ");
		/* The unit is said once if it is one. */
		if (!strcmp(strbuf_str(&used) + number, strchrnul(strbuf_str(&capacity), ' ')))
			strbuf_add(out, strbuf_str(&used), number);
		else
			strbuf_adds(out, strbuf_str(&used));
		strbuf_addf(out, "/%s", strbuf_str(&capacity));
	}
	if (strbuf_error(&used) || strbuf_error(&capacity))
		out->error = -ENOMEM;
	strbuf_fini(&used);
	strbuf_fini(&capacity);
}

static void add_bar(struct strbuf *out, uint64_t used, uint64_t capacity, size_t width)
{
	double ratio = (double)used / (double)capacity;
	size_t full = (size_t)(ratio * (double)width + 0.5);

	if (!full && used)
		full = 1;
	if (full > width)
		full = width;
	strbuf_addc(out, '[');
	strbuf_addc(out, ratio >= 0.9 ? TOP_RED : ratio >= 0.7 ? TOP_YELLOW : TOP_GREEN);
	for (size_t i = 0; i < full; i++)
		strbuf_addc(out, '|');
	strbuf_addc(out, TOP_PLAIN);
	strbuf_addf(out, "%*s] ", (int)(width - full), "");
}

void top_line_usage(struct strbuf *out, const struct top_figures *figures, uint64_t capacity_bytes, size_t width,
		    size_t figure)
{
	size_t end = top_line_columns(strbuf_str(out)) + width, start;

	if (capacity_bytes && width >= figure + 3 + MIN_BAR)
		add_bar(out, figures->taken_bytes, capacity_bytes, width - figure - 3);
	start = out->len;
	top_line_figure(out, figures, capacity_bytes);
	if (!capacity_bytes && figures->buffers && !strbuf_error(out) && out->len - start > width) {
		out->len = start;
		units_size(out, figures->taken_bytes);
		strbuf_adds(out, " of ?");
	}
	top_line_pad(out, end);
}
