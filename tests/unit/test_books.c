// SPDX-License-Identifier: BSD-2-Clause
/* What a census does to the model: buffers found, books compared, tables rebuilt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fail_alloc.h"
#include "model_case.h"

#define DEVICE       0x5000
#define OTHER_DEVICE 0x6000
#define MB           (1 << 20)

/* A snapshot that is checked for what always holds; the caller frees it. */
static struct snapshot *look(const struct model_case *c)
{
	struct snapshot *snapshot = case_snapshot(c);

	assert_non_null(snapshot);
	for (size_t i = 0; i < snapshot->process_count; i++) {
		assert_true(case_balanced(&snapshot->processes[i]));
		assert_true(case_consistent(&snapshot->processes[i]));
	}
	return snapshot;
}

/* Attached late: 42 objects are older. */
static void start(struct model_case *c)
{
	case_init(c);
	case_birth(c, 1, BIRTH_ATTACH, 0);
	case_runtime(c, 1, 42, true);
	case_device(c, 1, DEVICE, 0, 1);
	case_device(c, 1, OTHER_DEVICE, 0, 8);
}

static const struct snapshot_buffer *buffer_of(const struct snapshot_process *p, uint64_t object)
{
	for (size_t i = 0; i < p->buffer_count; i++) {
		if (p->buffers[i].object == object)
			return &p->buffers[i];
	}
	fail_msg("no buffer 0x%llx", (unsigned long long)object);
	return NULL;
}

static size_t noticed[32];
static struct snapshot_census noticed_census;

static void count_notices(void *context, const struct notice *notice)
{
	(void)context;
	noticed[notice->kind]++;
	if (notice->kind == NOTICE_CENSUS) {
		assert_ptr_equal(notice->census, notice->process->census);
		noticed_census = *notice->census;
	}
}

static void test_seen_by_census_and_probe(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	memset(noticed, 0, sizeof(noticed));
	model_set_listener(c.model, count_notices, NULL);
	case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_found(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	case_found(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB); /* another census finds it again */
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_DRAM, MB);
	case_found(&c, 1, 0x300, DEVICE, MEMORY_DRAM, MB); /* and one that we saw being made */
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->before_attach, 1);
	assert_int_equal(p->allocated, 2);
	assert_int_equal(p->missed_frees, 0);
	assert_int_equal(p->live, 3);
	assert_int_equal(noticed[NOTICE_ALLOCATE], 3);
	assert_int_equal(buffer_of(p, 0x100)->thread, 77);
	assert_true(buffer_of(p, 0x100)->allocated_ns > p->observed_ns);
	assert_int_equal(buffer_of(p, 0x200)->allocated_ns, 0);
	assert_true(buffer_of(p, 0x300)->allocated_ns > 0);
	snapshot_free(snapshot);
	/* Once it has a time, the next allocation on it is another one. */
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->missed_frees, 1);
	assert_int_equal(p->allocated, 3);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Each field that tells two buffers on one key apart. */
static void test_not_the_same_buffer(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	for (int field = 0; field < 5; field++) {
		struct event event = case_buffer_event(EVENT_ALLOCATE, 0x100, DEVICE, MEMORY_DRAM, MB);

		start(&c);
		case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
		event.buffer.address += field == 0;
		event.buffer.size_bytes += field == 1;
		event.buffer.device_object = field == 2 ? OTHER_DEVICE : DEVICE;
		event.buffer.type = field == 3 ? MEMORY_L1 : MEMORY_DRAM;
		event.buffer.fault = field == 4 ? BUFFER_FAULT_UNREADABLE : BUFFER_FAULT_NONE;
		case_apply(&c, &event, 1);
		snapshot = look(&c);
		p = case_find(snapshot, 1);
		assert_int_equal(p->before_attach, 1);
		assert_int_equal(p->allocated, 1);
		assert_int_equal(p->missed_frees, 1);
		snapshot_free(snapshot);
		case_fini(&c);
	}
}

