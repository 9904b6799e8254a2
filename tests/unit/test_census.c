/* SPDX-License-Identifier: BSD-2-Clause */
/* The census on built memory: sound, torn, cyclic, absurd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "census_case.h"

#define ARENA (1u << 20)

static const size_t blocks[] = {5, 4, 3, 2};

struct fixture {
	struct census_case c;
	struct census census;
	uint8_t *arena;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->arena = aligned_alloc(4096, ARENA);
	memset(f->arena, 0, ARENA);
	case_init(&f->c, f->arena, ARENA, blocks);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	census_fini(&f->census);
	free(f->arena);
	free(f);
	return 0;
}

static struct census *take(struct fixture *f)
{
	census_fini(&f->census);
	assert_int_equal(tt_metal_runtime.census(&f->c.input, &f->census), 0);
	return &f->census;
}

static bool exact(const struct census *census)
{
	const char *reason;

	return census_is_exact(census, &reason);
}

static void assert_reason(const struct census *census, const char *expected)
{
	const char *reason;

	assert_false(census_is_exact(census, &reason));
	assert_string_equal(reason, expected);
}

static void test_sound(void **state)
{
	struct fixture *f = *state;
	struct census *census;
	struct event_buffer event;

	case_add_buffers(&f->c);
	census = take(f);
	assert_true(exact(census));
	assert_int_equal(census->confirmed_count, 4 + 3 + 2 + 1);
	assert_int_equal(census->buffer_count, census->confirmed_count);
	assert_int_equal(census->allocator_count, 1);
	assert_int_equal(census->book_count, 4);
	assert_int_equal(census->books[0].banks, CASE_BANKS);
	assert_int_equal(census->books[0].used_bytes, 4 * CASE_BLOCK);
	assert_int_equal(census->books[0].largest_free_bytes, CASE_BLOCK);
	assert_int_equal(census_footprint(census, &census->buffers[0]), CASE_BLOCK * CASE_BANKS);
	assert_int_equal(census_device_of(census, &census->buffers[0])->device.chip_count, CASE_CHIPS);
	census_event(&census->buffers[0], 7, &event);
	assert_int_equal(event.runtime, 7);
	assert_int_equal(event.device_object, case_address(f->c.mesh));
	assert_int_equal(census->origin, CENSUS_ORIGIN_OWN);
}

static void assert_origin(struct fixture *f, enum census_origin origin, const char *sign)
{
	struct census *census = take(f);

	assert_int_equal(census->origin, origin);
	assert_string_equal(census->origin_sign, sign);
}

/* A child of fork: every kind of page that can be an ancestor's shows whose the device is. */
static void test_inherited(void **state)
{
	struct fixture *f = *state;
	uint64_t *kept = case_add_buffer(&f->c, MEMORY_DRAM, CASE_FIRST);
	const uint64_t signs[] = {case_address(f->c.mesh),
				  case_address(f->c.allocator),
				  case_address(f->c.list[MEMORY_L1].object),
				  case_address(f->c.list[MEMORY_TRACE].used),
				  case_address(kept),
				  kept[2]};

	f->c.forked = true;
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		f->c.shared = signs[i];
		assert_origin(f, CENSUS_ORIGIN_INHERITED, "forked, and pages of its objects are an ancestor's");
	}
}

/* A mesh and its chips are opened and closed together. */
static void test_inherited_by_a_chip(void **state)
{
	static const size_t unused[] = {1, 1, 1, 1};
	struct fixture *f = *state;
	uint64_t *of_mesh = f->c.allocator;

	case_add_buffer(&f->c, MEMORY_DRAM, CASE_FIRST);
	case_add_allocator(&f->c, unused);
	f->c.chip[1][4] = case_address(f->c.allocator);
	f->c.allocator = of_mesh;
	f->c.forked = true;
	f->c.shared = case_address(f->c.chip[1]);
	assert_origin(f, CENSUS_ORIGIN_INHERITED, "forked, and pages of its objects are an ancestor's");
}

