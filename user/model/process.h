/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside of the model, for its own files only: one followed address space and the model that holds
 * them all. process.c: birth, end, identity, reasons. buffers.c: what events do to buffers.
 */
#ifndef BUFSCOPE_MODEL_PROCESS_H
#define BUFSCOPE_MODEL_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "model/books.h"
#include "model/device.h"
#include "model/freed.h"
#include "model/model.h"
#include "model/notice.h"
#include "model/shape.h"
#include "model/snapshot.h"
#include "model/store.h"

#define PROCESS_MAX_RUNTIMES    64
#define PROCESS_MAX_MARKS       32
#define PROCESS_RECALLED_SHAPES 16
#define FAILURES_KEPT           32 /* failed allocations in full, per process; all are counted */

/* A reason given from outside (model_mark_inexact()). Both strings are owned. */
struct mark {
	char *reason;
	char *text;
};

struct mark_set {
	struct mark marks[PROCESS_MAX_MARKS];
	uint32_t count;
	uint64_t dropped; /* found no room */
};

struct closure {
	uint64_t time_ns;
	uint64_t buffers; /* held now; 0: unused */
	uint64_t bytes;   /* over all chips */
};

/* What makes a process inexact, counted; snapshot.c finds the words. */
struct doubts {
	uint64_t unreadable, implausible, unknown_device;
	uint64_t unmatched; /* frees that nothing explains */
	uint64_t older;     /* frees of buffers that were there before us */
	uint64_t out_of_memory;
	struct event_lost lost;  /* of this process */
	uint64_t lost_elsewhere; /* of an unknown process while this one ran */
	uint64_t last_lost_ns;
};

struct process {
	/*
	 * As notices show it. Identity, runtimes, end and counters live here and nowhere else; strings
	 * and runtimes are owned by this struct. Devices, buffers, closures and reasons stay empty.
	 */
	struct snapshot_process shown;
	uint64_t order;   /* of birth */
	bool active;      /* used a runtime, or has something a person must see */
	bool named;       /* the user named it: shown in any case */
	uint32_t keepers; /* model_keep() */
	bool bulk_free_probed[PROCESS_MAX_RUNTIMES];
	bool covered[PROCESS_MAX_RUNTIMES]; /* an exact census found what is older than our watch of this runtime */
	bool census_exact;                  /* there was an exact census */
	bool rebuilding;                    /* the table was dropped and no exact census came since */
	uint64_t born_ns;                   /* when it came to be followed; observed_ns can move */
	struct snapshot_census census;      /* shown.census is it or NULL */
	char census_reason[32];
	struct books books;
	uint32_t forked_from; /* a parent that had buffers then, or 0 */
	uint32_t closure_count, closure_capacity;
	struct closure *closures;
	struct snapshot_unmatched *unmatched; /* chips owned */
	struct snapshot_failure *failures;
	struct doubts doubts;
	struct mark_set *marks;
	struct store store;
	struct shape_set shapes;
	uint32_t recalled_shapes[PROCESS_RECALLED_SHAPES];
	struct device_set devices;
	struct freed freed;
};

struct model {
	struct model_options options;
	model_listener listener;
	void *listener_context;
	struct process **processes;
	uint32_t process_count, process_capacity; /* unused slots are NULL */
	struct table by_number;
	uint32_t last_number; /* the latest look-up: events come in runs */
	struct process *last;
	uint64_t births;
	uint64_t serial;
	uint64_t live, held;   /* over running processes */
	uint64_t lost_records; /* of all there ever were */
	uint64_t lost_unknown; /* of them, of no known process */
	uint64_t stops, stopped_ns;
	uint64_t out_of_memory; /* that could be pinned on no process */
	uint64_t ignored_events;
	struct mark_set marks;
};

/* process.c */
struct process *process_find(struct model *model, uint32_t number);
/* Takes it out of the model. */
void process_forget(struct model *model, struct process *process);
int process_birth(struct model *model, const struct event *event);
int process_runtime(struct model *model, struct process *process, const struct event *event);
void process_end(struct model *model, struct process *process, const struct event *event);
void process_free(struct process *process);
int process_mark(struct mark_set *set, const char *reason, const char *text);
void process_marks_fini(struct mark_set *set);
size_t process_memory_bytes(const struct process *process);
/* A census ended. 0 or -ENOMEM. */
int process_census(struct model *model, struct process *process, const struct event *event);
void process_resynchronise(struct model *model, struct process *process, uint64_t time_ns);
/* Buffers can be older than our watch and not in the table. */
bool process_is_late(const struct process *process);

static inline bool process_running(const struct process *process)
{
	return process->shown.end == PROCESS_RUNNING;
}
/* For the listener, if there is one: @notice needs kind and union only. */
void process_notify(struct model *model, struct process *process, const struct event *event, struct notice *notice);

/* buffers.c: each applies one event to a running process. 0 or -ENOMEM. */
int buffers_allocate(struct model *model, struct process *process, const struct event *event);
int buffers_free(struct model *model, struct process *process, const struct event *event);
int buffers_release(struct model *model, struct process *process, const struct event *event);
int buffers_unsure(struct model *model, struct process *process, const struct event *event);
int buffers_close(struct model *model, struct process *process, const struct event *event);
int buffers_bulk_free(struct model *model, struct process *process, const struct event *event);
void buffers_describe(const struct process *process, const struct record *record, struct snapshot_buffer *out);

/* unmatched.c: a free of an object that is not in the table. 0 or -ENOMEM. */
int unmatched_free(struct model *model, struct process *process, const struct event *event);

/* failures.c: an allocation failed. 0 or -ENOMEM. */
int failures_note(struct model *model, struct process *process, const struct event *event);

#endif