static void test_footprints(void **state)
{
	static const uint64_t objects[] = {0x100, 0x200, 0x300};
	struct event event = case_buffer_event(EVENT_ALLOCATE, 0x400, DEVICE, MEMORY_TRACE, 10);
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	event.buffer.footprint_bytes = 24;
	case_apply(&c, &event, 1);
	case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x500, DEVICE, MEMORY_L1, MB);
	/* Two that claim one block: whose it is cannot be told. */
	event = case_buffer_event(EVENT_ALLOCATE, 0x300, DEVICE, MEMORY_DRAM, MB);
	event.buffer.footprint_bytes = 7;
	case_apply(&c, &event, 1);
	event.buffer.object = 0x301;
	case_apply(&c, &event, 1);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, objects, 3, MB);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(buffer_of(p, 0x100)->footprint_bytes, 2 * MB);
	assert_int_equal(buffer_of(p, 0x200)->footprint_bytes, 2 * MB);
	assert_int_equal(buffer_of(p, 0x300)->footprint_bytes, 0);
	assert_int_equal(buffer_of(p, 0x301)->footprint_bytes, 0);
	assert_int_equal(buffer_of(p, 0x400)->footprint_bytes, 24);
	assert_int_equal(buffer_of(p, 0x500)->footprint_bytes, 0);
	assert_int_equal(buffer_of(p, 0x100)->allocator_id, 0);
	assert_int_equal(buffer_of(p, 0x500)->allocator_id, SNAPSHOT_NO_ALLOCATOR);
	assert_int_equal(p->allocator_count, 1);
	assert_int_equal(p->allocators[0].books, BOOKS_VERDICT_DIFFERS);
	assert_int_equal(p->allocators[0].table_only, 1);
	assert_int_equal(p->allocators[0].books_only, 0);
	assert_int_equal(p->census->unchecked_buffers, 2);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_books_equal(void **state)
{
	static const uint64_t dram[] = {0x300, 0x100}, l1[] = {0x200};
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	memset(noticed, 0, sizeof(noticed));
	model_set_listener(c.model, count_notices, NULL);
	case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_found(&c, 1, 0x300, DEVICE, MEMORY_DRAM, MB);
	case_found(&c, 1, 0x200, OTHER_DEVICE, MEMORY_L1, MB);
	case_found(&c, 1, 0x400, OTHER_DEVICE, MEMORY_DRAM, MB);
	/* A held one has given its memory back: the books know nothing of it. */
	case_device(&c, 1, 0x7000, 3, 1);
	case_alloc(&c, 1, 0x500, 0x7000, MEMORY_DRAM, MB);
	case_bulk_free(&c, 1, 0x7001);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, dram, 2, MB);
	case_books(&c, 1, OTHER_DEVICE, MEMORY_L1, l1, 1, MB);
	case_books(&c, 1, 0x7000, MEMORY_DRAM, NULL, 0, MB);
	case_books_unread(&c, 1, OTHER_DEVICE, MEMORY_DRAM, "changing");
	case_census(&c, 1, NULL);
	assert_int_equal(noticed[NOTICE_CENSUS], 1);
	assert_int_equal(noticed_census.books_equal, 3);
	assert_int_equal(noticed_census.books_differ, 0);
	assert_int_equal(noticed_census.books_unread, 1);
	assert_int_equal(noticed_census.unchecked_buffers, 1);
	assert_int_equal(noticed_census.scanned_bytes, MB);
	assert_true(noticed_census.exact);
	assert_null(noticed_census.reason);
	assert_int_equal(model_book_differences(c.model, 1, NULL, 0), 0);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_true(p->exact);
	assert_int_equal(p->allocator_count, 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(p->allocators[i].id, i);
	assert_int_equal(p->allocators[0].books, BOOKS_VERDICT_EQUAL);
	assert_int_equal(p->allocators[0].banks, 12);
	assert_int_equal(p->allocators[0].used_bytes, 4 * MB);
	assert_int_equal(p->allocators[0].chip_count, 1);
	assert_int_equal(p->allocators[1].chip_count, 8);
	assert_int_equal(p->allocators[1].chips[7], 7);
	assert_int_equal(p->allocators[3].books, BOOKS_VERDICT_UNREAD);
	assert_string_equal(p->allocators[3].why, "changing");
	assert_int_equal(buffer_of(p, 0x200)->allocator_id, 1);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_differences(void **state)
{
	static const uint64_t objects[] = {0x100, 0x900, 0x800};
	struct book_difference list[8];
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, 5 * MB);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, objects, 3, MB);
	case_census(&c, 1, NULL);
	assert_int_equal(model_book_differences(c.model, 1, list, 1), 3);
	assert_int_equal(model_book_differences(c.model, 1, list, 8), 3);
	assert_true(list[0].in_table);
	assert_int_equal(list[0].allocator, DEVICE + 1);
	assert_int_equal(list[0].type, MEMORY_DRAM);
	assert_int_equal(list[0].address, 0x2000);
	assert_int_equal(list[0].object, 0x200);
	assert_int_equal(list[0].serial, 2);
	assert_int_equal(list[0].size_bytes, 5 * MB);
	assert_false(list[1].in_table);
	assert_int_equal(list[1].address, 0x8000);
	assert_int_equal(list[1].object, 0);
	assert_int_equal(list[1].size_bytes, 2 * MB);
	assert_int_equal(list[2].address, 0x9000);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	/* Seen once it may be a matter of the moment. */
	assert_true(p->exact);
	assert_int_equal(p->allocators[0].books, BOOKS_VERDICT_DIFFERS);
	assert_int_equal(p->allocators[0].table_only, 1);
	assert_int_equal(p->allocators[0].books_only, 2);
	snapshot_free(snapshot);
	model_mark_inexact(c.model, 1, INEXACT_BOOKS_DIFFER, "twice");
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_BOOKS_DIFFER));
	snapshot_free(snapshot);
	/* The next census says it anew. */
	case_free(&c, 1, 0x200, DEVICE);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, objects, 1, MB);
	case_census(&c, 1, NULL);
	assert_int_equal(model_book_differences(c.model, 1, list, 8), 0);
	assert_int_equal(model_book_differences(c.model, 9, list, 8), 0);
	case_fini(&c);
}

