/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who holds what: process -> device -> memory type -> buffers, with counters and peaks. Fed with
 * events in the order the source saw them, read through snapshots. Knows no clock, no file, no
 * kernel and no output.
 *
 * Rules (docs/architecture.md has the reasons):
 * - A buffer is {process, object}. An allocation on a key that is live is a missed free; on one that
 *   is held it means that the held object died.
 * - A mesh allocation is one buffer for the process and lies on every chip of its mesh for the
 *   figures of devices.
 * - BULK_FREE makes the live buffers of that allocator held. CLOSE only marks the device object: frees
 *   and the bulk free of its allocators follow. Where a runtime's bulk free is not probed, CLOSE makes
 *   the live buffers of that device object held.
 * - An ALLOCATE with time 0 was found by a census: it counts in before_attach. When its own event comes
 *   too (the census read between the runtime's bookkeeping and the probe) it moves to allocated.
 *   An ALLOCATE with time 0 of a buffer that is in the table already changes nothing.
 * - The BOOKS of a census are compared with the table at its CENSUS. A difference alone makes nothing
 *   inexact: the books change a moment before and after the events. Who finds one in two censuses calls
 *   model_mark_inexact() with INEXACT_BOOKS_DIFFER. An exact CENSUS ends "attached-late" of its runtime;
 *   one that told no buffers (books_only) does so if every block of its books has a buffer in the table.
 * - EXEC and EXIT clear. Clearing is idempotent; events of a process that ended are ignored and
 *   counted.
 * - The numbers of chips are a process's own. Only a CHIP event makes chips of two processes the same one;
 *   chip_totals.h adds them up.
 * - OUT_OF_MEMORY changes no table: it is counted, with what everybody held at that moment.
 * - A free of an unknown object is counted in unknown_frees, or in double_frees when it was freed
 *   before, and never applied.
 */
#ifndef BUFSCOPE_MODEL_MODEL_H
#define BUFSCOPE_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

struct model;
struct snapshot;
struct notice;

struct model_options {
	/* Keep processes that ended, as they were just before clearing, for the final report. */
	bool keep_ended;
	/* How many unmatched frees are kept in full per process; all are counted. */
	uint32_t max_unmatched_frees;
};

struct model *model_new(const struct model_options *options); /* NULL: out of memory */
void model_free(struct model *model);

/* Takes in one event. 0 or -ENOMEM: then the process is marked inexact ("out-of-memory"). */
int model_apply(struct model *model, const struct event *event);

/*
 * Calls @listener for everything that model_apply() concludes from an event (see notice.h), in
 * order, before it returns. At most one listener; NULL removes it. The listener must not call back
 * into the model except for model_snapshot().
 */
typedef void (*model_listener)(void *context, const struct notice *notice);
void model_set_listener(struct model *model, model_listener listener, void *context);

/* Marks a process (0: all) as not exact from here on. @reason is one of the fixed words of notice.h. */
int model_mark_inexact(struct model *model, uint32_t process, const char *reason, const char *text);

/* One place where the books and the table disagree. */
struct book_difference {
	uint64_t allocator;
	enum memory_type type;
	bool in_table; /* a live buffer without a block (or the second one on it); false: a block without a buffer */
	uint64_t address;
	uint64_t object, serial; /* when in_table, otherwise 0 */
	uint64_t size_bytes;     /* asked for when in_table, otherwise what the block takes */
};

/*
 * The differences that the last census of @process found, by allocator, type and address: at most 100 of
 * either kind of each books. Copies at most @max; returns how many there are.
 */
size_t model_book_differences(const struct model *model, uint32_t process, struct book_difference *out, size_t max);

/*
 * What EVENT_RESTART does: the table of @process is to be rebuilt by a census. Live and held buffers
 * are dropped without being counted, all its counters, peaks and doubts start anew at @time_ns.
 * ALLOCATE events with time 0, BOOKS and a CENSUS must follow; until an exact one came the process is
 * "attached-late". 0, or -ENOENT when no such process is running.
 */
int model_resynchronise(struct model *model, uint32_t process, uint64_t time_ns);

/*
 * Everything as it is now, independent of the model afterwards; snapshot_free() (snapshot.h).
 * NULL: out of memory. @now_ns on the events' clock.
 */
struct snapshot *model_snapshot(const struct model *model, uint64_t now_ns);

/* Objects that are held in a live process, so the source can watch for and check their end. */
uint64_t model_held_count(const struct model *model); /* over all live processes */
/* The visitor must not change the model. */
typedef void (*model_held_visitor)(void *context, uint32_t process, const struct event_buffer *buffer);
void model_visit_held(const struct model *model, model_held_visitor visit, void *context);

/*
 * Where processes that ended are not kept: this one is, from now until as many model_release(), if it ever
 * used a runtime or was named; model_snapshot() does not have it then, model_snapshot_of() does.
 * 0, or -ENOENT.
 */
int model_keep(struct model *model, uint32_t process);
void model_release(struct model *model, uint32_t process);
/* The running process of that pid; 0: none. */
uint32_t model_running(const struct model *model, uint32_t pid);
/* What it takes in memory; 0: it is not there, or not any more. */
size_t model_process_bytes(const struct model *model, uint32_t process);
/* As model_snapshot(), of those that @wants, ended ones too. */
typedef bool (*model_filter)(const void *context, uint32_t process);
struct snapshot *model_snapshot_of(const struct model *model, uint64_t now_ns, model_filter wants, const void *context);

uint64_t model_live_count(const struct model *model);     /* buffers live, all processes */
size_t model_memory_bytes(const struct model *model);     /* of tables and records, for bench */
uint64_t model_ignored_events(const struct model *model); /* of processes that had ended or were never born */

#endif
