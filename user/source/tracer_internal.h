/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the live source share, and nobody else sees: tracer.c (the interface),
 * tracer_record.c (records and births), tracer_library.c (libraries in processes),
 * tracer_mapped.c (files that were mapped), tracer_machine.c (all processes of the machine),
 * tracer_chips.c (what devices they use), tracer_books.c (the runtime's books, beside the table).
 */
#ifndef BUFSCOPE_SOURCE_TRACER_INTERNAL_H
#define BUFSCOPE_SOURCE_TRACER_INTERNAL_H

#include "source/library.h"
#include "source/live.h"
#include "source/map_watch.h"
#include "source/tracer.h"
#include "source/tracked.h"

#define TRACER_MAX_HELD 1000000u /* events kept back while censuses are taken, of all processes together */
#define TRACER_BATCH    65536    /* records taken in before anything else gets a turn */

/* Of a process: more is not looked through again and again for a service's sake. */
#define TRACER_MAX_MEMORY (UINT64_C(4) << 30)

/* The fixed words of OUTPUT: model/notice.h has them all; a source may not include the model. */
#define REASON_UNSUPPORTED "unsupported-library"
#define REASON_LOST        "lost-records"
#define REASON_LATE        "attached-late"

/* A file that some process mapped; not looked at yet. */
struct mapped {
	uint32_t pid;
	struct map_file file;
	char *path; /* as that process sees it */
};

struct tracer_machine;

struct tracer {
	struct tracer_options options;
	struct tracer_callbacks callbacks;
	struct live *live;
	struct libraries *libraries;
	struct map_watch *watch;
	struct chips *chips;
	int epoll_fd;
	unsigned int idle_rounds;
	bool asleep;
	bool full_batch;
	bool library_seen;
	bool destroy_armed;
	uint64_t processes_full;
	uint64_t records, drain_ns; /* taken in, and the time that took */
	struct tracked_set tracked;
	struct mapped *mapped; /* since the last look */
	size_t mapped_count, mapped_capacity;
	uint64_t mapped_lost;
	size_t mapped_read;             /* since the last look, also of what is known */
	uint64_t rest_until_ns;         /* until then they are not looked at; 0: no rest */
	bool resting;                   /* nor do they wake us */
	size_t holds;                   /* processes with a hold */
	size_t held_events;             /* kept back of all of them together */
	size_t ring_batches;            /* so many batches take in all that a ring can hold */
	bool due;                       /* some process is to be looked at once the ring is empty */
	bool chips_due;                 /* of some process it is to be asked which chips it uses */
	bool draining;                  /* inside live_drain(), which cannot be entered twice */
	uint64_t books_next_ns;         /* when some process's books are to be read; 0: not */
	uint64_t books_spent_ns;        /* by the last reading */
	struct tracer_machine *machine; /* NULL: only processes that were named, and their children */
};
/* tracer.c */
uint64_t tracer_now_ns(void);
void tracer_emit(struct tracer *tracer, const struct event *event);
/* As tracer_follow() of a running process that nobody named: what it becomes by exec may be of no interest. */
int tracer_follow_found(struct tracer *tracer, pid_t pid);
/* Takes in all that is in the ring, and looks at what is due then. */
void tracer_take_in(struct tracer *tracer);

/* tracer_record.c */
/* Forgets a process; what was kept back of it is let go first. */
void tracer_drop(struct tracer *tracer, struct tracked *tracked);
/* NULL: out of memory; nothing is said yet. */
struct tracked *tracer_add(struct tracer *tracer, uint32_t pid, uint32_t process, enum birth_how how, uint64_t born_ns);
void tracer_emit_birth(struct tracer *tracer, struct tracked *tracked, uint32_t parent, uint32_t exec_count,
		       uint64_t start_ns);
/* Takes in what is in the ring, at most a batch (then tracer->full_batch). Returns how many records. */
int tracer_drain(struct tracer *tracer);
/* Takes in at least what was in the ring when it was called. */
void tracer_drain_all(struct tracer *tracer);
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

/* Takes the probes out of files that were overwritten in place, and says whose they were. */
void tracer_close_overwritten(struct tracer *tracer);

/* Says of which processes the probes are gone, so that they are not called exact. */
void tracer_check_probes(struct tracer *tracer);

/* tracer_census.c */
struct tracer_hold;
/*
 * Keeps back what a process does until its census was taken, so that the two can be put together. 0 or
 * -ENOMEM. tracer_hold_release() lets it go; without a hold it does nothing.
 */
int tracer_hold_begin(struct tracer *tracer, struct tracked *tracked);
/* False: it is to be told of at once. */
bool tracer_hold_back(struct tracer *tracer, struct tracked *tracked, const struct event *event);
void tracer_hold_release(struct tracer *tracer, struct tracked *tracked);
/* Looks at the processes that are due, and takes the censuses that had to wait. Not while records are taken in. */
void tracer_look_at_due(struct tracer *tracer);
/*
 * Finds what is older than the probes and tells of it, before all that was recorded meanwhile. Takes in
 * records: @tracked may be gone afterwards. @restart: the table is rebuilt.
 */
void tracer_census_base(struct tracer *tracer, struct tracked *tracked, uint32_t runtime, bool restart);

enum tracer_books_result {
	TRACER_BOOKS_TOLD = 1,
	TRACER_BOOKS_MOVED = 2, /* they changed while they were read, or could not be read now: nothing was told */
	TRACER_BOOKS_NONE = 3,
};
/* Reads the books of one process and tells of them; also when they moved, if @unsteady. As above, it may be gone. */
enum tracer_books_result tracer_read_books_of(struct tracer *tracer, struct tracked *tracked, bool unsteady);

/* tracer_books.c; only when the machine is followed */
void tracer_books_note(struct tracer *tracer, struct tracked *tracked, const struct event *event);
/* Reads the books of one process, if it is time. Not while records are taken in. */
void tracer_books_tick(struct tracer *tracer);
int tracer_books_timeout_ms(const struct tracer *tracer); /* -1: nothing is to be read */

/* tracer_chips.c */
/* A process opened or closed a device: is it to be asked which chips it uses? */
void tracer_note_device(struct tracer *tracer, const struct event *event);
/* Asks, and tells. Not while records are taken in. */
void tracer_look_at_chips(struct tracer *tracer);

/* tracer_mapped.c */
void tracer_collect_mapped(struct tracer *tracer);
void tracer_forget_mapped(struct tracer *tracer);
void tracer_look_at_mappings(struct tracer *tracer);
/* Those of a whole machine are not looked at all the time, unless somebody asks. */
bool tracer_rests(const struct tracer *tracer);
void tracer_judge_unseen(struct tracer *tracer, const struct tracked *tracked);

/* tracer_machine.c; all but the first only when the machine is followed */
/* Is this file known to be no runtime's library? */
bool tracer_machine_passes(struct tracer *tracer, const struct map_file *file);
/* Looks at a process that is not followed. False: it is gone. */
bool tracer_machine_look(struct tracer *tracer, pid_t pid);
/* The process that mapped it is gone: the next ones shall be seen from their start. */
void tracer_machine_missed(struct tracer *tracer, const struct mapped *mapped);
/* The periodic look at all processes, if it is time. */
void tracer_machine_tick(struct tracer *tracer);
/* Records of mappings were lost: looks at all processes soon; tracer_machine_catch_up() does it at once. */
void tracer_machine_hasten(struct tracer *tracer);
void tracer_machine_catch_up(struct tracer *tracer);
int tracer_machine_timeout_ms(const struct tracer *tracer);
void tracer_machine_free(struct tracer_machine *machine);

#endif
