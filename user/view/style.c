// SPDX-License-Identifier: BSD-2-Clause
/* How text output looks; see style.h. Text given here is escaped already. */
#include "view/style.h"

#include <string.h>

#include "base/strbuf.h"

/* As in the runtime community's own dumps, byte for byte: their scripts and eyes look for it. */
static const char style_box_utf8[] = "╔══════════════════════════════════════════════════════════════╗\n"
				     "║           REMAINING ALLOCATED BUFFERS                       ║\n"
				     "╚══════════════════════════════════════════════════════════════╝\n";
static const char style_box_ascii[] = "+==============================================================+\n"
				      "|           REMAINING ALLOCATED BUFFERS                        |\n"
				      "+==============================================================+\n";

unsigned int style_width(const struct style *style)
{
	return style->width ? style->width : STYLE_DEFAULT_WIDTH;
}

void style_on(struct strbuf *out, const struct style *style, enum style_colour colour)
{
	static const char *const code[] = {
		[STYLE_PLAIN] = "\033[0m",  [STYLE_BOLD] = "\033[1m",    [STYLE_DIM] = "\033[2m",
		[STYLE_GREEN] = "\033[32m", [STYLE_YELLOW] = "\033[33m", [STYLE_RED] = "\033[1;31m",
	};

	if (style->colour)
		strbuf_adds(out, code[colour]);
}

void style_off(struct strbuf *out, const struct style *style)
{
	style_on(out, style, STYLE_PLAIN);
}

void style_mark(struct strbuf *out, const struct style *style, enum style_mark mark)
{
	static const struct {
		const char *utf8, *ascii;
		enum style_colour colour;
	} marks[] = {
		[STYLE_GOOD] = {"✓", "OK", STYLE_GREEN},
		[STYLE_GONE] = {"✗", "x", STYLE_DIM},
		[STYLE_WARNING] = {"⚠", "!", STYLE_YELLOW},
		[STYLE_NEUTRAL] = {"·", "-", STYLE_DIM},
	};

	style_on(out, style, marks[mark].colour);
	strbuf_adds(out, style->utf8 ? marks[mark].utf8 : marks[mark].ascii);
	style_off(out, style);
}

void style_box(struct strbuf *out, const struct style *style)
{
	style_on(out, style, STYLE_BOLD);
	strbuf_adds(out, style->utf8 ? style_box_utf8 : style_box_ascii);
	style_off(out, style);
}

static int style_continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

size_t style_columns(const char *text, size_t len)
{
	size_t columns = 0;

	for (size_t i = 0; i < len; i++)
		columns += !style_continues(text[i]);
	return columns;
}

/* Bytes of the first @columns characters of @text. */
static size_t style_prefix(const char *text, size_t columns)
{
	size_t at = 0;

	while (text[at]) {
		if (!style_continues(text[at]) && columns-- == 0)
			break;
		at++;
	}
	return at;
}

void style_fit(struct strbuf *out, const struct style *style, const char *text, size_t columns)
{
	const char *cut = style->utf8 ? "…" : "...";
	size_t cut_columns = style_columns(cut, strlen(cut));

	if (style_columns(text, strlen(text)) <= columns) {
		strbuf_adds(out, text);
	} else if (columns > cut_columns) {
		strbuf_add(out, text, style_prefix(text, columns - cut_columns));
		strbuf_adds(out, cut);
	} else {
		strbuf_add(out, text, style_prefix(text, columns));
	}
}

void style_wrap(struct strbuf *out, const struct style *style, const char *text, unsigned int used, unsigned int indent)
{
	unsigned int at = used;
	int first = 1;

	while (*text) {
		size_t len = strcspn(text, " ");
		size_t columns = style_columns(text, len);

		if (!first && at + 1 + columns > style_width(style)) {
			strbuf_addf(out, "\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			strbuf_addc(out, ' ');
			at++;
		}
		strbuf_add(out, text, len);
		at += (unsigned int)columns;
		text += len;
		text += strspn(text, " ");
		first = 0;
	}
	strbuf_addc(out, '\n');
}

void style_finish(struct strbuf *out, const struct style *style, size_t start)
{
	size_t to = start;

	if (style->utf8 || strbuf_error(out) || !out->data)
		return;
	for (size_t from = start; from < out->len; from++) {
		char c = out->data[from];

		if (style_continues(c))
			continue;
		out->data[to++] = (unsigned char)c < 0x80 ? c : '?';
	}
	out->len = to;
	out->data[to] = '\0';
}
