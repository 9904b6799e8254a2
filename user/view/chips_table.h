/* SPDX-License-Identifier: BSD-2-Clause */
/* What each chip of the machine holds, over all running processes of a snapshot. */
#ifndef BUFSCOPE_VIEW_CHIPS_TABLE_H
#define BUFSCOPE_VIEW_CHIPS_TABLE_H

#include "model/snapshot.h"

struct strbuf;
struct style;

/*
 * Only of chips that the driver told of; nothing when there are none. What is used under a number alone is not
 * in it, and said below. 0 or -ENOMEM.
 */
int chips_table(struct strbuf *out, const struct style *style, const struct snapshot *snapshot);

#endif
