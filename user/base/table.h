/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hash table from a 64-bit key to a 32-bit value (mostly an index into an array), open addressing
 * with backward-shift deletion. 12 bytes a slot, at most 7/8 full; grows by half. Keys may be any
 * value; values anything but UINT32_MAX.
 */
#ifndef BUFSCOPE_BASE_TABLE_H
#define BUFSCOPE_BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table {
	struct table_slot *slots;
	size_t capacity;
	size_t count;
};

void table_fini(struct table *table);
/* Returns true and sets *value when the key is there. */
bool table_find(const struct table *table, uint64_t key, uint32_t *value);
/* Adds or replaces. 0, -ENOMEM or -EINVAL for UINT32_MAX (then nothing changed). */
int table_set(struct table *table, uint64_t key, uint32_t value);
/* Returns true, and the old value in *value if that is not NULL, when the key was there. */
bool table_remove(struct table *table, uint64_t key, uint32_t *value);
/* Walks all entries in no order: start with *cursor = 0; false at the end. Not across changes. */
bool table_next(const struct table *table, size_t *cursor, uint64_t *key, uint32_t *value);
size_t table_memory_bytes(const struct table *table);

#endif