/* Of many differences a hundred of each kind are kept; all are counted. */
static void test_many_differences(void **state)
{
	struct event_block blocks[300];
	struct event event = {.kind = EVENT_BOOKS};
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	for (uint64_t i = 0; i < 250; i++)
		case_found(&c, 1, 0x10000 + i, DEVICE, MEMORY_DRAM, 1);
	for (uint64_t i = 0; i < 300; i++)
		blocks[i] = (struct event_block){.address = 8 * i, .footprint_bytes = 32};
	event.books = (struct event_books){.allocator = DEVICE + 1,
					   .state = BOOKS_READ,
					   .blocks = blocks,
					   .block_count = 300};
	case_apply(&c, &event, 1);
	case_census(&c, 1, NULL);
	assert_int_equal(model_book_differences(c.model, 1, NULL, 0), 200);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->allocators[0].table_only, 250);
	assert_int_equal(p->allocators[0].books_only, 300);
	/* Its device was not told: its buffers know. */
	assert_int_equal(p->allocators[0].chip_count, 1);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_ids_stay(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, NULL, 0, 1);
	case_books(&c, 1, DEVICE, MEMORY_L1, NULL, 0, 1);
	case_census(&c, 1, NULL);
	case_books(&c, 1, OTHER_DEVICE, MEMORY_DRAM, NULL, 0, 1);
	case_books(&c, 1, DEVICE, MEMORY_L1, NULL, 0, 1);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->allocator_count, 2); /* the first is not there any more */
	assert_int_equal(p->allocators[0].id, 1);
	assert_int_equal(p->allocators[1].id, 2);
	snapshot_free(snapshot);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, NULL, 0, 1);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->allocator_count, 1);
	assert_int_equal(p->allocators[0].id, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* More allocators over the years than are remembered. */
static void test_allocators_without_end(void **state)
{
	struct event event = {.kind = EVENT_BOOKS};
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	uint64_t made = 0;

	(void)state;
	start(&c);
	for (int census = 0; census < 50; census++) {
		for (int i = 0; i < 1000; i++) {
			event.books = (struct event_books){.allocator = 0x100000 + made++,
							   .device_object = DEVICE,
							   .state = BOOKS_READ};
			case_apply(&c, &event, 1);
		}
		case_census(&c, 1, NULL);
	}
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->allocator_count, 1000);
	assert_int_equal(p->allocators[0].id, 49000);
	assert_int_equal(p->census->books_equal, 1000);
	snapshot_free(snapshot);
	/* More in one census than there is room for: said, not dropped in silence. */
	for (int i = 0; i < 20000; i++) {
		event.books.allocator = 0x100000 + made++;
		case_apply(&c, &event, 1);
	}
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->census->books_equal + p->census->books_unread, 20000);
	assert_true(p->census->books_unread > 0);
	assert_int_equal(c.err, 0);
	snapshot_free(snapshot);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->census->books_unread, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_exact_census_ends_attached_late(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	case_free(&c, 1, 0x900, DEVICE);
	case_census(&c, 1, "changing");
	snapshot = look(&c);
	assert_non_null(strstr(case_reason_text(case_find(snapshot, 1), INEXACT_ATTACHED_LATE), "(changing)"));
	assert_int_equal(case_find(snapshot, 1)->unmatched[0].verdict, UNMATCHED_BEFORE_ATTACH);
	assert_string_equal(case_find(snapshot, 1)->census->reason, "changing");
	snapshot_free(snapshot);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	assert_true(case_find(snapshot, 1)->exact);
	snapshot_free(snapshot);
	/* One that fails later takes nothing back. */
	case_census(&c, 1, "changing");
	snapshot = look(&c);
	assert_true(case_find(snapshot, 1)->exact);
	snapshot_free(snapshot);
	case_free(&c, 1, 0x901, DEVICE);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->unmatched[1].verdict, UNMATCHED_UNKNOWN);
	assert_false(case_has_reason(case_find(snapshot, 1), INEXACT_ATTACHED_LATE));
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_UNMATCHED_FREE));
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Without a runtime's word, and with more than one runtime. */
static void test_exact_census_is_of_one_runtime(void **state)
{
	struct event event = {.kind = EVENT_RUNTIME};
	struct event census = {.kind = EVENT_CENSUS, .census = {.exact = true, .runtime = 1}};
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_census(&c, 1, "partial");
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_ATTACHED_LATE));
	snapshot_free(snapshot);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	assert_true(case_find(snapshot, 1)->exact);
	snapshot_free(snapshot);
	case_census(&c, 1, "partial");
	snapshot = look(&c);
	assert_true(case_find(snapshot, 1)->exact);
	snapshot_free(snapshot);
	case_runtime(&c, 1, 5, true);
	event.runtime = (struct event_runtime){.runtime = 1, .name = "tt-metal", .earlier_objects = -1};
	case_apply(&c, &event, 1);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_ATTACHED_LATE));
	snapshot_free(snapshot);
	case_apply(&c, &census, 1);
	snapshot = look(&c);
	assert_true(case_find(snapshot, 1)->exact);
	snapshot_free(snapshot);
	/* Found anew, it may have buffers again that nobody saw. */
	case_runtime(&c, 1, 6, true);
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_ATTACHED_LATE));
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Each runtime's books stay until the next census of that runtime. */
static void test_books_of_two_runtimes(void **state)
{
	static const uint64_t one[] = {0x100};
	struct event census = {.kind = EVENT_CENSUS, .census = {.exact = true, .runtime = 1}};
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	case_found(&c, 1, 0x200, OTHER_DEVICE, MEMORY_DRAM, MB);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, one, 1, MB);
	case_apply(&c, &census, 1);
	case_books(&c, 1, OTHER_DEVICE, MEMORY_DRAM, NULL, 0, MB);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->allocator_count, 2);
	assert_int_equal(case_find(snapshot, 1)->census->books_differ, 1);
	assert_int_equal(model_book_differences(c.model, 1, NULL, 0), 2);
	snapshot_free(snapshot);
	case_apply(&c, &census, 1);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->allocator_count, 1);
	assert_int_equal(case_find(snapshot, 1)->allocators[0].id, 1);
	/* It is a buffer of the other runtime, so not one that this census left unchecked. */
	assert_int_equal(case_find(snapshot, 1)->census->unchecked_buffers, 0);
	assert_int_equal(model_book_differences(c.model, 1, NULL, 0), 1);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Books alone prove that nothing older is missing only if every block has its buffer. */
