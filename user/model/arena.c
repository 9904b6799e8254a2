// SPDX-License-Identifier: BSD-2-Clause
/* Memory that is given back all at once; see arena.h. */
#include "model/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_BYTES 4096

struct arena_block {
	struct arena_block *next;
	size_t used, capacity;
	alignas(max_align_t) char data[];
};

void arena_fini(struct arena *arena)
{
	while (arena->blocks) {
		struct arena_block *next = arena->blocks->next;

		free(arena->blocks);
		arena->blocks = next;
	}
}

static struct arena_block *arena_block(struct arena *arena, size_t bytes)
{
	struct arena_block *block = arena->blocks;
	size_t capacity = bytes > ARENA_BLOCK_BYTES / 2 ? bytes : ARENA_BLOCK_BYTES;

	if (block && block->capacity - block->used >= bytes)
		return block;
	block = calloc(1, sizeof(*block) + capacity);
	if (!block)
		return NULL;
	block->capacity = capacity;
	/* A block made to measure is full at once: the one in use stays in front. */
	if (capacity == bytes && arena->blocks) {
		block->next = arena->blocks->next;
		arena->blocks->next = block;
	} else {
		block->next = arena->blocks;
		arena->blocks = block;
	}
	return block;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
	struct arena_block *block;
	size_t bytes;
	void *data;

	if (!count || !size || arena->failed)
		return NULL;
	if (__builtin_mul_overflow(count, size, &bytes) || bytes > (size_t)-1 / 4) {
		arena->failed = true;
		return NULL;
	}
	bytes = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	block = arena_block(arena, bytes);
	if (!block) {
		arena->failed = true;
		return NULL;
	}
	data = block->data + block->used;
	block->used += bytes;
	return data;
}

void *arena_copy(struct arena *arena, const void *data, size_t count, size_t size)
{
	void *copy = arena_array(arena, count, size);

	if (copy)
		memcpy(copy, data, count * size);
	return copy;
}

const char *arena_string(struct arena *arena, const char *text, size_t len)
{
	char *copy = text ? arena_array(arena, len + 1, 1) : NULL;

	if (!copy)
		return "";
	if (len)
		memcpy(copy, text, len);
	return copy;
}
