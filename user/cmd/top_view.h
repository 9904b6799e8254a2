/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The screen of `bufscope top` as lines of text, for a terminal and for a pipe. Pure: no terminal, no
 * clock. No line is longer than the screen is wide, also with characters of two columns or of none.
 */
#ifndef BUFSCOPE_CMD_TOP_VIEW_H
#define BUFSCOPE_CMD_TOP_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/top_data.h"
#include "cmd/top_rows.h"

struct strbuf;

/*
 * How the text from there on looks. In a line these are the only control characters there can be: what comes
 * from elsewhere was escaped.
 */
enum top_style {
	TOP_PLAIN = 1,
	TOP_BOLD = 2,
	TOP_DIM = 3,
	TOP_GREEN = 4,
	TOP_YELLOW = 5,
	TOP_RED = 6,
	TOP_REVERSE = 7,
};

struct top_frame {
	size_t width, height; /* height 0: as many lines as there are */
	bool utf8;
	bool keys; /* somebody can press some: the last line tells which, and a row is marked */
	uint64_t interval_ns;
	bool paused;
	bool typing; /* the filter */
	bool help;
	const char *trouble; /* a line about the service, escaped; or NULL */
};

/* Lines, each with its end; exactly height of them, unless that is 0. Keeps the cursor's row on the screen. 0 or -ENOMEM. */
int top_view(struct strbuf *out, const struct top_frame *frame, const struct top_rows *rows, struct top_state *state,
	     const struct top_data *data);

#endif