static void test_books_only(void **state)
{
	static const uint64_t objects[] = {0x100};
	struct event census = {.kind = EVENT_CENSUS, .census = {.exact = true, .books_only = true}};
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, objects, 1, MB);
	case_apply(&c, &census, 1);
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_ATTACHED_LATE));
	snapshot_free(snapshot);
	case_books_unread(&c, 1, DEVICE, MEMORY_DRAM, "changing");
	case_apply(&c, &census, 1);
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_ATTACHED_LATE));
	snapshot_free(snapshot);
	case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_books(&c, 1, DEVICE, MEMORY_DRAM, objects, 1, MB);
	case_apply(&c, &census, 1);
	snapshot = look(&c);
	assert_true(case_find(snapshot, 1)->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_resynchronise(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	uint64_t now;

	(void)state;
	start(&c);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, 2 * MB);
	case_alloc(&c, 1, 0x200, OTHER_DEVICE, MEMORY_L1, MB);
	case_alloc(&c, 1, 0x300, OTHER_DEVICE, MEMORY_L1, MB);
	case_bulk_free(&c, 1, OTHER_DEVICE + 1);
	case_object(&c, 1, EVENT_UNSURE, 0x200);
	case_free(&c, 1, 0x999, DEVICE);
	case_free(&c, 1, 0x999, DEVICE);
	case_lost(&c, 1, 3, 4);
	case_census(&c, 1, "changing");
	model_mark_inexact(c.model, 1, INEXACT_BOOKS_DIFFER, "x");
	now = c.clock_ns;
	assert_int_equal(model_resynchronise(c.model, 1, now), 0);
	assert_int_equal(model_live_count(c.model), 0);
	assert_int_equal(model_held_count(c.model), 0);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_false(p->exact);
	assert_int_equal(p->reason_count, 1);
	assert_non_null(strstr(case_reason_text(p, INEXACT_ATTACHED_LATE), "being rebuilt"));
	assert_null(p->census);
	assert_int_equal(p->resynchronised, 1);
	assert_int_equal(p->observed_ns, now);
	assert_int_equal(p->allocated + p->missed_frees + p->held_at_close + p->unknown_frees + p->double_frees, 0);
	assert_int_equal(p->uncertain + p->lost_records + p->live + p->held + p->buffer_count, 0);
	assert_int_equal(p->device_count + p->closure_count + p->unmatched_count, 0);
	snapshot_free(snapshot);
	case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_found(&c, 1, 0x300, OTHER_DEVICE, MEMORY_L1, MB);
	case_census(&c, 1, "changing");
	snapshot = look(&c);
	assert_non_null(strstr(case_reason_text(case_find(snapshot, 1), INEXACT_ATTACHED_LATE), "(changing)"));
	snapshot_free(snapshot);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_true(p->exact);
	assert_true(snapshot->exact);
	assert_int_equal(snapshot->lost_records, 0);
	assert_int_equal(p->before_attach, 2);
	assert_int_equal(case_figures(p, 0, MEMORY_DRAM)->peak_bytes, MB);
	assert_int_equal(case_figures(p, 0, MEMORY_DRAM)->peak_bytes_ns, now);
	assert_int_equal(case_figures(p, 7, MEMORY_L1)->live_buffers, 1);
	assert_null(case_figures(p, 7, MEMORY_DRAM));
	snapshot_free(snapshot);
	/* It goes on as usual. */
	case_free(&c, 1, 0x300, OTHER_DEVICE);
	case_close(&c, 1, DEVICE);
	case_bulk_free(&c, 1, DEVICE + 1);
	case_object(&c, 1, EVENT_RELEASE, 0x100);
	case_free(&c, 1, 0x300, OTHER_DEVICE);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->freed, 1);
	assert_int_equal(p->held_released, 1);
	assert_int_equal(p->double_frees, 1);
	assert_true(p->exact);
	snapshot_free(snapshot);
	case_exit(&c, 1, 0, 0);
	assert_int_equal(model_resynchronise(c.model, 1, now), -ENOENT);
	assert_int_equal(model_resynchronise(c.model, 9, now), -ENOENT);
	case_fini(&c);
}

