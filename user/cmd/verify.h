/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Table against books, again and again (--verify). The program is not stopped, and the books change a
 * moment before the probes fire or after, so one look proves nothing: a difference is real when it is
 * there at every look for a second, with no event of that block between.
 */
#ifndef BUFSCOPE_CMD_VERIFY_H
#define BUFSCOPE_CMD_VERIFY_H

#include <stdint.h>

struct event;
struct model;
struct tracer;
struct verify;

struct verify *verify_new(void); /* NULL: out of memory */
void verify_free(struct verify *verify);

/* Every event passes here, so that the ends of censuses are noticed. */
void verify_event(struct verify *verify, const struct event *event);

/*
 * One comparison of all processes. Differences that persist are logged by name and make their process
 * inexact.
 */
void verify_run(struct verify *verify, struct tracer *tracer, struct model *model);

/* Comparisons so far, and how many of them found a difference that persisted. */
void verify_counts(const struct verify *verify, uint64_t *rounds, uint64_t *different);

#endif
