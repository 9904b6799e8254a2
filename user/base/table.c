// SPDX-License-Identifier: BSD-2-Clause
/*
 * Hash table from u64 to u32; see table.h. Linear probing, backward-shift deletion: no tombstones,
 * so a table under churn stays as fast as a fresh one.
 *
 * A key's home is the upper half of hash x capacity, which works for every capacity. So the table
 * can grow by half instead of doubling (between 7/12 and 7/8 full: at most 20.6 bytes an entry), and
 * since homes keep their order when it grows, old and new slots are both walked front to back.
 */
#include "base/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_FIRST_CAPACITY 16

struct table_slot {
	uint32_t key_low;
	uint32_t key_high;
	uint32_t mark; /* value + 1; 0: empty */
};
_Static_assert(sizeof(struct table_slot) == 12, "12 bytes a slot");

static uint64_t table_slot_key(const struct table_slot *slot)
{
	return (uint64_t)slot->key_high << 32 | slot->key_low;
}

static size_t table_home(size_t capacity, uint64_t key)
{
	/* Pointers differ in few, low bits; two multiplications carry them into the top. */
	uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);

	hash ^= hash >> 32;
	hash *= UINT64_C(0xd6e8feb86659fd93);
	return (size_t)((unsigned __int128)hash * capacity >> 64);
}

static size_t table_after(size_t capacity, size_t at)
{
	return at + 1 == capacity ? 0 : at + 1;
}

/* The slot that holds @key, or the empty one where it belongs. The table must have an empty slot. */
static size_t table_probe(const struct table_slot *slots, size_t capacity, uint64_t key)
{
	size_t at = table_home(capacity, key);

	while (slots[at].mark && table_slot_key(&slots[at]) != key)
		at = table_after(capacity, at);
	return at;
}

static void table_put(struct table_slot *slot, uint64_t key, uint32_t value)
{
	slot->key_low = (uint32_t)key;
	slot->key_high = (uint32_t)(key >> 32);
	slot->mark = value + 1;
}

void table_fini(struct table *table)
{
	free(table->slots);
	memset(table, 0, sizeof(*table));
}

bool table_find(const struct table *table, uint64_t key, uint32_t *value)
{
	size_t at;

	if (!table->count)
		return false;
	at = table_probe(table->slots, table->capacity, key);
	if (!table->slots[at].mark)
		return false;
	*value = table->slots[at].mark - 1;
	return true;
}

static int table_grow(struct table *table)
{
	size_t capacity = table->capacity ? table->capacity + table->capacity / 2 : TABLE_FIRST_CAPACITY;
	struct table_slot *slots = calloc(capacity, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < table->capacity; i++) {
		const struct table_slot *old = &table->slots[i];

		if (old->mark)
			slots[table_probe(slots, capacity, table_slot_key(old))] = *old;
	}
	free(table->slots);
	table->slots = slots;
	table->capacity = capacity;
	return 0;
}

int table_set(struct table *table, uint64_t key, uint32_t value)
{
	size_t at;
	int err;

	if (value == UINT32_MAX)
		return -EINVAL;
	if (table->count) {
		at = table_probe(table->slots, table->capacity, key);
		if (table->slots[at].mark) {
			table->slots[at].mark = value + 1;
			return 0;
		}
	}
	if (table->count >= table->capacity - table->capacity / 8) {
		err = table_grow(table);
		if (err)
			return err;
	}
	table_put(&table->slots[table_probe(table->slots, table->capacity, key)], key, value);
	table->count++;
	return 0;
}

/* Moves back whatever probed past @hole, so that no search stops there too early. */
static void table_close_hole(struct table *table, size_t hole)
{
	size_t capacity = table->capacity;
	size_t at = hole;

	for (;;) {
		size_t home, from_home, from_hole;

		at = table_after(capacity, at);
		if (!table->slots[at].mark)
			break;
		home = table_home(capacity, table_slot_key(&table->slots[at]));
		from_home = at >= home ? at - home : at + capacity - home;
		from_hole = at >= hole ? at - hole : at + capacity - hole;
		if (from_home >= from_hole) {
			table->slots[hole] = table->slots[at];
			hole = at;
		}
	}
	table->slots[hole].mark = 0;
}

bool table_remove(struct table *table, uint64_t key, uint32_t *value)
{
	size_t at;

	if (!table->count)
		return false;
	at = table_probe(table->slots, table->capacity, key);
	if (!table->slots[at].mark)
		return false;
	if (value)
		*value = table->slots[at].mark - 1;
	table_close_hole(table, at);
	table->count--;
	return true;
}

bool table_next(const struct table *table, size_t *cursor, uint64_t *key, uint32_t *value)
{
	while (*cursor < table->capacity) {
		const struct table_slot *slot = &table->slots[(*cursor)++];

		if (slot->mark) {
			*key = table_slot_key(slot);
			*value = slot->mark - 1;
			return true;
		}
	}
	return false;
}

size_t table_memory_bytes(const struct table *table)
{
	return table->capacity * sizeof(struct table_slot);
}