/* Devices that only dropped buffers were on go away. */
static void test_resynchronise_lets_go(void **state)
{
	struct model_case c;
	size_t bytes = 0;

	(void)state;
	start(&c);
	for (int32_t i = 0; i < 200; i++) {
		case_device(&c, 1, 0x7000, i % 2, 1);
		case_alloc(&c, 1, 0x100, 0x7000, MEMORY_DRAM, MB);
		case_books(&c, 1, 0x7000, MEMORY_DRAM, NULL, 0, 1);
		case_census(&c, 1, NULL);
		model_resynchronise(c.model, 1, c.clock_ns);
		if (i == 20)
			bytes = model_memory_bytes(c.model);
	}
	assert_int_equal(model_memory_bytes(c.model), bytes);
	case_fini(&c);
}

/* The event does it too; what was told before it of a census under way is kept. Losses of others stay theirs. */
static void test_restart_event(void **state)
{
	static const uint64_t objects[] = {0x100};
	struct event restart = {.kind = EVENT_RESTART};
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	case_birth(&c, 2, BIRTH_LAUNCH, 0);
	case_alloc(&c, 2, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_lost(&c, 2, 1, 0);
	case_lost(&c, 1, 1, 0);
	for (int i = 0; i < 3; i++) {
		case_books(&c, 1, DEVICE, MEMORY_DRAM, objects, 1, MB);
		case_apply(&c, &restart, 1);
		case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
		case_census(&c, 1, NULL);
	}
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->resynchronised, 3);
	assert_true(case_find(snapshot, 1)->exact);
	assert_int_equal(case_find(snapshot, 1)->allocators[0].books, BOOKS_VERDICT_EQUAL);
	assert_int_equal(case_find(snapshot, 2)->live, 1);
	assert_false(case_find(snapshot, 2)->exact);
	assert_int_equal(snapshot->lost_records, 1);
	assert_int_equal(model_live_count(c.model), 2);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* A child's copies of its parent's objects stay its parent's, whenever its table began. */
static void test_inherited_after_a_restart(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_birth(&c, 2, BIRTH_FORK, 1);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	model_resynchronise(c.model, 2, c.clock_ns);
	case_census(&c, 2, NULL);
	case_free(&c, 2, 0x100, DEVICE);
	case_free(&c, 2, 0x200, DEVICE);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 2)->unmatched[0].verdict, UNMATCHED_INHERITED);
	assert_int_equal(case_find(snapshot, 2)->unmatched[1].verdict, UNMATCHED_UNKNOWN);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* After the end the books are shown only if they are of the end. */
