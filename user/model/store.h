/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The buffers of one process: compact records, found by their object's address. Owns all its memory.
 *
 * With a million buffers the cost of an event is the cost of cache misses, so the index has only four
 * bytes a slot (a struct table would have twelve): a record's number and, in the bits that the
 * number leaves over, part of the key's hash; the key itself is in the record. The index of a million
 * buffers is six megabytes and stays in a cache, and a look-up touches memory once: at its record.
 * Records are 56 bytes in chunks that never move; all in all at most 64 bytes a buffer.
 */
#ifndef BUFSCOPE_MODEL_STORE_H
#define BUFSCOPE_MODEL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_CHUNK_SHIFT   9
#define STORE_CHUNK_RECORDS (1u << STORE_CHUNK_SHIFT)
#define STORE_NONE          UINT32_MAX

struct record {
	uint64_t object;
	uint64_t serial; /* 0: this record is free */
	uint64_t address;
	uint64_t size_bytes;
	uint64_t footprint_bytes; /* 0: not known */
	uint64_t allocated_ns;    /* 0: found by a census */
	uint32_t thread;
	uint32_t shape; /* all that many buffers have in common: shape.h; in a free record the next free one */
};
_Static_assert(sizeof(struct record) == 56, "a record is 56 bytes");

struct store {
	struct record **chunks;
	uint32_t chunk_count;
	uint32_t chunk_capacity;
	uint32_t used; /* records handed out at least once */
	uint32_t free_head;
	uint32_t count;      /* records in use */
	void *bucket_memory; /* what buckets lies in */
	struct store_bucket *buckets;
	size_t bucket_count;
	uint32_t number_mask; /* which bits of a slot are the number */
};

void store_init(struct store *store);
void store_fini(struct store *store);

/*
 * A record for an object that is not in the store; @serial is not 0. The rest of it is undefined.
 * 0 or -ENOMEM.
 */
int store_add(struct store *store, uint64_t object, uint64_t serial, struct record **record);
/* NULL when the object is not there. */
struct record *store_find(const struct store *store, uint64_t object);
/* Takes the object out and copies its record. False when it is not there. */
bool store_remove(struct store *store, uint64_t object, struct record *record);
/* Walks all in no order, from *cursor = 0; NULL at the end. Not across changes. */
struct record *store_next(const struct store *store, size_t *cursor);

static inline size_t store_count(const struct store *store)
{
	return store->count;
}

size_t store_memory_bytes(const struct store *store);

#endif
