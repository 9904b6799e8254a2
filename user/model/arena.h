/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that is given back all at once. Failure is sticky, so that one check at the end will do:
 * after it every request answers NULL.
 */
#ifndef BUFSCOPE_MODEL_ARENA_H
#define BUFSCOPE_MODEL_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena {
	struct arena_block *blocks;
	bool failed;
};

void arena_fini(struct arena *arena);
/* @count x @size zeroed bytes, aligned for anything. NULL: out of memory, or nothing was asked for. */
void *arena_array(struct arena *arena, size_t count, size_t size);
void *arena_copy(struct arena *arena, const void *data, size_t count, size_t size);
/* Never NULL: "" when there is no memory or no text. */
const char *arena_string(struct arena *arena, const char *text, size_t len);

#endif