static void test_books_after_the_end(void **state)
{
	static const uint64_t objects[] = {0x100};
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	for (int stale = 0; stale < 2; stale++) {
		start(&c);
		case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
		case_books(&c, 1, DEVICE, MEMORY_DRAM, objects, 1, MB);
		case_census(&c, 1, NULL);
		if (stale)
			case_alloc(&c, 1, 0x200, DEVICE, MEMORY_L1, MB);
		case_exit(&c, 1, 0, 6);
		snapshot = look(&c);
		p = case_find(snapshot, 1);
		assert_int_equal(p->allocator_count, stale ? 0 : 1);
		assert_int_equal(buffer_of(p, 0x100)->allocator_id, stale ? SNAPSHOT_NO_ALLOCATOR : 0);
		assert_int_equal(buffer_of(p, 0x100)->footprint_bytes, 2 * MB);
		assert_non_null(p->census);
		snapshot_free(snapshot);
		case_fini(&c);
	}
}

static void test_snapshot_outlives(void **state)
{
	char why[] = "damaged";
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	case_books_unread(&c, 1, OTHER_DEVICE, MEMORY_DRAM, why);
	case_census(&c, 1, "a reason that is longer than any reason there is");
	memset(why, 'x', sizeof(why) - 1);
	snapshot = look(&c);
	case_fini(&c);
	assert_string_equal(snapshot->processes[0].allocators[0].why, "damaged");
	assert_int_equal(snapshot->processes[0].allocators[0].chips[7], 7);
	assert_memory_equal(snapshot->processes[0].census->reason, "a reason", 8);
	snapshot_free(snapshot);
}

