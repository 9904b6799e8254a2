/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of named moments. */
#ifndef BUFSCOPE_VIEW_MARKS_VIEW_H
#define BUFSCOPE_VIEW_MARKS_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "view/style.h"

struct strbuf;

struct marks_row {
	const char *name;
	uint64_t time_ns;
	uint64_t processes, buffers, bytes; /* live ones; bytes over all chips */
};

struct marks_view {
	struct style style;
	uint64_t now_ns;
};

/* Appends. 0 or -ENOMEM. */
int marks_view(struct strbuf *out, const struct marks_view *view, const struct marks_row *rows, size_t count);

#endif
