/* SPDX-License-Identifier: BSD-2-Clause */
/* What grows, for people; and the moments that it is worked out from, for programs (bufscope.watch/1). */
#ifndef BUFSCOPE_VIEW_GROWTH_VIEW_H
#define BUFSCOPE_VIEW_GROWTH_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "model/growth.h"
#include "view/style.h"

struct strbuf;

struct growth_moment {
	const char *name; /* of a mark; NULL: now */
	uint64_t time_ns;
	const struct size_classes *classes;
};

/* 0, -ENOMEM or -EIO. */
int growth_view_json(FILE *out, const struct growth_moment *moments, size_t count);

/* Appends; @only_growing: without the groups that have not more than at first. 0 or -ENOMEM. */
int growth_view_text(struct strbuf *out, const struct style *style, const struct growth *growth, bool only_growing);

#endif
