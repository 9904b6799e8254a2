/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The event loop: descriptors and timers, one thread. Watches and timers lie in their owners' memory
 * and are not owned here; what is to happen is a callback. Callbacks may add, change and remove any
 * watch or timer, their own included.
 */
#ifndef BUFSCOPE_BASE_LOOP_H
#define BUFSCOPE_BASE_LOOP_H

#include <stdint.h>

struct loop;

struct loop_watch {
	int fd;
	void (*ready)(void *context, uint32_t events); /* EPOLLIN, ...; NULL: it only ends the waiting */
	void *context;
};

struct loop_timer {
	uint64_t when_ns; /* CLOCK_BOOTTIME; 0: not set */
	void (*expired)(void *context);
	void *context;
	struct loop_timer *next;
};

struct loop *loop_new(void); /* NULL: no memory or no descriptor */
void loop_free(struct loop *loop);

/* @events: EPOLLIN, EPOLLOUT, ... 0 or -errno. */
int loop_add(struct loop *loop, struct loop_watch *watch, uint32_t events);
int loop_change(struct loop *loop, struct loop_watch *watch, uint32_t events);
/* Also while its callback or that of another waits in the same round. The descriptor must still be open. */
void loop_remove(struct loop *loop, struct loop_watch *watch);

/* Once, at @when_ns or a little later; set again before that: instead. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t when_ns);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);

/* Waits for something to do, at most @timeout_ms (-1: as long as it takes), and does it. 0 or -errno. */
int loop_round(struct loop *loop, int timeout_ms);

uint64_t loop_now_ns(void); /* CLOCK_BOOTTIME */

#endif
