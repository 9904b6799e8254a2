/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot and what the collector knows of itself as metrics, for Prometheus and all that reads its
 * formats. Only running processes count.
 *
 * How many series there can be is bounded, whatever the traced processes do: the largest
 * METRICS_MAX_PROCESSES processes by live and held bytes have series of their own, as long as these
 * are METRICS_MAX_ROWS pairs of device and type together; the rest are summed as process "other",
 * device "other". Totals by type are always of all processes. Of chips that the driver tells apart the first
 * METRICS_MAX_CHIPS have totals; those that it does not are only known by each process's numbers.
 */
#ifndef BUFSCOPE_VIEW_METRICS_VIEW_H
#define BUFSCOPE_VIEW_METRICS_VIEW_H

#include <stdint.h>

#include "model/snapshot.h"

struct notice;
struct strbuf;

#define METRICS_MAX_PROCESSES 64
#define METRICS_MAX_ROWS      2048
#define METRICS_MAX_CHIPS     256
#define METRICS_MAX_NAME      64  /* bytes of a process's name */
#define METRICS_MAX_CGROUP    256 /* and of its cgroup's path, the last ones */

#define METRICS_UNKNOWN UINT64_MAX /* a figure that is not known has no series */

/* Of all processes since the collector started, those included that are gone. Never go down. */
struct metrics_totals {
	uint64_t allocations, frees, unknown_frees, double_frees, lost_records;
};

#define METRICS_TOTALS_UNKNOWN                                                                      \
	{                                                                                           \
		METRICS_UNKNOWN, METRICS_UNKNOWN, METRICS_UNKNOWN, METRICS_UNKNOWN, METRICS_UNKNOWN \
	}

/* What is not in a snapshot. */
struct metrics_figures {
	const char *version;
	uint64_t start_realtime_ns;    /* when the collector started, and all counters with it */
	uint64_t snapshot_realtime_ns; /* when the snapshot was asked for: all that was recorded before is in it */
	/* METRICS_UNKNOWN is allowed from here on. */
	struct metrics_totals totals;
	uint64_t probe_hits, probe_ns;    /* how often the probes fired, and the time they took in the programs */
	uint64_t drain_records, drain_ns; /* records taken from the ring, and the time the collector took for it */
	uint64_t memory_bytes;            /* the collector's tables */
};

/* Counts what the model concludes into @totals: for every notice. What a census found is no allocation. */
void metrics_count(struct metrics_totals *totals, const struct notice *notice);

/* OpenMetrics 1.0 text. 0 or -ENOMEM. */
int metrics_write(const struct snapshot *snapshot, const struct metrics_figures *figures, struct strbuf *out);
/* The same in Prometheus's older text format 0.0.4, for readers that do not ask for OpenMetrics. */
int metrics_write_text(const struct snapshot *snapshot, const struct metrics_figures *figures, struct strbuf *out);

#endif
