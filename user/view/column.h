/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What there is to say about one buffer, a row per property: the text summary, a terminal interface
 * and the documentation all take their columns from here.
 */
#ifndef BUFSCOPE_VIEW_COLUMN_H
#define BUFSCOPE_VIEW_COLUMN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/snapshot.h"

struct strbuf;
struct style;

struct column {
	const char *title;
	const char *help; /* one line for the documentation */
	bool right;       /* aligned */
	int drop;         /* when the width does not do, the highest goes first; 0: never */
	/* @now_ns: the moment that ages refer to. */
	void (*render)(struct strbuf *out, const struct snapshot_buffer *buffer, uint64_t now_ns);
};

extern const struct column column_buffer[];
extern const size_t column_buffer_count;

/* Heading and rows of @count buffers, as many columns as fit, indented by two. 0 or -ENOMEM. */
int column_table(struct strbuf *out, const struct style *style, const struct snapshot_buffer *buffers, size_t count,
		 uint64_t now_ns);

#endif
