/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Metrics over HTTP: GET /metrics. No thread of its own: one descriptor for the caller's loop covers
 * everything, its time-outs included. Readers are bounded in number, time and memory. A text is used
 * again for METRICS_FRESH_MS, and for METRICS_SHARE times as long as it took to make: whoever asks often
 * costs little.
 */
#ifndef BUFSCOPE_SERVER_METRICS_H
#define BUFSCOPE_SERVER_METRICS_H

#include <stdbool.h>

struct metrics;
struct strbuf;

#define METRICS_FRESH_MS 250
#define METRICS_SHARE    20

enum metrics_format {
	METRICS_OPENMETRICS = 1,
	METRICS_TEXT = 2, /* Prometheus's text format 0.0.4, for who does not ask for OpenMetrics */
};

/* Appends the metrics of this moment. 0 or -errno: then the reader is told that it failed. */
typedef int (*metrics_render)(void *context, enum metrics_format format, struct strbuf *out);

/* Is it written like one? */
bool metrics_is_address(const char *address);
/*
 * @address: HOST:PORT, [HOST]:PORT, or PORT or :PORT, which is the loopback's. Port 0: a free one, which
 * is logged. 0 or -errno, logged.
 */
int metrics_open(const char *address, metrics_render render, void *context, struct metrics **out);
int metrics_fd(const struct metrics *metrics); /* for epoll: readable when there is work */
void metrics_dispatch(struct metrics *metrics);
void metrics_close(struct metrics *metrics); /* NULL is allowed */

#endif
