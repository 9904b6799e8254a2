/* SPDX-License-Identifier: BSD-2-Clause */
/* How text output looks: UTF-8 or plain ASCII, colour or not, how wide. Options are the caller's. */
#ifndef BUFSCOPE_VIEW_STYLE_H
#define BUFSCOPE_VIEW_STYLE_H

#include <stdbool.h>
#include <stddef.h>

struct strbuf;

#define STYLE_DEFAULT_WIDTH 80

struct style {
	bool utf8;
	bool colour;
	unsigned int width; /* columns; 0: STYLE_DEFAULT_WIDTH */
};

enum style_mark {
	STYLE_GOOD = 0,    /* a check mark; ASCII "OK" */
	STYLE_GONE = 1,    /* a cross; ASCII "x" */
	STYLE_WARNING = 2, /* a warning sign; ASCII "!" */
	STYLE_NEUTRAL = 3, /* a dot; ASCII "-" */
};

enum style_colour {
	STYLE_PLAIN = 0,
	STYLE_BOLD = 1,
	STYLE_DIM = 2,
	STYLE_GREEN = 3,
	STYLE_YELLOW = 4,
	STYLE_RED = 5,
};

unsigned int style_width(const struct style *style);
/* From here to style_off(); nothing when the style has no colour. */
void style_on(struct strbuf *out, const struct style *style, enum style_colour colour);
void style_off(struct strbuf *out, const struct style *style);
void style_mark(struct strbuf *out, const struct style *style, enum style_mark mark);
/* The box with the title of the summary, three lines. */
void style_box(struct strbuf *out, const struct style *style);
/* Columns that @text takes: characters, all taken to be one column wide. */
size_t style_columns(const char *text, size_t len);
/* @text cut to at most @columns, with a mark where it was cut. */
void style_fit(struct strbuf *out, const struct style *style, const char *text, size_t columns);
/*
 * @text in lines that fit the width, broken at spaces, each but the first indented by @indent; ends
 * the line. @used columns of the first line are taken already.
 */
void style_wrap(struct strbuf *out, const struct style *style, const char *text, unsigned int used,
		unsigned int indent);

/*
 * Without UTF-8: every other character of @out from @start on becomes '?'. A terminal that does not
 * read UTF-8 may take bytes of it for control characters. Call once, on finished text.
 */
void style_finish(struct strbuf *out, const struct style *style, size_t start);

#endif