static void test_nothing_to_inherit(void **state)
{
	struct fixture *f = *state;

	f->c.forked = true;
	f->c.ancestor_count = 2;
	assert_origin(f, CENSUS_ORIGIN_OWN, "forked, from processes that never made a buffer");
	/* One that did, at any distance, leaves it open. */
	f->c.ancestor_made[1] = 1;
	f->c.shared = case_address(f->c.mesh);
	assert_origin(f, CENSUS_ORIGIN_INHERITED, "forked, and pages of its objects are an ancestor's");
	/* And so does one that is gone. */
	f->c.ancestor_count = 0;
	assert_origin(f, CENSUS_ORIGIN_INHERITED, "forked, and pages of its objects are an ancestor's");
}

/* Threads that run whenever they are asked cannot be judged, and are not asked for ever. */
static void test_busy_threads(void **state)
{
	struct fixture *f = *state;

	case_add_buffers(&f->c);
	f->c.forked = true;
	f->c.ancestor_made[0] = f->c.ancestor_count = 1;
	f->c.busy_threads = 4000;
	assert_origin(f, CENSUS_ORIGIN_UNKNOWN, "forked, and a running thread cannot be judged");
	assert_in_range(f->c.asked, 4000, 4100);
}

static void test_missing_owner(void **state)
{
	struct fixture *f = *state;
	struct census *census = take(f);

	assert_reason(census, "unexplained");
	assert_int_equal(census->unexplained_blocks, 10);
	assert_int_equal(census->rounds, 3);
}

static void test_buffer_without_block(void **state)
{
	struct fixture *f = *state;
	struct census *census;

	case_add_buffers(&f->c);
	case_add_buffer(&f->c, MEMORY_DRAM, 0x100000);
	census = take(f);
	assert_reason(census, "unexplained");
	assert_int_equal(census->unconfirmed, 1);
	assert_int_equal(census->buffers[census->confirmed_count].verdict, CENSUS_NO_BLOCK);
}

static void test_two_owners(void **state)
{
	struct fixture *f = *state;
	struct census *census;

	case_add_buffers(&f->c);
	case_add_buffer(&f->c, MEMORY_DRAM, CASE_FIRST);
	census = take(f);
	assert_reason(census, "unexplained");
	assert_int_equal(census->unconfirmed, 2);
	assert_int_equal(census->buffers[census->confirmed_count].verdict, CENSUS_AMBIGUOUS);
}

/* Views do not own, dead objects have no owner left, freed ones say so: none of them is a buffer. */
static void test_look_alikes(void **state)
{
	struct fixture *f = *state;
	uint64_t *view, *dead, *freed, *hooked;

	case_add_buffers(&f->c);
	view = case_add_buffer(&f->c, MEMORY_DRAM, CASE_FIRST);
	((uint8_t *)(uintptr_t)view[2])[27] = 0;
	dead = case_add_buffer(&f->c, MEMORY_DRAM, CASE_FIRST);
	dead[-1] = 1ULL << 32;
	freed = case_add_buffer(&f->c, MEMORY_DRAM, CASE_FIRST);
	((uint8_t *)(uintptr_t)freed[2])[56] = 2;
	hooked = case_add_buffer(&f->c, MEMORY_DRAM, 0);
	((uint8_t *)(uintptr_t)hooked[2])[57] = 1;
	assert_true(exact(take(f)));
}

static void test_closed_device(void **state)
{
	struct fixture *f = *state;
	struct census *census;

	case_add_buffers(&f->c);
	((uint64_t *)(uintptr_t)f->c.mesh[3])[5] = 0; /* no tracker any more */
	memset(f->c.allocator, 0, 128);
	for (size_t i = 0; i < MEMORY_TYPE_COUNT; i++)
		f->c.list[i].object[0] = 0;
	census = take(f);
	assert_true(exact(census));
	assert_int_equal(census->confirmed_count, 0);
	assert_int_equal(census->closed, 10);
}

