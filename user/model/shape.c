// SPDX-License-Identifier: BSD-2-Clause
/* Interned common properties of buffers; see shape.h. */
#include "model/shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t shape_hash(const struct shape_key *key)
{
	uint64_t word[sizeof(*key) / sizeof(uint64_t)];
	uint64_t hash = 0;

	memcpy(word, key, sizeof(word));
	for (size_t i = 0; i < sizeof(word) / sizeof(word[0]); i++) {
		hash = (hash ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return hash;
}

void shape_init(struct shape_set *set)
{
	memset(set, 0, sizeof(*set));
	set->unused = SHAPE_NONE;
}

void shape_fini(struct shape_set *set)
{
	free(set->shapes);
	table_fini(&set->index);
	shape_init(set);
}

static int shape_take(struct shape_set *set, uint32_t *shape)
{
	if (set->unused != SHAPE_NONE) {
		*shape = set->unused;
		return 0;
	}
	if (set->count == set->capacity) {
		uint32_t capacity = set->capacity ? 2 * set->capacity : 8;
		struct shape *shapes = realloc(set->shapes, capacity * sizeof(*shapes));

		if (!shapes)
			return -ENOMEM;
		set->shapes = shapes;
		set->capacity = capacity;
	}
	*shape = set->count;
	return 0;
}

int shape_intern(struct shape_set *set, const struct shape_key *key, uint32_t *shape)
{
	uint64_t hash = shape_hash(key);
	uint32_t first = SHAPE_NONE, at;
	int err;

	if (table_find(&set->index, hash, &first)) {
		for (at = first; at != SHAPE_NONE; at = set->shapes[at].next) {
			if (!memcmp(&set->shapes[at].key, key, sizeof(*key))) {
				*shape = at;
				return 0;
			}
		}
	}
	err = shape_take(set, &at);
	if (err)
		return err;
	err = table_set(&set->index, hash, at);
	if (err)
		return err;
	if (at == set->unused)
		set->unused = set->shapes[at].next;
	else
		set->count++;
	set->shapes[at] = (struct shape){.key = *key, .next = first, .held_twin = SHAPE_NONE};
	*shape = at;
	return 1;
}

void shape_drop(struct shape_set *set, uint32_t shape)
{
	uint64_t hash = shape_hash(&set->shapes[shape].key);
	uint32_t first = SHAPE_NONE;
	uint32_t *link = &first;

	table_find(&set->index, hash, &first);
	while (*link != SHAPE_NONE && *link != shape)
		link = &set->shapes[*link].next;
	if (*link == SHAPE_NONE)
		return;
	*link = set->shapes[shape].next;
	if (first == SHAPE_NONE)
		table_remove(&set->index, hash, NULL);
	else
		table_set(&set->index, hash, first); /* replaces, so it cannot fail */
	memset(&set->shapes[shape], 0, sizeof(set->shapes[shape]));
	set->shapes[shape].held_twin = SHAPE_NONE;
	set->shapes[shape].next = set->unused;
	set->unused = shape;
}

size_t shape_memory_bytes(const struct shape_set *set)
{
	return set->capacity * sizeof(struct shape) + table_memory_bytes(&set->index);
}
