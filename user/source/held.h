/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is a held object still there? Its memory tells: an object under shared ownership holds a pointer to
 * itself and to its control block, whose use count is above 0 while it lives (libstdc++'s
 * enable_shared_from_this). Freed memory fails these tests: the allocator overwrites the control
 * block's first words, and the count is 0 from the destructor on.
 */
#ifndef BUFSCOPE_SOURCE_HELD_H
#define BUFSCOPE_SOURCE_HELD_H

#include <sys/types.h>

#include "event.h"
#include "source/tracer.h"

struct library_plan;

enum object_state held_check(pid_t pid, const struct library_plan *plan, const struct event_buffer *expected);

#endif
