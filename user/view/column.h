/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What there is to say about one buffer, a row per property: the text summary, a terminal interface
 * and the documentation all take their columns from here.
 */
#ifndef BUFSCOPE_VIEW_COLUMN_H
#define BUFSCOPE_VIEW_COLUMN_H

#include <stddef.h>
#include <stdint.h>

#include "model/snapshot.h"
#include "view/grid.h"

struct strbuf;
struct style;

struct column {
	struct grid_column head;
	const char *help; /* one line for the documentation */
	/* @now_ns: the moment that ages refer to. */
	void (*render)(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns);
};

extern const struct column column_buffer[];
extern const size_t column_buffer_count;

/* Heading and rows of @count buffers, as many columns as fit, indented by two. 0 or -ENOMEM. */
int column_table(struct strbuf *out, const struct style *style, const struct snapshot_buffer *buffers, size_t count,
		 uint64_t now_ns);

#endif
