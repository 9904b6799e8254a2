/* SPDX-License-Identifier: BSD-2-Clause */
/* A snapshot as bufscope.summary/1, with what it does not know itself: this machine and its clocks. */
#ifndef BUFSCOPE_CMD_SUMMARY_H
#define BUFSCOPE_CMD_SUMMARY_H

#include <stdio.h>

#include <jansson.h>

struct snapshot;

/* What a client of the service asked for and may see; members as in struct json_view. */
struct summary_asked {
	const char *visible;
	const json_t *selection;
};

/* @asked: NULL when it is no answer to anybody. 0, -ENOMEM or -EIO. */
int summary_json(FILE *out, const struct snapshot *snapshot, const struct summary_asked *asked);

#endif
