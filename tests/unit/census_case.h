/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process's memory with a runtime's objects in it, built by hand: for the census's unit test, its
 * fuzzer and its benchmark. Addresses are those of the arena in this process, so the same arena serves
 * as a live process (fork) and as an array.
 */
#ifndef CENSUS_CASE_H
#define CENSUS_CASE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"
#include "runtime/tt_metal.h"
#include "runtime/tt_metal_census.h"

#define CASE_BASE    0x7000000000ULL /* of the library; nothing is there */
#define CASE_LIST    0x1000
#define CASE_CHIP    0x2000
#define CASE_MESH    0x3000
#define CASE_COUNTER 0x4000
#define CASE_CHIPS   2
#define CASE_BANKS   12
#define CASE_FIRST   4096 /* address of a bank's first byte */
#define CASE_BLOCK   2048

struct case_list {
	uint64_t *object;
	uint64_t *address, *size, *previous, *next;
	uint8_t *allocated, *used;
	size_t count;
};

struct census_case {
	struct memory memory;
	struct memory_region region;
	uint8_t *arena;
	size_t size, at;
	struct library_plan library;
	struct census_plan plan;
	struct census_input input;
	uint64_t *mesh, *chip[CASE_CHIPS], *allocator;
	struct case_list list[MEMORY_TYPE_COUNT];
	/* for tests: called before each read */
	void (*on_read)(struct census_case *c, uint64_t address, size_t len);
	size_t reads;
	/* whose copy it is */
	bool forked;
	uint64_t shared; /* an address whose page is still an ancestor's; 0: none */
	uint64_t ancestor_made[2];
	size_t ancestor_count;
	/* threads but the first, which run at every moment; and how often one was asked */
	size_t busy_threads, asked;
};

static inline void *case_alloc(struct census_case *c, size_t bytes)
{
	void *p = c->arena + c->at;

	c->at += (bytes + 31) & ~(size_t)15;
	return c->at <= c->size ? p : NULL;
}

