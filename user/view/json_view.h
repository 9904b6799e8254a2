/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The summary for programs: one JSON object, bufscope.summary/1 (docs/summary.schema.json). A line per
 * process and per buffer, written as it goes: a million buffers are never one JSON tree in memory.
 */
#ifndef BUFSCOPE_VIEW_JSON_VIEW_H
#define BUFSCOPE_VIEW_JSON_VIEW_H

#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "model/snapshot.h"

/* What a snapshot does not know. Strings may be NULL: null. */
struct json_view {
	const char *version;  /* bufscope's */
	const char *hostname; /* as uname() has these three */
	const char *kernel;
	const char *machine;
	uint64_t boottime_ns; /* one instant on both clocks */
	uint64_t realtime_ns;
	const char *visible;     /* "all" or "own": whose processes may be in it; NULL: nobody asked a service */
	const json_t *selection; /* what was asked for, if that is less than all; or NULL */
};

/* 0, -ENOMEM or -EIO (the stream's error; what was written is no complete object then). */
int json_view_summary(FILE *out, const struct json_view *view, const struct snapshot *snapshot);

#endif
