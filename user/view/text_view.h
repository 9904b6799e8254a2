/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The summary for people: per process the box, its devices and types, then what one asks next. Reads
 * a snapshot and nothing else.
 */
#ifndef BUFSCOPE_VIEW_TEXT_VIEW_H
#define BUFSCOPE_VIEW_TEXT_VIEW_H

#include <stdint.h>

#include "model/snapshot.h"
#include "view/style.h"

struct strbuf;

#define TEXT_VIEW_ALL_BUFFERS     UINT64_MAX
#define TEXT_VIEW_DEFAULT_BUFFERS 10

struct text_view {
	struct style style;
	uint64_t max_buffers; /* rows per process; TEXT_VIEW_ALL_BUFFERS, 0: no rows */
	const char *order;    /* of the buffers, in words; NULL: "largest first" */
	const char *nothing;  /* a sentence for a snapshot without a process; NULL: that none used a runtime */
};

/* Appends the whole summary. 0 or -ENOMEM. */
int text_view_summary(struct strbuf *out, const struct text_view *view, const struct snapshot *snapshot);

#endif