static void test_orphan_list(void **state)
{
	struct fixture *f = *state;
	struct case_list orphan;

	case_add_buffers(&f->c);
	case_add_list(&f->c, &orphan, 3);
	assert_int_equal(take(f)->orphan_lists, 1);
	assert_reason(&f->census, "unexplained");
	orphan.allocated[1] = orphan.allocated[2] = 0;
	assert_true(exact(take(f)));
}

static void test_cyclic_links(void **state)
{
	struct fixture *f = *state;

	case_add_buffers(&f->c);
	f->c.list[0].next[2] = 3;
	assert_reason(take(f), "unread");
	assert_int_equal(f->census.books[0].state, CENSUS_INVALID);
	f->c.list[0].next[2] = 2;
	assert_reason(take(f), "unread");
}

static void test_absurd_books(void **state)
{
	struct fixture *f = *state;
	uint64_t *object = f->c.list[0].object;
	uint64_t saved[26];

	case_add_buffers(&f->c);
	memcpy(saved, object, sizeof(saved));
	for (size_t i = 1; i < 26; i++) {
		static const uint64_t values[] = {0, 1, UINT64_MAX, 1ULL << 62, 0x800000000000ULL};

		for (size_t k = 0; k < 5; k++) {
			object[i] = values[k];
			take(f);
			assert_true(f->census.book_count <= 4);
			memcpy(object, saved, sizeof(saved));
		}
	}
	f->c.list[0].size[1] = UINT64_MAX;
	assert_reason(take(f), "unread");
	f->c.list[0].size[1] = CASE_BLOCK;
	f->c.list[0].used[1] = 7;
	assert_reason(take(f), "unread");
}

static void test_absurd_devices(void **state)
{
	struct fixture *f = *state;
	uint64_t *view = (uint64_t *)(uintptr_t)((uint64_t *)(uintptr_t)f->c.mesh[3])[1];

	case_add_buffers(&f->c);
	view[3] = view[2] + (1ULL << 40);
	take(f);
	assert_false(census_device_of(&f->census, &f->census.buffers[0])->device.readable);
	view[3] = view[2] - 16;
	take(f);
	for (size_t i = 0; i + 16 < ARENA; i += 16384)
		((uint64_t *)(uintptr_t)(f->arena + i + 8192))[0] = CASE_BASE + CASE_MESH;
	take(f);
}

/* While the first list is read, its flags change each time: it must not be believed. */
static void flip(struct census_case *c, uint64_t address, size_t len)
{
	if (address == case_address(c->list[0].allocated) && len == c->list[0].count)
		c->list[0].allocated[2] ^= 1;
}

static void test_changing(void **state)
{
	struct fixture *f = *state;

	case_add_buffers(&f->c);
	f->c.on_read = flip;
	assert_reason(take(f), "changing");
	assert_int_equal(f->census.books[0].state, CENSUS_CHANGING);
	assert_int_equal(f->census.books[0].block_count, 0);
}

/* A buffer is freed between the scan and the books: it is not counted, and nothing is left over. */
static void free_one(struct census_case *c, uint64_t address, size_t len)
{
	(void)len;
	if (address != case_address(c->list[0].object))
		return;
	c->list[0].allocated[4] = 0; /* element 4 is the first block */
	for (size_t i = 0; i + 8 < c->at; i += 16) {
		uint64_t *fields = (uint64_t *)(uintptr_t)(c->arena + i);

		if (fields[0] == case_address(c->mesh) && fields[2] == 0 && fields[8] == CASE_FIRST)
			((uint8_t *)fields)[56] = 2;
	}
}

static void test_freed_meanwhile(void **state)
{
	struct fixture *f = *state;

	case_add_buffers(&f->c);
	f->c.on_read = free_one;
	assert_true(exact(take(f)));
	assert_int_equal(f->census.confirmed_count, 9);
}

#define BAD_LISTS 40

