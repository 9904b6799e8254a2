// SPDX-License-Identifier: BSD-2-Clause
/* The runtime's books beside the table of buffers; see books.h. */
#include "model/books.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/process.h"

#define BOOKS_NONE UINT32_MAX

/* No pointer of a process has the two highest bits set. */
static uint64_t books_key(uint64_t allocator, unsigned int type)
{
	return allocator << 2 | type;
}

static struct books_entry *books_find(const struct books *books, uint64_t allocator, unsigned int type)
{
	uint32_t at;

	if (type >= MEMORY_TYPE_COUNT || !table_find(&books->index, books_key(allocator, type), &at))
		return NULL;
	return books->entries[at].allocator == allocator ? &books->entries[at] : NULL;
}

uint32_t books_id(const struct books *books, uint64_t allocator, unsigned int type)
{
	const struct books_entry *entry = books->count ? books_find(books, allocator, type) : NULL;

	return entry && entry->listed ? entry->id : SNAPSHOT_NO_ALLOCATOR;
}

static void books_forget_blocks(struct books *books, struct books_entry *entry)
{
	books->waiting_blocks -= entry->block_count;
	free(entry->blocks);
	free(entry->claims);
	entry->blocks = NULL;
	entry->claims = NULL;
	entry->block_count = 0;
}

void books_fini(struct books *books)
{
	for (uint32_t i = 0; i < books->count; i++)
		books_forget_blocks(books, &books->entries[i]);
	free(books->entries);
	free(books->differences);
	table_fini(&books->index);
	memset(books, 0, sizeof(*books));
}

static void books_set_device(struct process *process, struct books_entry *entry, uint32_t device)
{
	if (device != BOOKS_NO_DEVICE)
		process->devices.entries[device].shapes++;
	if (entry->device != BOOKS_NO_DEVICE)
		device_put(&process->devices, entry->device);
	entry->device = device;
}

static void books_look_up_device(struct process *process, struct books_entry *entry)
{
	const struct device_entry *device = NULL;

	if (entry->device_object)
		device = device_find(&process->devices, entry->device_object);
	books_set_device(process, entry, device ? (uint32_t)(device - process->devices.entries) : BOOKS_NO_DEVICE);
}

static void books_unread(struct books_entry *entry, const char *why)
{
	entry->verdict = BOOKS_VERDICT_UNREAD;
	snprintf(entry->why, sizeof(entry->why), "%s", why ? why : "");
}

/* Makes room by forgetting books that no recent census had. Their ids are not used again. */
static void books_compact(struct process *process)
{
	struct books *books = &process->books;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < books->count; i++) {
		struct books_entry *entry = &books->entries[i];
		uint64_t key = books_key(entry->allocator, entry->type);

		if (!entry->listed && !entry->waiting) {
			table_remove(&books->index, key, NULL);
			books_set_device(process, entry, BOOKS_NO_DEVICE);
			continue;
		}
		table_set(&books->index, key, kept); /* replaces, so it cannot fail */
		books->entries[kept++] = *entry;
	}
	books->count = kept;
}

