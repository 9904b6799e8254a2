/* SPDX-License-Identifier: BSD-2-Clause */
/* Joins session, metrics view and HTTP endpoint; see serve_metrics.h. */
#include "cmd/serve_metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/log.h"
#include "base/loop.h"
#include "cmd/session.h"
#include "model/snapshot.h"
#include "server/metrics.h"
#include "source/tracer.h"
#include "view/metrics_view.h"

struct serve_metrics {
	struct session *session;
	struct metrics *endpoint; /* or NULL */
	struct loop_watch watch;
	uint64_t start_realtime_ns;
	struct metrics_totals totals;
};

static uint64_t realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void on_notice(void *context, const struct notice *notice)
{
	struct serve_metrics *metrics = context;

	metrics_count(&metrics->totals, notice);
}

void serve_metrics_figures(const struct serve_metrics *metrics, bool all, struct metrics_figures *out)
{
	struct tracer_cost cost;

	*out = (struct metrics_figures){
		.version = BUFSCOPE_VERSION,
		.start_realtime_ns = metrics->start_realtime_ns,
		.snapshot_realtime_ns = realtime_ns(),
		.totals = METRICS_TOTALS_UNKNOWN,
		.probe_hits = METRICS_UNKNOWN,
		.probe_ns = METRICS_UNKNOWN,
		.drain_records = METRICS_UNKNOWN,
		.drain_ns = METRICS_UNKNOWN,
		.memory_bytes = METRICS_UNKNOWN,
	};
	if (!all)
		return;
	session_cost(metrics->session, &cost);
	out->totals = metrics->totals;
	out->drain_records = cost.records;
	out->drain_ns = cost.drain_ns;
	out->memory_bytes = model_memory_bytes(session_model(metrics->session));
	if (cost.probes_known) {
		out->probe_hits = cost.probe_hits;
		out->probe_ns = cost.probe_ns;
	}
}

static int render(void *context, enum metrics_format format, struct strbuf *out)
{
	struct serve_metrics *metrics = context;
	uint64_t asked_ns = realtime_ns();
	struct metrics_figures figures;
	struct snapshot *snapshot;
	int err;

	session_settle(metrics->session);
	serve_metrics_figures(metrics, true, &figures);
	/* All that was recorded before it was asked for is in it; what came since may be. */
	figures.snapshot_realtime_ns = asked_ns;
	snapshot = model_snapshot(session_model(metrics->session), loop_now_ns());
	if (!snapshot)
		return -ENOMEM;
	err = (format == METRICS_OPENMETRICS ? metrics_write : metrics_write_text)(snapshot, &figures, out);
	snapshot_free(snapshot);
	return err;
}

static void on_readable(void *context, uint32_t events)
{
	struct serve_metrics *metrics = context;

	(void)events;
	metrics_dispatch(metrics->endpoint);
}

static int open_endpoint(struct serve_metrics *metrics, const char *address)
{
	int err = metrics_open(address, render, metrics, &metrics->endpoint);

	if (err)
		return err;
	metrics->watch =
		(struct loop_watch){.fd = metrics_fd(metrics->endpoint), .ready = on_readable, .context = metrics};
	err = loop_add(session_loop(metrics->session), &metrics->watch, EPOLLIN);
	if (err) {
		log_error("epoll: %s", strerror(-err));
		metrics_close(metrics->endpoint);
		metrics->endpoint = NULL;
	}
	return err;
}

int serve_metrics_open(struct session *session, const char *address, struct serve_metrics **out)
{
	struct serve_metrics *metrics = calloc(1, sizeof(*metrics));
	int err;

	if (!metrics) {
		log_error("out of memory");
		return -ENOMEM;
	}
	metrics->session = session;
	metrics->start_realtime_ns = realtime_ns();
	err = address ? open_endpoint(metrics, address) : 0;
	if (err) {
		free(metrics);
		return err;
	}
	session_listen(session, on_notice, metrics);
	*out = metrics;
	return 0;
}

void serve_metrics_close(struct serve_metrics *metrics)
{
	if (!metrics)
		return;
	session_listen(metrics->session, NULL, NULL);
	if (metrics->endpoint)
		loop_remove(session_loop(metrics->session), &metrics->watch);
	metrics_close(metrics->endpoint);
	free(metrics);
}