/* Each look at one of the bad lists takes a millisecond. */
static size_t slow_looks;

static void slow(struct census_case *c, uint64_t address, size_t len)
{
	struct timespec begin, now;

	if (len != 208 || address < case_address(c->list[3].used) ||
	    *(uint64_t *)(uintptr_t)address != CASE_BASE + CASE_LIST)
		return;
	slow_looks++;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000000000LL + now.tv_nsec - begin.tv_nsec < 1000000);
}

/* Lists that make no sense are looked at again, in case it was their change; but not for ever, however many there are. */
static void test_patience_is_limited(void **state)
{
	struct fixture *f = *state;
	struct case_list bad;

	case_add_buffers(&f->c);
	for (size_t i = 0; i < BAD_LISTS; i++) {
		case_add_list(&f->c, &bad, 3);
		bad.object[9] += 8;
	}
	f->c.on_read = slow;
	slow_looks = 0;
	assert_true(exact(take(f)));
	/* half a second of retries in all, and one look at each */
	assert_in_range(slow_looks, BAD_LISTS, 500 + BAD_LISTS + 1);
}

static size_t long_reads;

static void count_long(struct census_case *c, uint64_t address, size_t len)
{
	(void)c;
	(void)address;
	long_reads += len == CENSUS_MAX_BLOCKS * 8;
}

/* Lists that share their vectors cost a process no memory, but us the time to read them. */
static void test_elements_are_limited(void **state)
{
	struct fixture *f = *state;
	size_t bytes = ARENA + CENSUS_MAX_BLOCKS * 8;
	struct case_list list;

	free(f->arena);
	f->arena = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	memset(f->arena, 0, bytes);
	case_init(&f->c, f->arena, bytes, blocks);
	f->c.memory.live = false;
	case_add_buffers(&f->c);
	for (size_t i = 0; i < BAD_LISTS; i++) {
		case_add_list(&f->c, &list, 1);
		for (size_t at = 64; at <= 184; at += 24)
			case_vector(list.object, at, f->arena + ARENA, CENSUS_MAX_BLOCKS * (at < 160 ? 8 : 1));
	}
	f->c.on_read = count_long;
	long_reads = 0;
	assert_reason(take(f), "cut-off");
	/* four long vectors a list */
	assert_in_range(long_reads, 4, 4 * (CENSUS_MAX_ALL_BLOCKS / CENSUS_MAX_BLOCKS + 1));
}

struct interludes {
	size_t left, count;
};

static bool until_none_is_left(void *context)
{
	struct interludes *interludes = context;

	interludes->count++;
	return interludes->left && interludes->left--;
}

/* The caller can end it in every phase; a census that was not ended is what it would have been. */
static void test_ended_by_the_caller(void **state)
{
	struct fixture *f = *state;
	struct interludes interludes;
	struct case_list orphan;
	size_t left = 0;
	int err;

	case_add_buffers(&f->c);
	case_add_list(&f->c, &orphan, 3);
	f->c.forked = true;
	f->c.ancestor_made[0] = f->c.ancestor_count = 1;
	f->c.busy_threads = 3;
	f->c.input.interlude = until_none_is_left;
	f->c.input.context = &interludes;
	do {
		interludes = (struct interludes){.left = left++};
		census_fini(&f->census);
		err = tt_metal_runtime.census(&f->c.input, &f->census);
		if (err) {
			assert_int_equal(err, -ESRCH);
			assert_int_equal(interludes.count, left);
			assert_null(f->census.buffers);
		}
	} while (err);
	/*
	 * In each of three rounds, as an orphan is never explained: a step and its chunks of memory, 4 books and the
	 * buffers in two turns, 5 lists of which one is an orphan. Then the threads.
	 */
	assert_int_equal(left - 1, 3 * (1 + ARENA / (256 << 10) + 2 * (4 + 1) + 5) + 3);
	assert_int_equal(f->census.confirmed_count, 10);
}

