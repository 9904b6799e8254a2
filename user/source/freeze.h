/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stops all threads of a process for a moment, with ptrace, so that its memory stands still while it is
 * read. Only when a user asked for it: a blocking system call of the process may end early with EINTR
 * where its kind does not restart, timers go on, and a debugger that is attached already is in the way.
 * When the caller dies, the kernel lets every thread go on.
 */
#ifndef BUFSCOPE_SOURCE_FREEZE_H
#define BUFSCOPE_SOURCE_FREEZE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct frozen_thread {
	pid_t thread;
	int signal; /* that was on its way to it; given back when it goes on */
};

struct freeze {
	struct frozen_thread *threads;
	size_t count, capacity;
	uint64_t since_ns;
};

/* 0; -ESRCH; -EPERM not allowed, or another tracer is attached; -ENOMEM. On error nothing stays stopped. */
int freeze_begin(pid_t pid, struct freeze *freeze);
/* Lets it go on. Returns for how long it was stopped, in nanoseconds. */
uint64_t freeze_end(struct freeze *freeze);

#endif