/* *entry NULL: there is no room and it was counted. 0 or -ENOMEM. */
static int books_add(struct process *process, uint64_t allocator, unsigned int type, struct books_entry **entry)
{
	struct books *books = &process->books;
	int err;

	*entry = NULL;
	if (books->count == BOOKS_MAX_ENTRIES)
		books_compact(process);
	if (books->count == BOOKS_MAX_ENTRIES) {
		books->left_out++;
		return 0;
	}
	if (books->count == books->capacity) {
		uint32_t capacity = books->capacity ? 2 * books->capacity : 8;
		struct books_entry *entries = realloc(books->entries, capacity * sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		books->entries = entries;
		books->capacity = capacity;
	}
	err = table_set(&books->index, books_key(allocator, type), books->count);
	if (err)
		return err;
	*entry = &books->entries[books->count++];
	**entry = (struct books_entry){
		.allocator = allocator,
		.id = books->next_id++,
		.device = BOOKS_NO_DEVICE,
		.type = (uint8_t)type,
	};
	return 0;
}

static int books_by_address(const void *a, const void *b)
{
	const struct event_block *left = a, *right = b;

	return (left->address > right->address) - (left->address < right->address);
}

static int books_copy_blocks(struct books *books, struct books_entry *entry, const struct event_books *event)
{
	bool sorted = true;

	if (event->block_count > BOOKS_MAX_BLOCKS - books->waiting_blocks) {
		books_unread(entry, "more blocks than there is room for");
		return 0;
	}
	if (!event->block_count)
		return 0;
	entry->blocks = malloc(event->block_count * sizeof(*entry->blocks));
	entry->claims = calloc(event->block_count, sizeof(*entry->claims));
	if (!entry->blocks || !entry->claims) {
		books_forget_blocks(books, entry);
		books_unread(entry, "out of memory");
		return -ENOMEM;
	}
	memcpy(entry->blocks, event->blocks, event->block_count * sizeof(*entry->blocks));
	entry->block_count = event->block_count;
	books->waiting_blocks += entry->block_count;
	for (size_t i = 1; sorted && i < entry->block_count; i++)
		sorted = entry->blocks[i - 1].address <= entry->blocks[i].address;
	if (!sorted)
		qsort(entry->blocks, entry->block_count, sizeof(*entry->blocks), books_by_address);
	return 0;
}

int books_note(struct process *process, const struct event_books *event)
{
	struct books *books = &process->books;
	struct books_entry *entry;
	int err;

	if ((unsigned int)event->type >= MEMORY_TYPE_COUNT) {
		books->left_out++;
		return 0;
	}
	entry = books_find(books, event->allocator, event->type);
	if (!entry) {
		err = books_add(process, event->allocator, event->type, &entry);
		if (err)
			books->left_out++;
		if (!entry)
			return err;
	}
	books_forget_blocks(books, entry);
	entry->waiting = true;
	entry->device_object = event->device_object;
	books_look_up_device(process, entry);
	entry->banks = event->banks;
	entry->capacity_bytes = event->capacity_bytes;
	entry->used_bytes = event->used_bytes;
	entry->free_bytes = event->free_bytes;
	entry->largest_free_bytes = event->largest_free_bytes;
	entry->table_only = entry->books_only = 0;
	entry->kept[0] = entry->kept[1] = 0;
	if (event->state != BOOKS_READ) {
		books_unread(entry, event->why);
		return 0;
	}
	/* Until the end of the census says better. */
	books_unread(entry, "");
	entry->verdict = BOOKS_VERDICT_EQUAL;
	return books_copy_blocks(books, entry, event);
}

static int books_keep(struct books *books, struct books_entry *entry, const struct book_difference *difference)
{
	if (entry->kept[difference->in_table] == BOOKS_KEPT_DIFFERENCES)
		return 0;
	if (books->difference_count == books->difference_capacity) {
		size_t capacity = books->difference_capacity ? 2 * books->difference_capacity : 16;
		struct book_difference *list = realloc(books->differences, capacity * sizeof(*list));

		if (!list)
			return -ENOMEM;
		books->differences = list;
		books->difference_capacity = capacity;
	}
	entry->kept[difference->in_table]++;
	books->differences[books->difference_count++] = *difference;
	return 0;
}

/* For each shape of live buffers the waiting books that were read, or BOOKS_NONE. NULL: out of memory. */
static uint32_t *books_of_shapes(struct process *process)
{
	uint32_t *map = calloc(process->shapes.count + 1, sizeof(*map));

	for (uint32_t i = 0; map && i < process->shapes.count; i++) {
		const struct shape *shape = &process->shapes.shapes[i];
		struct books_entry *entry = NULL;

		map[i] = BOOKS_NONE;
		if (shape->buffers && shape->key.state == BUFFER_LIVE)
			entry = books_find(&process->books, shape->key.allocator, shape->key.type);
		if (!entry || !entry->waiting)
			continue;
		if (entry->device == BOOKS_NO_DEVICE)
			books_set_device(process, entry, shape->key.device);
		if (entry->verdict != BOOKS_VERDICT_UNREAD)
			map[i] = (uint32_t)(entry - process->books.entries);
	}
	return map;
}

/* Where the block of this address is, or block_count. */
static size_t books_block(const struct books_entry *entry, uint64_t address)
{
	size_t low = 0, high = entry->block_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (entry->blocks[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < entry->block_count && entry->blocks[low].address == address ? low : entry->block_count;
}

/* Buffers that share a block: whose it is cannot be told, so none of them has its footprint. */
static void books_unshare(struct process *process, const uint32_t *map)
{
	struct record *record;
	size_t cursor = 0;

	while ((record = store_next(&process->store, &cursor))) {
		const struct books_entry *entry;
		size_t block;

		if (map[record->shape] == BOOKS_NONE)
			continue;
		entry = &process->books.entries[map[record->shape]];
		block = books_block(entry, record->address);
		if (block < entry->block_count && entry->claims[block] > 1)
			record->footprint_bytes = 0;
	}
}

static int books_compare_table(struct process *process, const uint32_t *map, uint32_t runtime,
			       struct snapshot_census *census)
{
	struct books *books = &process->books;
	struct record *record;
	bool shared = false;
	size_t cursor = 0;
	int err = 0;

	while ((record = store_next(&process->store, &cursor))) {
		struct book_difference difference = {.in_table = true};
		struct books_entry *entry;
		size_t block;

		if (map[record->shape] == BOOKS_NONE) {
			const struct shape_key *key = &process->shapes.shapes[record->shape].key;

			if (key->state == BUFFER_LIVE && key->runtime == runtime)
				census->unchecked_buffers++;
			continue;
		}
		entry = &books->entries[map[record->shape]];
		block = books_block(entry, record->address);
		if (block < entry->block_count && !entry->claims[block]) {
			entry->claims[block] = 1;
			record->footprint_bytes = entry->blocks[block].footprint_bytes;
			continue;
		}
		if (block < entry->block_count) {
			entry->claims[block] = 2;
			shared = true;
		}
		entry->table_only++;
		difference.allocator = entry->allocator;
		difference.type = (enum memory_type)entry->type;
		difference.address = record->address;
		difference.object = record->object;
		difference.serial = record->serial;
		difference.size_bytes = record->size_bytes;
		if (books_keep(books, entry, &difference))
			err = -ENOMEM;
	}
	if (shared)
		books_unshare(process, map);
	return err;
}

static int books_compare_blocks(struct books *books, struct books_entry *entry)
{
	int err = 0;

	for (size_t i = 0; i < entry->block_count; i++) {
		struct book_difference difference = {
			.allocator = entry->allocator,
			.type = (enum memory_type)entry->type,
			.address = entry->blocks[i].address,
			.size_bytes = entry->blocks[i].footprint_bytes,
		};

		if (entry->claims[i])
			continue;
		entry->books_only++;
		if (books_keep(books, entry, &difference))
			err = -ENOMEM;
	}
	if (entry->table_only || entry->books_only)
		entry->verdict = BOOKS_VERDICT_DIFFERS;
	return err;
}

static int books_difference_order(const void *a, const void *b)
{
	const struct book_difference *left = a, *right = b;

	if (left->allocator != right->allocator)
		return left->allocator < right->allocator ? -1 : 1;
	if (left->type != right->type)
		return left->type < right->type ? -1 : 1;
	if (left->address != right->address)
		return left->address < right->address ? -1 : 1;
	return (left->serial > right->serial) - (left->serial < right->serial);
}

/* The census is over for @entry: it is one of the last census now, or none. */
static void books_settle(struct process *process, struct books_entry *entry, uint32_t runtime,
			 struct snapshot_census *census)
{
	if (!entry->waiting && entry->runtime != runtime)
		return;
	entry->runtime = runtime;
	books_forget_blocks(&process->books, entry);
	entry->listed = entry->waiting;
	entry->waiting = false;
	if (!entry->listed) {
		books_set_device(process, entry, BOOKS_NO_DEVICE);
		return;
	}
	census->books_equal += entry->verdict == BOOKS_VERDICT_EQUAL;
	census->books_differ += entry->verdict == BOOKS_VERDICT_DIFFERS;
	census->books_unread += entry->verdict == BOOKS_VERDICT_UNREAD;
}

/* What the last census of @runtime left. */
static void books_forget_differences(struct books *books, uint32_t runtime)
{
	size_t kept = 0;

	for (size_t i = 0; i < books->difference_count; i++) {
		const struct book_difference *difference = &books->differences[i];
		const struct books_entry *entry = books_find(books, difference->allocator, difference->type);

		if (entry && entry->listed && !entry->waiting && entry->runtime != runtime)
			books->differences[kept++] = *difference;
	}
	books->difference_count = kept;
}

int books_compare(struct process *process, uint32_t runtime, struct snapshot_census *census)
{
	struct books *books = &process->books;
	uint32_t *map;
	int err = 0;

	books_forget_differences(books, runtime);
	/* A device may have become known only after its books. */
	for (uint32_t i = 0; i < books->count; i++) {
		if (books->entries[i].waiting)
			books_look_up_device(process, &books->entries[i]);
	}
	map = books_of_shapes(process);
	if (map)
		err = books_compare_table(process, map, runtime, census);
	else
		err = -ENOMEM;
	for (uint32_t i = 0; i < books->count; i++) {
		struct books_entry *entry = &books->entries[i];

		if (entry->waiting && entry->verdict != BOOKS_VERDICT_UNREAD) {
			if (!map)
				books_unread(entry, "out of memory");
			else if (books_compare_blocks(books, entry))
				err = -ENOMEM;
		}
		books_settle(process, entry, runtime, census);
	}
	free(map);
	census->books_unread += books->left_out;
	books->left_out = 0;
	books->fresh = true;
	if (books->difference_count)
		qsort(books->differences, books->difference_count, sizeof(*books->differences), books_difference_order);
	return err;
}

void books_drop(struct process *process)
{
	struct books *books = &process->books;

	for (uint32_t i = 0; i < books->count; i++) {
		books->entries[i].listed = false;
		if (!books->entries[i].waiting)
			books_set_device(process, &books->entries[i], BOOKS_NO_DEVICE);
	}
	books->difference_count = 0;
}

size_t books_memory_bytes(const struct books *books)
{
	return books->capacity * sizeof(*books->entries) + table_memory_bytes(&books->index) +
	       books->difference_capacity * sizeof(*books->differences) +
	       books->waiting_blocks * (sizeof(struct event_block) + 1);
}
