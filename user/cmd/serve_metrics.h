/* SPDX-License-Identifier: BSD-2-Clause */
/* The metrics of a service: what is counted since its start, and the HTTP endpoint if one is wanted. */
#ifndef BUFSCOPE_CMD_SERVE_METRICS_H
#define BUFSCOPE_CMD_SERVE_METRICS_H

#include <stdbool.h>

struct metrics_figures;
struct serve_metrics;
struct session;

/*
 * Counts from here on. @address: where to answer over HTTP (metrics_open()), NULL: nowhere. Before
 * confine(), which allows no new socket. 0 or -errno, logged.
 */
int serve_metrics_open(struct session *session, const char *address, struct serve_metrics **out);
/* Of this moment; without @all only what tells nothing about processes. May be called in a child, too. */
void serve_metrics_figures(const struct serve_metrics *metrics, bool all, struct metrics_figures *out);
void serve_metrics_close(struct serve_metrics *metrics); /* NULL is allowed */

#endif
