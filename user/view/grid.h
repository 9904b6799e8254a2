/* SPDX-License-Identifier: BSD-2-Clause */
/* A table of text: columns as wide as their cells need, left out where the width does not do. */
#ifndef BUFSCOPE_VIEW_GRID_H
#define BUFSCOPE_VIEW_GRID_H

#include <stdbool.h>
#include <stddef.h>

struct strbuf;
struct style;

#define GRID_MAX_COLUMNS 16
#define GRID_UNKNOWN     "?" /* what a cell says that is not known */

struct grid_column {
	const char *title;
	bool right;    /* aligned */
	bool optional; /* left out when it is unknown in every row */
	int drop;      /* when the width does not do, the highest goes first; 0: never */
};

struct grid {
	size_t column_count, row_count; /* at most GRID_MAX_COLUMNS */
	const struct grid_column *(*column)(size_t column);
	void (*cell)(struct strbuf *out, const void *context, size_t row, size_t column);
	const void *context;
	/* A column whose text is cut where the width does not do, and the width that it has at least; 0: none. */
	size_t cut_column, cut_width;
};

/* Heading and rows, indented by two, without blanks at the ends of lines. 0 or -ENOMEM. */
int grid_print(struct strbuf *out, const struct style *style, const struct grid *grid);

#endif
