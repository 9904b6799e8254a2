/* SPDX-License-Identifier: BSD-2-Clause */
/* What changed between two moments, for people and for programs (bufscope.diff/1). */
#ifndef BUFSCOPE_VIEW_DIFF_VIEW_H
#define BUFSCOPE_VIEW_DIFF_VIEW_H

#include <stdint.h>
#include <stdio.h>

#include "model/difference.h"
#include "view/style.h"

struct strbuf;

struct diff_view {
	struct style style;
	const char *from, *to; /* names of the moments; @to NULL: now */
	uint64_t now_ns;       /* what ages refer to */
	uint64_t max_buffers;  /* rows per list; UINT64_MAX: all; only for the text */
	const char *version;
};

/* Appends. 0 or -ENOMEM. */
int diff_view_text(struct strbuf *out, const struct diff_view *view, const struct difference *difference);
/* 0, -ENOMEM or -EIO. */
int diff_view_json(FILE *out, const struct diff_view *view, const struct difference *difference);

#endif