static inline uint64_t case_address(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static inline int case_region(struct memory *memory, size_t index, struct memory_region *out)
{
	if (index)
		return -ENOENT;
	*out = ((struct census_case *)memory)->region;
	return 0;
}

static inline int case_read(struct memory *memory, uint64_t address, void *buf, size_t len)
{
	struct census_case *c = (struct census_case *)memory;

	c->reads++;
	if (c->on_read)
		c->on_read(c, address, len);
	if (address < c->region.start || address > c->region.end || len > c->region.end - address)
		return -EFAULT;
	memcpy(buf, (const void *)(uintptr_t)address, len);
	return 0;
}

static inline int case_read_many(struct memory *memory, struct memory_part *parts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		parts[i].ok = case_read(memory, parts[i].address, parts[i].buf, parts[i].len) == 0;
	return 0;
}

static inline int case_present(struct memory *memory, uint64_t from, uint64_t to, struct memory_run *run,
			       uint64_t *missing)
{
	(void)memory;
	(void)missing;
	*run = (struct memory_run){from, to};
	return from < to ? 0 : -ENOENT;
}

static inline int case_lineage(struct memory *memory, struct memory_lineage *out)
{
	struct census_case *c = (struct census_case *)memory;

	*out = (struct memory_lineage){.known = true, .forked = c->forked, .thread_count = c->busy_threads};
	return 0;
}

static inline int case_thread(struct memory *memory, size_t index, struct memory_thread *out)
{
	struct census_case *c = (struct census_case *)memory;

	(void)out;
	c->asked++;
	return index < c->busy_threads ? -EBUSY : -ENOENT;
}

static inline int case_shared(struct memory *memory, uint64_t address)
{
	return address == ((struct census_case *)memory)->shared;
}

/* The runtime's counter of buffers is all that is asked for. */
static inline int case_ancestor_read(struct memory *memory, size_t index, uint64_t address, void *buf, size_t len)
{
	const struct census_case *c = (struct census_case *)memory;

	if (index >= c->ancestor_count)
		return c->ancestor_count ? -ENOENT : -ESRCH;
	if (address != CASE_BASE + CASE_COUNTER || len != 8)
		return -EFAULT;
	memcpy(buf, &c->ancestor_made[index], 8);
	return 0;
}

static inline void case_close(struct memory *memory)
{
	(void)memory;
}

static inline const struct memory_ops *case_ops(void)
{
	static const struct memory_ops ops = {.region = case_region,
					      .read = case_read,
					      .read_many = case_read_many,
					      .present = case_present,
					      .lineage = case_lineage,
					      .thread = case_thread,
					      .shared_with_ancestor = case_shared,
					      .ancestor_read = case_ancestor_read,
					      .close = case_close};

	return &ops;
}

/* The layout of 0.81.1, with smaller objects around it. */
static inline void case_layout(struct census_case *c)
{
	struct tt_metal_books books = {.list_vtable = CASE_LIST,
				       .list_bytes = 208,
				       .list_size = 8,
				       .list_first = 16,
				       .list_vector = {64, 88, 112, 136, 160, 184},
				       .bank_count = 32,
				       .bank_lists = 48,
				       .bank_lists_many = true,
				       .bank_list_count = 40,
				       .manager = {48, 56, 64, 72},
				       .owns = 27,
				       .mesh_hop_count = 2,
				       .mesh_hop = {24, 40},
				       .chip_tracker = -1,
				       .chip_allocator = 32,
				       .tracker_default = 72,
				       .tracker_active = 64,
				       .allocators = 112};

	memcpy(c->plan.word, &books, sizeof(books));
	c->library = (struct library_plan){
		.runtime = &tt_metal_runtime,
		.made_counter_vaddr = CASE_COUNTER,
		.read = {.indirect = true, .pointer_offset = 16, .window_len = 80},
		.walk = {.chip_vtable = CASE_CHIP,
			 .mesh_vtable = CASE_MESH,
			 .chip_id_offset = 24,
			 .hop_count = 2,
			 .hop = {24, 8},
			 .array_offset = 16,
			 .stride = 16,
			 .tagged = true},
		.field = {.size = 8,
			  .type = 16,
			  .status = 56,
			  .hooked = 57,
			  .address = 64,
			  .page_size = 72,
			  .allocator = 48,
			  .status_allocated = 1},
	};
	c->input = (struct census_input){.library = &c->library,
					 .plan = &c->plan,
					 .memory = &c->memory,
					 .base = CASE_BASE};
}

static inline void case_vector(uint64_t *object, size_t at, void *data, size_t bytes)
{
	object[at / 8] = case_address(data);
	object[at / 8 + 1] = object[at / 8 + 2] = case_address(data) + bytes;
}

/* @blocks blocks; all are allocated but the last, in an order of elements that is not theirs. */
static inline void case_add_list(struct census_case *c, struct case_list *list, size_t blocks)
{
	list->count = blocks;
	list->object = case_alloc(c, 304);
	list->address = case_alloc(c, blocks * 8);
	list->size = case_alloc(c, blocks * 8);
	list->previous = case_alloc(c, blocks * 8);
	list->next = case_alloc(c, blocks * 8);
	list->allocated = case_alloc(c, blocks);
	list->used = case_alloc(c, blocks);
	for (size_t i = 0; i < blocks; i++) {
		size_t at = blocks - 1 - i;

		list->address[at] = i * CASE_BLOCK;
		list->size[at] = CASE_BLOCK;
		list->previous[at] = i ? at + 1 : UINT64_MAX;
		list->next[at] = i + 1 < blocks ? at - 1 : UINT64_MAX;
		list->allocated[at] = i + 1 < blocks;
		list->used[at] = 1;
	}
	list->object[0] = CASE_BASE + CASE_LIST;
	list->object[1] = blocks * CASE_BLOCK;
	list->object[2] = CASE_FIRST;
	case_vector(list->object, 64, list->address, blocks * 8);
	case_vector(list->object, 88, list->size, blocks * 8);
	case_vector(list->object, 112, list->previous, blocks * 8);
	case_vector(list->object, 136, list->next, blocks * 8);
	case_vector(list->object, 160, list->allocated, blocks);
	case_vector(list->object, 184, list->used, blocks);
}

static inline void case_add_allocator(struct census_case *c, const size_t *blocks)
{
	static const uint32_t types[] = {0, 1, 3, 4};

	c->allocator = case_alloc(c, 128);
	for (size_t i = 0; i < MEMORY_TYPE_COUNT; i++) {
		uint64_t *bank = case_alloc(c, 64), *lists = case_alloc(c, 8);

		case_add_list(c, &c->list[i], blocks[i]);
		lists[0] = case_address(c->list[i].object);
		bank[0] = types[i];
		bank[4] = CASE_BANKS;
		bank[5] = 1;
		bank[6] = case_address(lists);
		c->allocator[6 + i] = case_address(bank);
	}
}

static inline void case_add_mesh(struct census_case *c)
{
	uint64_t *impl = case_alloc(c, 64), *view = case_alloc(c, 64), *tracker = case_alloc(c, 96);
	uint64_t *manager = case_alloc(c, 160), *allocators = case_alloc(c, 8), *chips = case_alloc(c, 16 * CASE_CHIPS);

	c->mesh = case_alloc(c, 64);
	c->mesh[0] = CASE_BASE + CASE_MESH;
	c->mesh[3] = case_address(impl);
	impl[1] = case_address(view);
	impl[5] = case_address(tracker);
	tracker[8] = tracker[9] = case_address(manager);
	case_vector(manager, 112, allocators, 8);
	allocators[0] = case_address(c->allocator);
	case_vector(view, 16, chips, 16 * CASE_CHIPS);
	for (size_t i = 0; i < CASE_CHIPS; i++) {
		c->chip[i] = case_alloc(c, 64);
		c->chip[i][0] = CASE_BASE + CASE_CHIP;
		c->chip[i][3] = i;
		chips[2 * i] = case_address(c->chip[i]);
		chips[2 * i + 1] = 1;
	}
}

/* A Buffer with its control block in front, and its fields behind a pointer. Returns it; its fields are at [2]. */
static inline uint64_t *case_add_buffer(struct census_case *c, enum memory_type type, uint64_t address)
{
	static const uint32_t types[] = {0, 1, 3, 4};
	uint64_t *control = case_alloc(c, 48), *fields = case_alloc(c, 96), *object = control + 2;

	control[0] = CASE_BASE + 0x9000;
	control[1] = 1ULL << 32 | 1;
	object[0] = case_address(object);
	object[1] = case_address(control);
	object[2] = case_address(fields);
	fields[0] = case_address(c->mesh);
	fields[1] = CASE_BLOCK * 4;
	fields[2] = types[type];
	((uint8_t *)fields)[27] = 1;
	fields[6] = case_address(c->allocator);
	((uint8_t *)fields)[56] = 1;
	fields[8] = address;
	fields[9] = CASE_BLOCK;
	return object;
}

/* A buffer for each allocated block. */
static inline void case_add_buffers(struct census_case *c)
{
	for (size_t type = 0; type < MEMORY_TYPE_COUNT; type++)
		for (size_t i = 0; i + 1 < c->list[type].count; i++)
			case_add_buffer(c, (enum memory_type)type, CASE_FIRST + i * CASE_BLOCK);
}

static inline void case_init(struct census_case *c, uint8_t *arena, size_t size, const size_t *blocks)
{
	*c = (struct census_case){.arena = arena, .size = size};
	c->memory.ops = case_ops();
	c->memory.live = true;
	c->region = (struct memory_region){.start = case_address(arena),
					   .end = case_address(arena) + size,
					   .readable = true,
					   .writable = true,
					   .path = ""};
	case_layout(c);
	case_add_allocator(c, blocks);
	case_add_mesh(c);
}

#endif
