// SPDX-License-Identifier: BSD-2-Clause
/*
 * The buffers of one process; see store.h.
 *
 * The index is an array of buckets of one cache line. A key goes into its home bucket or, when that
 * is full, into the next one with room; every full bucket it passed counts it, so a search knows when
 * to stop and a removal only has to count down on the same way: no tombstones, nothing is moved.
 */
#include "model/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STORE_BUCKET_WORDS 16
#define STORE_BUCKET_SLOTS (STORE_BUCKET_WORDS - 1)

/* Four words at once: the compiler makes of it what the machine has. */
typedef uint32_t store_lanes __attribute__((vector_size(16)));
typedef uint64_t store_pair __attribute__((vector_size(16)));

struct store_bucket {
	union {
		/*
		 * Word 0: how many keys went by because this bucket was full. The others are slots: part
		 * of the hash | number + 1, or 0 when empty.
		 */
		uint32_t words[STORE_BUCKET_WORDS];
		store_lanes lanes[STORE_BUCKET_WORDS / 4];
	};
};
_Static_assert(sizeof(struct store_bucket) == 64, "a bucket is a cache line");

static struct record *store_at(const struct store *store, uint32_t number)
{
	return &store->chunks[number >> STORE_CHUNK_SHIFT][number & (STORE_CHUNK_RECORDS - 1)];
}

static uint64_t store_hash(uint64_t object)
{
	/* Pointers differ in few, low bits; two multiplications carry them everywhere. */
	uint64_t hash = object * UINT64_C(0x9e3779b97f4a7c15);

	hash ^= hash >> 32;
	return hash * UINT64_C(0xd6e8feb86659fd93);
}

/* The upper half of hash x count: works for every count, so the index can grow by half. */
static size_t store_home(size_t bucket_count, uint64_t hash)
{
	return (size_t)((unsigned __int128)hash * bucket_count >> 64);
}

static size_t store_after(size_t bucket_count, size_t bucket)
{
	return bucket + 1 == bucket_count ? 0 : bucket + 1;
}

void store_init(struct store *store)
{
	memset(store, 0, sizeof(*store));
	store->free_head = STORE_NONE;
}

void store_fini(struct store *store)
{
	for (uint32_t i = 0; i < store->chunk_count; i++)
		free(store->chunks[i]);
	free(store->chunks);
	free(store->bucket_memory);
	store_init(store);
}

static int store_add_chunk(struct store *store)
{
	struct record **chunks;
	uint32_t capacity;

	if (store->chunk_count >= STORE_NONE >> STORE_CHUNK_SHIFT)
		return -ENOMEM;
	if (store->chunk_count == store->chunk_capacity) {
		capacity = store->chunk_capacity ? 2 * store->chunk_capacity : 4;
		chunks = realloc(store->chunks, capacity * sizeof(*chunks));
		if (!chunks)
			return -ENOMEM;
		store->chunks = chunks;
		store->chunk_capacity = capacity;
	}
	store->chunks[store->chunk_count] = malloc(STORE_CHUNK_RECORDS * sizeof(struct record));
	if (!store->chunks[store->chunk_count])
		return -ENOMEM;
	store->chunk_count++;
	return 0;
}

/* A bit for every slot of which the bits in @care are those of @want. Bit 0 means nothing. */
static uint32_t store_match(const struct store_bucket *bucket, uint32_t care, uint32_t want)
{
	static const store_lanes bit[4] = {{0, 1 << 1, 1 << 2, 1 << 3},
					   {1 << 4, 1 << 5, 1 << 6, 1 << 7},
					   {1 << 8, 1 << 9, 1 << 10, 1 << 11},
					   {1 << 12, 1 << 13, 1 << 14, 1 << 15}};
	store_lanes found = {0};
	store_pair pair;

	for (int i = 0; i < 4; i++)
		found |= (store_lanes)((bucket->lanes[i] & care) == want) & bit[i];
	pair = (store_pair)found;
	pair[0] |= pair[1];
	return (uint32_t)(pair[0] | pair[0] >> 32);
}

/* Puts a number in; there must be an empty slot somewhere. */
static void store_index_put(struct store *store, uint64_t hash, uint32_t number)
{
	size_t at = store_home(store->bucket_count, hash);
	uint32_t empty;

	while (!(empty = store_match(&store->buckets[at], UINT32_MAX, 0))) {
		store->buckets[at].words[0]++;
		at = store_after(store->bucket_count, at);
	}
	store->buckets[at].words[__builtin_ctz(empty)] = ((uint32_t)hash & ~store->number_mask) | (number + 1);
}

