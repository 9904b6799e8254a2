/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the live source share, and nobody else sees: tracer.c (the interface),
 * tracer_record.c (records and births), tracer_library.c (libraries in processes),
 * tracer_mapped.c (files that were mapped).
 */
#ifndef BUFSCOPE_SOURCE_TRACER_INTERNAL_H
#define BUFSCOPE_SOURCE_TRACER_INTERNAL_H

#include "source/library.h"
#include "source/live.h"
#include "source/map_watch.h"
#include "source/tracer.h"
#include "source/tracked.h"

#define TRACER_BATCH 65536 /* records taken in before anything else gets a turn */

/* The fixed words of OUTPUT: model/notice.h has them all; a source may not include the model. */
#define REASON_UNSUPPORTED "unsupported-library"
#define REASON_LOST        "lost-records"
#define REASON_LATE        "attached-late"

/* A file that some process mapped; not looked at yet. */
struct mapped {
	uint32_t pid;
	char *path; /* as that process sees it */
};

struct tracer {
	struct tracer_options options;
	struct tracer_callbacks callbacks;
	struct live *live;
	struct libraries *libraries;
	struct map_watch *watch;
	int epoll_fd;
	unsigned int idle_rounds;
	bool asleep;
	bool full_batch;
	bool library_seen;
	bool destroy_armed;
	uint64_t processes_full;
	struct tracked_set tracked;
	struct mapped *mapped; /* since the last look */
	size_t mapped_count, mapped_capacity;
	uint64_t mapped_lost;
	struct tracer_hold *hold; /* while a census is taken */
	bool draining;            /* inside live_drain(), which cannot be entered twice */
};
/* tracer.c */
uint64_t tracer_now_ns(void);
void tracer_emit(struct tracer *tracer, const struct event *event);

/* tracer_record.c */
/* NULL: out of memory; nothing is said yet. */
struct tracked *tracer_add(struct tracer *tracer, uint32_t pid, uint32_t process, enum birth_how how, uint64_t born_ns);
void tracer_emit_birth(struct tracer *tracer, struct tracked *tracked, uint32_t parent, uint32_t exec_count,
		       uint64_t start_ns);
/* Takes in what is in the ring, at most a batch (then tracer->full_batch). Returns how many records. */
int tracer_drain(struct tracer *tracer);
/* A named process has ended: what no record says of that is said in its place. */
void tracer_end_named(struct tracer *tracer, uint32_t pid);
/* Reports what the process lost since it was last asked. */
void tracer_lookup_lost(struct tracer *tracer, struct tracked *tracked, uint64_t time_ns);

/* tracer_library.c */
int tracer_attach_library(struct tracer *tracer, struct library *library);
/* Looks at all mappings of a process for libraries, and observes them. */
void tracer_scan(struct tracer *tracer, struct tracked *tracked);
/* Which of the process's runtimes is this library? It is made one if its mapping was not noticed so far. */
uint32_t tracer_runtime_of(struct tracer *tracer, struct tracked *tracked, uint32_t index);

/* Says of which processes the probes are gone, so that they are not called exact. */
void tracer_check_probes(struct tracer *tracer);

/* tracer_census.c */
struct tracer_hold;
/* Keeps an event back if it is of the process whose census is being taken. */
bool tracer_hold_back(struct tracer_hold *hold, const struct event *event);
bool tracer_hold_is_of(const struct tracer_hold *hold, uint32_t process);
void tracer_hold_release(struct tracer *tracer);
/*
 * Finds what is older than the probes and tells of it, before all that was recorded meanwhile. Takes in
 * records: @tracked may be gone afterwards. @restart: the table is rebuilt.
 */
void tracer_census_base(struct tracer *tracer, struct tracked *tracked, uint32_t runtime, bool restart);

/* tracer_mapped.c */
void tracer_collect_mapped(struct tracer *tracer);
void tracer_forget_mapped(struct tracer *tracer);
void tracer_look_at_mappings(struct tracer *tracer);
void tracer_judge_unseen(struct tracer *tracer, const struct tracked *tracked);

#endif
