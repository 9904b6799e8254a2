/* SPDX-License-Identifier: BSD-2-Clause */
/* The most that each device's memory held at a time. */
#ifndef BUFSCOPE_VIEW_PEAKS_TABLE_H
#define BUFSCOPE_VIEW_PEAKS_TABLE_H

#include "model/snapshot.h"

struct strbuf;
struct style;

/* One row for neighbouring devices with the same peaks. Nothing when there are none. 0 or -ENOMEM. */
int peaks_table(struct strbuf *out, const struct style *style, const struct snapshot_process *process);

#endif
