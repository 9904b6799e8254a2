/* SPDX-License-Identifier: BSD-2-Clause */
/* The buffers of a snapshot for spreadsheets and scripts: RFC 4180, a heading, a line per buffer. */
#ifndef BUFSCOPE_VIEW_CSV_VIEW_H
#define BUFSCOPE_VIEW_CSV_VIEW_H

#include <stdio.h>

struct snapshot;

/* 0, -ENOMEM or -EIO. */
int csv_view_buffers(FILE *out, const struct snapshot *snapshot);
/* A line per process, device and type instead. */
int csv_view_processes(FILE *out, const struct snapshot *snapshot);

#endif
