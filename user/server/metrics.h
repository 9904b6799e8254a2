/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Metrics over HTTP: GET /metrics. No thread of its own: one descriptor for the caller's loop covers
 * everything, its time-outs included. Readers are bounded in number, time and memory, and a text is
 * used again while it is fresh, so that whoever asks often costs no more than METRICS_FRESH_MS allows.
 */
#ifndef BUFSCOPE_SERVER_METRICS_H
#define BUFSCOPE_SERVER_METRICS_H

struct metrics;
struct strbuf;

#define METRICS_FRESH_MS 250

enum metrics_format {
	METRICS_OPENMETRICS = 1,
	METRICS_TEXT = 2, /* Prometheus's text format 0.0.4, for who does not ask for OpenMetrics */
};

/* Appends the metrics of this moment. 0 or -errno: then the reader is told that it failed. */
typedef int (*metrics_render)(void *context, enum metrics_format format, struct strbuf *out);

/*
 * @address: HOST:PORT, [HOST]:PORT, or PORT or :PORT, which is the loopback's. Port 0: a free one, which
 * is logged. 0 or -errno, logged.
 */
int metrics_open(const char *address, metrics_render render, void *context, struct metrics **out);
int metrics_fd(const struct metrics *metrics); /* for epoll: readable when there is work */
void metrics_dispatch(struct metrics *metrics);
void metrics_close(struct metrics *metrics); /* NULL is allowed */

#endif
