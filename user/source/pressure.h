/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Back-pressure (--lossless): who fills the ring is stopped until it has been emptied. The BPF side stops,
 * this module lets go on. A guard process (guard.h) does so when the collector does not. docs/wire.md
 * has the whole protocol. Also the marks of the ring's fill, which hold without back-pressure too.
 */
#ifndef BUFSCOPE_SOURCE_PRESSURE_H
#define BUFSCOPE_SOURCE_PRESSURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "wire.h"

/* Fills of the ring, in bytes. */
struct pressure_marks {
	uint64_t wake;   /* a slow reader is woken */
	uint64_t stop;   /* with back-pressure: who writes is stopped */
	uint64_t resume; /* at or below it all go on */
	uint64_t object; /* from here on objects are refused: the rest is for process life */
};

struct pressure_marks pressure_marks(size_t ring_bytes);

/* Does this /proc/PID/status tell of a stop that somebody else wants, and that a SIGCONT would undo? */
bool pressure_other_stop(const char *status);

struct pressure;

/* @shared and the descriptors stay the caller's. Starts the guard. Failures are logged. 0 or -errno. */
int pressure_open(struct wire_pressure *shared, int ring_fd, int stopped_fd, const struct pressure_marks *marks,
		  struct pressure **out);

/* Nobody is stopped from here on, and who was goes on. Idempotent. */
void pressure_off(struct pressure *pressure);
void pressure_close(struct pressure *pressure);

/* The collector lives: to be called at least every PRESSURE_BEAT_MS. */
#define PRESSURE_BEAT_MS 500
void pressure_beat(struct pressure *pressure);

/*
 * Lets go on whom back-pressure has stopped, once the ring is empty enough, and calls @visit for each.
 * @pid 0: the guard did it for @times processes, as the collector had not been heard of.
 */
typedef void (*pressure_visitor)(void *context, uint32_t pid, uint64_t times, uint64_t stopped_ns);
void pressure_release(struct pressure *pressure, pressure_visitor visit, void *context);

/* Somebody is stopped, or was a moment ago. */
bool pressure_holds(const struct pressure *pressure);

/* For the guard: continues all that are in the map. Adds to the counters, which may be NULL. */
void pressure_continue_all(int stopped_fd, pressure_visitor visit, void *context);
uint64_t pressure_now_ns(void);

#endif
