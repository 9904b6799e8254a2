/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The live source: follows processes, finds the runtime's libraries in them, attaches, and delivers
 * events in the order of the ring. Does not know who reads them.
 */
#ifndef BUFSCOPE_SOURCE_TRACER_H
#define BUFSCOPE_SOURCE_TRACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"

struct tracer;

struct tracer_options {
	size_t ring_bytes; /* 0: default */
	bool perf_links;   /* as live_options */
	bool lossless;
	bool follow_children;
};

struct tracer_callbacks {
	void (*event)(void *context, const struct event *event);
	/* Something keeps a process (0: all) from being exact; @reason is a fixed word, @text for people. */
	void (*inexact)(void *context, uint32_t process, const char *reason, const char *text);
	/*
	 * May be NULL. Called many times a second while a call takes long, to show that nothing hangs. False: its end
	 * is waited for; then what takes long is given up, and what it would have told is not known.
	 */
	bool (*busy)(void *context);
	void *context;
};

/* Failures are logged. 0 or -errno. Nothing is followed yet. */
int tracer_open(const struct tracer_options *options, const struct tracer_callbacks *callbacks, struct tracer **out);

/*
 * Forgets everything; attached probes go with it. With perf links this takes about 0.1 s a probe, so
 * a user must not wait for it: tracer_abandon() leaves that to a child process.
 */
void tracer_close(struct tracer *tracer);
void tracer_abandon(struct tracer *tracer);

/*
 * Follows @pid. BIRTH_LAUNCH: a child of ours that waits before its exec; @command (argv, each
 * NUL-terminated) is what it will run. BIRTH_ATTACH: it runs already; its libraries are attached to
 * before this returns, and @command is not used. 0; -ESRCH; -EINVAL a kernel thread; -ENOSPC; -EACCES: see
 * PRIVILEGE_OTHERS.
 */
int tracer_follow(struct tracer *tracer, pid_t pid, enum birth_how how, const char *command, size_t command_len);

/*
 * Follows a process no longer that uses no runtime: as if it had ended, though nobody knows how. For a
 * machine that is followed; who uses a runtime stays.
 */
void tracer_unfollow(struct tracer *tracer, uint32_t process);

/*
 * Follows every process of the machine that maps a supported library, now and later, whoever starts it;
 * also those that have mapped one already, with a census. Call once, before anything else is followed.
 * Other processes cost nothing and cause no event. 0 or -errno, logged.
 */
int tracer_follow_machine(struct tracer *tracer);

/*
 * Attaches to a file before any process maps it, if it is a runtime's library: a process that is followed
 * from its start is then covered completely. Best effort; what goes wrong is said when it is mapped.
 */
void tracer_prepare(struct tracer *tracer, const char *path);

int tracer_fd(const struct tracer *tracer);         /* for epoll: readable when there is work */
int tracer_timeout_ms(const struct tracer *tracer); /* for epoll_wait: -1 while nothing happens */
void tracer_dispatch(struct tracer *tracer);        /* call when readable and on time-out */
/*
 * Takes in everything that was recorded before this call, and looks at all that was mapped before it:
 * what is known then is of one moment. Not while an event is told of.
 */
void tracer_sync(struct tracer *tracer);
/* Before a long pause at the end: nobody is stopped for the ring's sake any more. */
void tracer_let_go(struct tracer *tracer);

/* What tracing has cost since tracer_open(). */
struct tracer_cost {
	uint64_t records, drain_ns;    /* taken in, and the time that took */
	bool probes_known;             /* see live_probe_cost() */
	uint64_t probe_hits, probe_ns; /* of all processes together */
};
void tracer_cost(const struct tracer *tracer, struct tracer_cost *out);

size_t tracer_process_count(const struct tracer *tracer); /* followed and alive */
bool tracer_follows(const struct tracer *tracer, pid_t pid);
bool tracer_library_seen(const struct tracer *tracer); /* any runtime observed so far */

/*
 * While objects are held their destruction must be seen: arm makes sure (of all libraries in use),
 * disarm takes the probes away again, out of the way of the drain. Both may be called at any time.
 */
void tracer_arm_destroy(struct tracer *tracer);
void tracer_disarm_destroy(struct tracer *tracer);

/*
 * Reads the books of every followed process and tells of them (EVENT_BOOKS, EVENT_CENSUS), without
 * stopping it: while it allocates, books and table may be some operations apart.
 */
void tracer_read_books(struct tracer *tracer);

/* Rebuilds the table of a process from its memory, after records were lost: EVENT_RESTART and what follows. */
void tracer_restart(struct tracer *tracer, uint32_t process);

enum object_state {
	OBJECT_ALIVE = 1,
	OBJECT_GONE = 2,
	OBJECT_UNSURE = 3, /* its memory cannot be judged */
};

/*
 * Looks at a held object in the memory of its process, after arming: is it still the one that
 * @expected describes?
 */
enum object_state tracer_check_object(struct tracer *tracer, uint32_t process, const struct event_buffer *expected);

#endif