static size_t list_reads;

static void count_lists(struct census_case *c, uint64_t address, size_t len)
{
	(void)c;
	(void)address;
	list_reads += len == 208;
}

/* The same list in all managers of many allocators: memory for one, and millions to read. */
static void test_books_are_limited(void **state)
{
	struct fixture *f = *state;
	uint64_t *tracker = (uint64_t *)(uintptr_t)((uint64_t *)(uintptr_t)f->c.mesh[3])[5];
	uint64_t *manager = (uint64_t *)(uintptr_t)tracker[8], *allocators = case_alloc(&f->c, 4 * 8);
	uint64_t *lists = case_alloc(&f->c, 1000 * 8);

	f->c.memory.live = false;
	for (size_t i = 0; i < 1000; i++)
		lists[i] = case_address(f->c.list[0].object);
	for (size_t i = 0; i < 4; i++) {
		case_add_allocator(&f->c, blocks);
		allocators[i] = case_address(f->c.allocator);
		for (size_t k = 0; k < TT_METAL_MANAGERS; k++) {
			uint64_t *bank = (uint64_t *)(uintptr_t)f->c.allocator[6 + k];

			bank[5] = 1000;
			bank[6] = case_address(lists);
		}
	}
	case_vector(manager, 112, allocators, 4 * 8);
	f->c.on_read = count_lists;
	list_reads = 0;
	assert_reason(take(f), "cut-off");
	assert_int_equal(f->census.book_count, CENSUS_MAX_BOOKS);
	/* two turns, twice each, and those that nobody owns */
	assert_in_range(list_reads, CENSUS_MAX_BOOKS, 4 * CENSUS_MAX_BOOKS + 100);
}

/* Nothing is there before the arena. */
static int sparse_present(struct memory *memory, uint64_t from, uint64_t to, struct memory_run *run, uint64_t *missing)
{
	uint64_t begin = case_address(((struct census_case *)memory)->arena);

	(void)missing;
	*run = (struct memory_run){from > begin ? from : begin, to};
	return run->start < to ? 0 : -ENOENT;
}

/* Where a step of 1 GiB ends, in the middle of an object, nothing is missed. */
static void test_steps(void **state)
{
	struct memory_ops ops = *case_ops();
	struct fixture *f = *state;
	uint64_t object;

	ops.present = sparse_present;
	f->c.memory.ops = &ops;
	case_add_buffers(&f->c);
	for (size_t i = 0; i < 3; i++) {
		/* the last one's head, with a word of it in the next step */
		object = case_address(f->arena + f->c.at) - 112 - 32;
		f->c.region.start = object + 8 * i - (i + 2) * (1ULL << 30);
		assert_true(exact(take(f)));
		assert_int_equal(f->census.confirmed_count, 10);
	}
}

static void test_empty_and_garbage(void **state)
{
	struct fixture *f = *state;
	uint32_t seed = 1;

	memset(f->arena, 0, ARENA);
	assert_true(exact(take(f)));
	assert_int_equal(f->census.device_count, 0);
	for (size_t i = 0; i < ARENA; i++)
		f->arena[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
	take(f);
	/* every word points to itself */
	for (size_t i = 0; i < ARENA; i += 8)
		*(uint64_t *)(uintptr_t)(f->arena + i) = case_address(f->arena + i);
	take(f);
	assert_int_equal(f->census.confirmed_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sound, setup, teardown),
		cmocka_unit_test_setup_teardown(test_inherited, setup, teardown),
		cmocka_unit_test_setup_teardown(test_inherited_by_a_chip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_to_inherit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busy_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_buffer_without_block, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_owners, setup, teardown),
		cmocka_unit_test_setup_teardown(test_look_alikes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orphan_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cyclic_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absurd_books, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absurd_devices, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_patience_is_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(test_elements_are_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ended_by_the_caller, setup, teardown),
		cmocka_unit_test_setup_teardown(test_books_are_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_and_garbage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
