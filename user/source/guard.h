/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that outlives the collector by a moment: when the collector dies or hangs, it continues whom
 * back-pressure has stopped. It has nothing else to do and holds nothing but what that takes.
 */
#ifndef BUFSCOPE_SOURCE_GUARD_H
#define BUFSCOPE_SOURCE_GUARD_H

#include <sys/types.h>

struct wire_pressure;

/* Call while there is one thread. The caller reaps it. Its pid or -errno. */
pid_t guard_start(struct wire_pressure *shared, int stopped_fd);

#endif
