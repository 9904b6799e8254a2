/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of the screen of `bufscope top`, and what stands in them. */
#ifndef BUFSCOPE_CMD_TOP_LINE_H
#define BUFSCOPE_CMD_TOP_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "cmd/top_view.h"

struct top_lines {
	const struct top_frame *frame;
	struct strbuf *out;
	size_t count;
	size_t room; /* lines there may be; more are left out */
};

/* One line, cut where the screen ends; in reverse it is as long as the screen is wide. */
void top_lines_add(struct top_lines *lines, enum top_style style, const struct strbuf *text);
/* @right at the right edge, if there is room for it. */
void top_lines_spread(struct top_lines *lines, enum top_style style, struct strbuf *left, const struct strbuf *right);
/* Empty lines up to the room there is. */
void top_lines_fill(struct top_lines *lines);

void top_line_growth(struct strbuf *out, int64_t bytes); /* "+1.00 MB", "-12 B", "0" */
void top_line_pad(struct strbuf *out, size_t columns);   /* blanks, until the text has that many */
size_t top_line_columns(const char *text);               /* styles take none */
/* "48% 5.75/11.98 GB" */
void top_line_figure(struct strbuf *out, const struct top_figures *figures, uint64_t capacity_bytes);
/* A bar and that figure in @width columns, the last @figure of them for the figure. No bar without a capacity. */
void top_line_usage(struct strbuf *out, const struct top_figures *figures, uint64_t capacity_bytes, size_t width,
		    size_t figure);

#endif
