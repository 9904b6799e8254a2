/* SPDX-License-Identifier: BSD-2-Clause */
/* A snapshot as bufscope.summary/1, with what it does not know itself: this machine and its clocks. */
#ifndef BUFSCOPE_CMD_SUMMARY_H
#define BUFSCOPE_CMD_SUMMARY_H

#include <stdio.h>

#include <jansson.h>

struct snapshot;

/* @selection: as in struct json_view. 0, -ENOMEM or -EIO. */
int summary_json(FILE *out, const struct snapshot *snapshot, const json_t *selection);

#endif