/* Where the object is; NULL when it is nowhere. */
static uint32_t *store_index_find(const struct store *store, uint64_t object, uint64_t hash)
{
	uint32_t mask = store->number_mask;
	size_t at;

	if (!store->count)
		return NULL;
	at = store_home(store->bucket_count, hash);
	/* The load never reaches one, but a bound is cheaper than a proof. */
	for (size_t steps = 0; steps < store->bucket_count; steps++) {
		struct store_bucket *bucket = &store->buckets[at];
		uint32_t match = store_match(bucket, ~mask, (uint32_t)hash & ~mask);

		for (; match; match &= match - 1) {
			uint32_t *slot = &bucket->words[__builtin_ctz(match)];

			if ((*slot & mask) && store_at(store, (*slot & mask) - 1)->object == object)
				return slot;
		}
		if (!bucket->words[0])
			break;
		at = store_after(store->bucket_count, at);
	}
	return NULL;
}

static void store_index_clear(struct store *store, uint64_t hash, uint32_t *slot)
{
	size_t at = store_home(store->bucket_count, hash);
	size_t bucket = (size_t)((char *)slot - (char *)store->buckets) / sizeof(struct store_bucket);

	for (; at != bucket; at = store_after(store->bucket_count, at))
		store->buckets[at].words[0]--;
	*slot = 0;
}

/* All keys anew into an index half as large again. */
static int store_index_grow(struct store *store)
{
	size_t count = store->bucket_count ? store->bucket_count + (store->bucket_count + 1) / 2 : 2;
	struct store_bucket *buckets;
	void *memory;
	uint64_t numbers = (uint64_t)count * STORE_BUCKET_SLOTS;
	uint32_t mask = 1;

	/* Numbers never exceed the slots: a record is only added when none is free. */
	while (mask < numbers)
		mask = mask << 1 | 1;
	if (numbers >= STORE_NONE)
		return -ENOMEM;
	/* One more than needed, to begin where a cache line does. */
	memory = calloc(count + 1, sizeof(*buckets));
	if (!memory)
		return -ENOMEM;
	buckets = (struct store_bucket *)(((uintptr_t)memory + sizeof(*buckets) - 1) &
					  ~(uintptr_t)(sizeof(*buckets) - 1));
	free(store->bucket_memory);
	store->bucket_memory = memory;
	store->buckets = buckets;
	store->bucket_count = count;
	store->number_mask = mask;
	for (uint32_t number = 0; number < store->used; number++) {
		const struct record *record = store_at(store, number);

		if (record->serial)
			store_index_put(store, store_hash(record->object), number);
	}
	return 0;
}

int store_add(struct store *store, uint64_t object, uint64_t serial, struct record **record)
{
	bool fresh = store->free_head == STORE_NONE;
	uint32_t number = fresh ? store->used : store->free_head;
	int err;

	if (fresh && number >> STORE_CHUNK_SHIFT >= store->chunk_count) {
		err = store_add_chunk(store);
		if (err)
			return err;
	}
	/* At most 13 of 15 slots on average: beyond that buckets overflow into their neighbours. */
	if (store->count >= store->bucket_count * (STORE_BUCKET_SLOTS - 2)) {
		err = store_index_grow(store);
		if (err)
			return err;
	}
	*record = store_at(store, number);
	if (fresh)
		store->used++;
	else
		store->free_head = (*record)->shape;
	(*record)->object = object;
	(*record)->serial = serial;
	store_index_put(store, store_hash(object), number);
	store->count++;
	return 0;
}

struct record *store_find(const struct store *store, uint64_t object)
{
	const uint32_t *slot = store_index_find(store, object, store_hash(object));

	return slot ? store_at(store, (*slot & store->number_mask) - 1) : NULL;
}

bool store_remove(struct store *store, uint64_t object, struct record *record)
{
	uint64_t hash = store_hash(object);
	uint32_t *slot = store_index_find(store, object, hash);
	struct record *found;
	uint32_t number;

	if (!slot)
		return false;
	number = (*slot & store->number_mask) - 1;
	found = store_at(store, number);
	*record = *found;
	store_index_clear(store, hash, slot);
	store->count--;
	found->serial = 0;
	found->shape = store->free_head;
	store->free_head = number;
	return true;
}

struct record *store_next(const struct store *store, size_t *cursor)
{
	while (*cursor < store->used) {
		struct record *record = store_at(store, (uint32_t)(*cursor)++);

		if (record->serial)
			return record;
	}
	return NULL;
}

size_t store_memory_bytes(const struct store *store)
{
	return store->bucket_count * sizeof(struct store_bucket) + store->chunk_capacity * sizeof(*store->chunks) +
	       (size_t)store->chunk_count * STORE_CHUNK_RECORDS * sizeof(struct record);
}