/* A million buffers and their books: right, and within the bounds that store.h promises. */
static void test_large(void **state)
{
	enum { COUNT = 200000 };
	struct event_block *blocks = calloc(COUNT, sizeof(*blocks));
	struct event event = {.kind = EVENT_BOOKS};
	struct snapshot *snapshot;
	struct model_case c;
	size_t before;

	(void)state;
	start(&c);
	for (uint64_t i = 0; i < COUNT; i++) {
		blocks[i] = (struct event_block){.address = i * 0x400 * 16, .footprint_bytes = i + 1};
		case_found(&c, 1, i * 0x400, DEVICE, MEMORY_DRAM, 1);
	}
	before = model_memory_bytes(c.model);
	assert_true(before < COUNT * 64 + 100000);
	event.books = (struct event_books){.allocator = DEVICE + 1,
					   .state = BOOKS_READ,
					   .blocks = blocks,
					   .block_count = COUNT};
	case_apply(&c, &event, 1);
	assert_true(model_memory_bytes(c.model) >= before + COUNT * 17);
	case_census(&c, 1, NULL);
	assert_true(model_memory_bytes(c.model) < before + 10000);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->census->books_equal, 1);
	for (size_t i = 0; i < COUNT; i += 999) {
		const struct snapshot_buffer *b = &case_find(snapshot, 1)->buffers[i];

		assert_int_equal(b->footprint_bytes, b->object / 0x400 + 1);
	}
	snapshot_free(snapshot);
	case_fini(&c);
	free(blocks);
}

static void test_too_many_blocks(void **state)
{
	struct event_block block = {0};
	struct event event = {.kind = EVENT_BOOKS};
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	start(&c);
	event.books = (struct event_books){.allocator = DEVICE + 1,
					   .state = BOOKS_READ,
					   .blocks = &block,
					   .block_count = 8000001};
	case_apply(&c, &event, 1);
	event.books.type = (enum memory_type)9;
	case_apply(&c, &event, 1);
	case_census(&c, 1, NULL);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->census->books_unread, 2);
	assert_int_equal(case_find(snapshot, 1)->allocators[0].books, BOOKS_VERDICT_UNREAD);
	snapshot_free(snapshot);
	assert_int_equal(c.err, 0);
	case_fini(&c);
}

/* One allocation after the other fails: never a verdict "equal" that was not found. */
static void test_out_of_memory(void **state)
{
	static const uint64_t objects[] = {0x100, 0x900};
	bool failed = true;

	(void)state;
	for (long n = 0; failed; n++) {
		const struct snapshot_process *p;
		struct snapshot *snapshot;
		struct model_case c;

		start(&c);
		case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
		case_found(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
		fail_alloc_at(n);
		case_books(&c, 1, DEVICE, MEMORY_DRAM, objects, 2, MB);
		case_census(&c, 1, NULL);
		failed = fail_alloc_off();
		snapshot = look(&c);
		p = case_find(snapshot, 1);
		assert_int_equal(p->census->books_equal, 0);
		assert_int_equal(p->census->books_differ + p->census->books_unread, 1);
		assert_int_equal(case_has_reason(p, INEXACT_OUT_OF_MEMORY), failed);
		assert_int_equal(c.err, failed ? -ENOMEM : 0);
		snapshot_free(snapshot);
		case_fini(&c);
		assert_true(n < 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seen_by_census_and_probe),
		cmocka_unit_test(test_not_the_same_buffer),
		cmocka_unit_test(test_footprints),
		cmocka_unit_test(test_books_equal),
		cmocka_unit_test(test_differences),
		cmocka_unit_test(test_many_differences),
		cmocka_unit_test(test_ids_stay),
		cmocka_unit_test(test_allocators_without_end),
		cmocka_unit_test(test_exact_census_ends_attached_late),
		cmocka_unit_test(test_exact_census_is_of_one_runtime),
		cmocka_unit_test(test_books_of_two_runtimes),
		cmocka_unit_test(test_books_only),
		cmocka_unit_test(test_resynchronise),
		cmocka_unit_test(test_resynchronise_lets_go),
		cmocka_unit_test(test_restart_event),
		cmocka_unit_test(test_inherited_after_a_restart),
		cmocka_unit_test(test_books_after_the_end),
		cmocka_unit_test(test_snapshot_outlives),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_too_many_blocks),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
