// SPDX-License-Identifier: BSD-2-Clause
/* The model's rules (model.h), one by one, then at random against a naive model, then without memory. */
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

/* Every notice as a letter, and the last one of each kind. */
struct heard {
	char letters[256];
	size_t count;
	struct notice last;
	struct snapshot_buffer buffer;
	struct snapshot_unmatched unmatched;
	uint32_t process;
	uint32_t parent_pid;
	int32_t first_chip;
	uint64_t serials[64];
};

static void hear(void *context, const struct notice *notice)
{
	static const char letter[] = "?AFHRCUMfxEXLrc";
	struct heard *heard = context;

	assert_true(heard->count < sizeof(heard->letters) - 1);
	heard->last = *notice;
	heard->process = notice->process ? notice->process->process : 0;
	switch (notice->kind) {
	case NOTICE_ALLOCATE:
	case NOTICE_FREE:
	case NOTICE_HOLD:
	case NOTICE_RELEASE:
	case NOTICE_MISSED_FREE:
		heard->buffer = *notice->buffer;
		heard->serials[heard->count % 64] = notice->buffer->serial;
		break;
	case NOTICE_UNMATCHED_FREE:
		heard->unmatched = *notice->unmatched;
		break;
	case NOTICE_CLOSE:
		heard->first_chip = notice->closed.chip_count ? notice->closed.chips[0] : -7;
		break;
	case NOTICE_FORK:
		heard->parent_pid = notice->fork.parent ? notice->fork.parent->pid : 0;
		break;
	default:
		break;
	}
	heard->letters[heard->count++] = letter[notice->kind];
	heard->letters[heard->count] = '\0';
}

static void listen_to(struct model_case *c, struct heard *heard)
{
	memset(heard, 0, sizeof(*heard));
	model_set_listener(c->model, hear, heard);
}

static void start(struct model_case *c, struct heard *heard)
{
	case_init(c);
	case_birth(c, 1, BIRTH_LAUNCH, 0);
	case_runtime(c, 1, 0, true);
	case_device(c, 1, DEVICE, 0, 1);
	listen_to(c, heard);
}

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

static void test_allocate_and_free(void **state)
{
	const struct snapshot_type *figures;
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;
	uint64_t at;

	(void)state;
	start(&c, &heard);
	at = c.clock_ns;
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, 4 * MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_L1, MB);
	assert_int_equal(heard.buffer.size_bytes, MB);
	assert_int_equal(heard.buffer.address, 0x2000);
	assert_int_equal(heard.buffer.allocated_ns, at + CASE_SECOND);
	assert_int_equal(heard.buffer.thread, 77);
	assert_int_equal(heard.buffer.chip_count, 1);
	assert_int_equal(model_live_count(c.model), 2);
	c.thread = 78;
	case_free(&c, 1, 0x100, DEVICE);
	/* As it was while live, not as the free saw it. */
	assert_int_equal(heard.buffer.size_bytes, 4 * MB);
	assert_int_equal(heard.buffer.serial, 1);
	assert_int_equal(heard.buffer.state, BUFFER_LIVE);
	assert_int_equal(heard.last.thread, 78);
	assert_string_equal(heard.letters, "AAF");
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->allocated, 2);
	assert_int_equal(p->freed, 1);
	assert_int_equal(p->live, 1);
	assert_true(p->exact && snapshot->exact);
	figures = case_figures(p, 0, MEMORY_DRAM);
	assert_int_equal(figures->live_buffers, 0);
	assert_int_equal(figures->peak_bytes, 4 * MB);
	assert_int_equal(figures->peak_bytes_ns, at);
	assert_int_equal(case_figures(p, 0, MEMORY_L1)->live_bytes, MB);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_peaks_of_bytes_and_of_buffers(void **state)
{
	const struct snapshot_type *figures;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;
	uint64_t at;

	(void)state;
	start(&c, &heard);
	at = c.clock_ns;
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, 100); /* at + 0 */
	case_free(&c, 1, 0x100, DEVICE);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, 10); /* at + 2 */
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_DRAM, 10); /* at + 3 */
	case_free(&c, 1, 0x200, DEVICE);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, 10); /* the same height again is no new peak */
	snapshot = look(&c);
	figures = case_figures(case_find(snapshot, 1), 0, MEMORY_DRAM);
	assert_int_equal(figures->peak_bytes, 100);
	assert_int_equal(figures->peak_bytes_ns, at);
	assert_int_equal(figures->peak_buffers, 2);
	assert_int_equal(figures->peak_buffers_ns, at + 3 * CASE_SECOND);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_mesh_counts_once_and_on_each_chip(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_device(&c, 1, OTHER_DEVICE, 0, 8);
	case_alloc(&c, 1, 0x100, OTHER_DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB / 2);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->allocated, 2);
	assert_int_equal(p->live, 2);
	assert_int_equal(p->device_count, 8);
	for (int32_t chip = 0; chip < 8; chip++) {
		const struct snapshot_type *figures = case_figures(p, chip, MEMORY_DRAM);

		assert_int_equal(p->devices[chip].device, chip);
		assert_int_equal(figures->live_buffers, chip ? 1 : 2);
		assert_int_equal(figures->live_bytes, chip ? MB : MB + MB / 2);
	}
	/* Largest first: eight times one MB before half a MB. */
	assert_int_equal(p->buffers[0].object, 0x100);
	assert_int_equal(p->buffers[0].chip_count, 8);
	assert_int_equal(p->buffers[0].chips[7], 7);
	snapshot_free(snapshot);
	case_free(&c, 1, 0x100, OTHER_DEVICE);
	snapshot = look(&c);
	assert_int_equal(case_figures(case_find(snapshot, 1), 5, MEMORY_DRAM)->live_buffers, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_allocation_on_a_live_object(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_L1, 2 * MB);
	assert_string_equal(heard.letters, "AMA");
	assert_int_equal(heard.serials[1], 1);
	assert_int_equal(heard.serials[2], 2);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->missed_frees, 1);
	assert_int_equal(p->live, 1);
	assert_int_equal(p->buffers[0].type, MEMORY_L1);
	assert_false(p->exact);
	assert_true(case_has_reason(p, INEXACT_MISSED_FREE));
	assert_false(snapshot->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* As on the real runtime: close, frees for a while, close again, then the allocator gives all back. */
static void test_close_then_bulk_free(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;
	uint64_t at;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, 2 * MB);
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_L1, 3 * MB);
	case_close(&c, 1, DEVICE);
	assert_int_equal(heard.last.closed.held_buffers, 0);
	assert_int_equal(heard.last.closed.device_object, DEVICE);
	assert_int_equal(heard.first_chip, 0);
	case_close(&c, 1, DEVICE);
	case_free(&c, 1, 0x200, DEVICE);
	assert_string_equal(heard.letters, "AAACF");
	assert_int_equal(model_held_count(c.model), 0);
	at = c.clock_ns;
	case_bulk_free(&c, 1, DEVICE + 1);
	assert_string_equal(heard.letters, "AAACFHHC");
	assert_int_equal(heard.serials[5], 1);
	assert_int_equal(heard.serials[6], 3);
	assert_int_equal(heard.last.closed.held_buffers, 2);
	assert_int_equal(heard.last.closed.held_bytes, 4 * MB);
	assert_int_equal(heard.last.closed.allocator, DEVICE + 1);
	assert_int_equal(heard.first_chip, 0);
	assert_int_equal(model_held_count(c.model), 2);
	assert_int_equal(model_live_count(c.model), 0);
	/* Nothing left to hold: nothing to say. */
	case_bulk_free(&c, 1, DEVICE + 1);
	assert_string_equal(heard.letters, "AAACFHHC");
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_true(p->exact);
	assert_int_equal(p->held_at_close, 2);
	assert_int_equal(p->held, 2);
	assert_int_equal(p->live, 0);
	assert_int_equal(case_figures(p, 0, MEMORY_DRAM)->held_bytes, MB);
	assert_int_equal(case_figures(p, 0, MEMORY_DRAM)->live_bytes, 0);
	assert_int_equal(p->closure_count, 1);
	assert_int_equal(p->closures[0].buffers, 2);
	assert_int_equal(p->closures[0].bytes, 4 * MB);
	assert_int_equal(p->closures[0].time_ns, at);
	assert_int_equal(p->buffers[0].state, BUFFER_HELD);
	assert_int_equal(p->buffers[0].held_ns, at);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_bulk_free_takes_only_its_allocator(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_device(&c, 1, OTHER_DEVICE, 1, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, OTHER_DEVICE, MEMORY_DRAM, MB);
	case_birth(&c, 2, BIRTH_ATTACH, 0);
	case_device(&c, 2, DEVICE, 0, 1);
	case_alloc(&c, 2, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_bulk_free(&c, 1, DEVICE + 1);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->held, 1);
	assert_int_equal(case_find(snapshot, 1)->live, 1);
	assert_int_equal(case_find(snapshot, 2)->held, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_close_holds_at_once_without_a_bulk_free_probe(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_runtime(&c, 1, 0, false);
	case_device(&c, 1, OTHER_DEVICE, 1, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, OTHER_DEVICE, MEMORY_DRAM, MB);
	case_close(&c, 1, DEVICE);
	assert_string_equal(heard.letters, "rAAHC");
	assert_int_equal(heard.last.closed.held_buffers, 1);
	assert_int_equal(heard.last.closed.device_object, DEVICE);
	case_close(&c, 1, DEVICE);
	assert_string_equal(heard.letters, "rAAHC");
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->held, 1);
	assert_int_equal(case_find(snapshot, 1)->live, 1);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_close_of_an_unknown_device(void **state)
{
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_close(&c, 1, 0xdead);
	case_bulk_free(&c, 1, 0xdead);
	assert_string_equal(heard.letters, "");
	case_fini(&c);
}

static void test_end_of_held_buffers(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	for (uint64_t i = 1; i <= 4; i++)
		case_alloc(&c, 1, i << 8, DEVICE, MEMORY_DRAM, MB);
	/* A live object's destruction is none of our business. */
	case_object(&c, 1, EVENT_RELEASE, 0x100);
	assert_string_equal(heard.letters, "AAAA");
	case_bulk_free(&c, 1, DEVICE + 1);
	listen_to(&c, &heard);
	case_object(&c, 1, EVENT_RELEASE, 0x100);
	case_free(&c, 1, 0x200, DEVICE);
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_DRAM, MB);
	case_object(&c, 1, EVENT_RELEASE, 0x999);
	assert_string_equal(heard.letters, "RRRA");
	assert_int_equal(model_held_count(c.model), 1);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->held_released, 3);
	assert_int_equal(p->held, 1);
	assert_int_equal(p->live, 1);
	assert_int_equal(p->freed, 0);
	assert_int_equal(p->missed_frees, 0);
	assert_int_equal(p->closures[0].buffers, 1);
	assert_true(p->exact);
	snapshot_free(snapshot);
	case_object(&c, 1, EVENT_RELEASE, 0x400);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->closure_count, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_uncertain(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	case_object(&c, 1, EVENT_UNSURE, 0x100); /* live: no question */
	case_bulk_free(&c, 1, DEVICE + 1);
	case_object(&c, 1, EVENT_UNSURE, 0x100);
	case_object(&c, 1, EVENT_UNSURE, 0x100);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->uncertain, 1);
	assert_int_equal(p->held, 2);
	assert_false(p->exact);
	assert_true(case_has_reason(p, INEXACT_UNCERTAIN));
	assert_int_equal(case_figures(p, 0, MEMORY_DRAM)->held_buffers, 2);
	snapshot_free(snapshot);
	/* Its end is seen after all: then nothing is uncertain any more. */
	case_object(&c, 1, EVENT_RELEASE, 0x100);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->uncertain, 0);
	assert_true(p->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void visit_held(void *context, uint32_t process, const struct event_buffer *buffer)
{
	uint64_t *sum = context;

	assert_int_equal(process, 1);
	assert_int_equal(buffer->device_object, DEVICE);
	assert_int_equal(buffer->size_bytes, MB);
	assert_int_equal(buffer->type, MEMORY_TRACE);
	*sum += buffer->object;
}

static void test_visit_held(void **state)
{
	struct model_case c;
	struct heard heard;
	uint64_t sum = 0;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_TRACE, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_TRACE, MB);
	model_visit_held(c.model, visit_held, &sum);
	assert_int_equal(sum, 0);
	case_bulk_free(&c, 1, DEVICE + 1);
	case_alloc(&c, 1, 0x400, DEVICE, MEMORY_TRACE, MB);
	model_visit_held(c.model, visit_held, &sum);
	assert_int_equal(sum, 0x300);
	case_exit(&c, 1, 0, 0);
	model_visit_held(c.model, visit_held, &sum);
	assert_int_equal(sum, 0x300);
	assert_int_equal(model_held_count(c.model), 0);
	assert_int_equal(model_live_count(c.model), 0);
	case_fini(&c);
}

static void test_device_object_used_again(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	case_close(&c, 1, DEVICE);
	case_bulk_free(&c, 1, DEVICE + 1);
	case_device(&c, 1, DEVICE, 4, 2);
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_DRAM, MB);
	listen_to(&c, &heard);
	/* The new opening has its own close. */
	case_close(&c, 1, DEVICE);
	assert_string_equal(heard.letters, "C");
	assert_int_equal(heard.first_chip, 4);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->live, 1);
	assert_int_equal(p->held, 2);
	assert_int_equal(case_figures(p, 0, MEMORY_DRAM)->held_buffers, 2);
	assert_int_equal(case_figures(p, 4, MEMORY_DRAM)->live_buffers, 1);
	assert_int_equal(case_figures(p, 5, MEMORY_DRAM)->live_buffers, 1);
	assert_true(p->exact);
	snapshot_free(snapshot);
	case_free(&c, 1, 0x100, DEVICE);
	case_free(&c, 1, 0x200, DEVICE);
	case_free(&c, 1, 0x300, DEVICE);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->buffer_count, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Opened again with the same chips it is a new opening all the same: its close is told. */
static void test_device_opened_again(void **state)
{
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_close(&c, 1, DEVICE);
	case_device(&c, 1, DEVICE, 0, 1);
	case_close(&c, 1, DEVICE);
	case_close(&c, 1, DEVICE);
	assert_string_equal(heard.letters, "CC");
	case_fini(&c);
}

/* What has come and gone leaves nothing behind, however often: openings, shapes, closes, children. */
static void test_memory_does_not_grow(void **state)
{
	struct model_case c;
	struct heard heard;
	size_t settled = 0;

	(void)state;
	start(&c, &heard);
	model_set_listener(c.model, NULL, NULL);
	/* The last round is like the 31st: as many chips. */
	for (uint32_t i = 0; i <= 3000; i++) {
		case_device(&c, 1, DEVICE, (int32_t)(i % 2), 1 + i % 3);
		for (uint64_t object = 0x100; object < 0x110; object++)
			case_alloc(&c, 1, object, DEVICE, (enum memory_type)(object & 3), MB + i);
		case_close(&c, 1, DEVICE);
		case_bulk_free(&c, 1, DEVICE + 1);
		case_object(&c, 1, EVENT_UNSURE, 0x105);
		for (uint64_t object = 0x100; object < 0x110; object++)
			case_object(&c, 1, EVENT_RELEASE, object);
		case_birth(&c, 10 + i, BIRTH_FORK, 1);
		case_exit(&c, 10 + i, 0, 0);
		if (i == 30)
			settled = model_memory_bytes(c.model);
	}
	assert_int_equal(model_memory_bytes(c.model), settled);
	assert_int_equal(c.err, 0);
	case_fini(&c);
}

/* The same device object told twice is one; with other chips, without a close seen, it is a new one. */
static void test_device_told_again(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_device(&c, 1, DEVICE, 0, 1);
	case_device(&c, 1, DEVICE, 3, 1);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(case_figures(p, 0, MEMORY_DRAM)->live_buffers, 1);
	assert_int_equal(case_figures(p, 3, MEMORY_DRAM)->live_buffers, 1);
	assert_int_equal(p->device_count, 2);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* What is live on a closed device whose bulk free never came stays live. */
static void test_close_alone_holds_nothing(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_close(&c, 1, DEVICE);
	case_device(&c, 1, DEVICE, 0, 1);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->live, 1);
	assert_int_equal(case_find(snapshot, 1)->held, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_unknown_device(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_device(&c, 1, OTHER_DEVICE, 0, 0);
	case_alloc(&c, 1, 0x100, OTHER_DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, 0x7777, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_DRAM, MB);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->device_count, 2);
	assert_int_equal(p->devices[1].device, -1);
	assert_int_equal(case_figures(p, -1, MEMORY_DRAM)->live_buffers, 2);
	assert_true(case_has_reason(p, INEXACT_UNKNOWN_DEVICE));
	assert_int_equal(p->buffers[0].chip_count, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_chips_cut_off(void **state)
{
	struct event event = {.kind = EVENT_DEVICE};
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	event.device.device_object = OTHER_DEVICE;
	event.device.readable = true;
	event.device.chip_count = EVENT_MAX_CHIPS;
	event.device.cut_off = 2;
	for (int32_t i = 0; i < EVENT_MAX_CHIPS; i++)
		event.device.chips[i] = i;
	case_apply(&c, &event, 1);
	case_alloc(&c, 1, 0x100, OTHER_DEVICE, MEMORY_DRAM, MB);
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_UNKNOWN_DEVICE));
	assert_int_equal(case_find(snapshot, 1)->device_count, EVENT_MAX_CHIPS);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_faults(void **state)
{
	struct event event = case_buffer_event(EVENT_ALLOCATE, 0x100, DEVICE, MEMORY_DRAM, MB);
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	event.buffer.fault = BUFFER_FAULT_UNREADABLE;
	case_apply(&c, &event, 1);
	event.buffer.object = 0x200;
	event.buffer.fault = BUFFER_FAULT_IMPLAUSIBLE;
	case_apply(&c, &event, 1);
	event.buffer.object = 0x300;
	event.buffer.fault = BUFFER_FAULT_NONE;
	event.buffer.type = (enum memory_type)17;
	case_apply(&c, &event, 1);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->live, 3);
	assert_true(case_has_reason(p, INEXACT_UNREADABLE));
	assert_string_equal(case_reason_text(p, INEXACT_IMPLAUSIBLE),
			    "2 buffer objects made no sense in the known layout");
	/* What was not read is not made up. */
	assert_int_equal(case_figures(p, -1, MEMORY_TYPE_COUNT)->live_buffers, 2);
	assert_int_equal(case_figures(p, -1, MEMORY_TYPE_COUNT)->live_bytes, 0);
	assert_int_equal(case_figures(p, 0, MEMORY_TYPE_COUNT)->live_bytes, MB);
	snapshot_free(snapshot);
	case_free(&c, 1, 0x100, DEVICE);
	case_free(&c, 1, 0x200, DEVICE);
	case_free(&c, 1, 0x300, DEVICE);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->freed, 3);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_exit_clears(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_device(&c, 1, OTHER_DEVICE, 0, 2);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_bulk_free(&c, 1, DEVICE + 1);
	case_alloc(&c, 1, 0x200, OTHER_DEVICE, MEMORY_DRAM, MB);
	case_exit(&c, 1, 0, 9);
	assert_string_equal(heard.letters, "AHCAEX");
	assert_int_equal(heard.last.cleared.buffers, 2);
	assert_int_equal(heard.last.cleared.device_buffers, 3);
	assert_int_equal(heard.last.cleared.bytes, 3 * MB);
	/* Once is enough; and the dead do nothing. */
	case_exit(&c, 1, 0, 0);
	case_exec(&c, 1);
	case_alloc(&c, 1, 0x900, DEVICE, MEMORY_DRAM, MB);
	case_free(&c, 1, 0x200, DEVICE);
	assert_string_equal(heard.letters, "AHCAEX");
	assert_int_equal(model_ignored_events(c.model), 4);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->end, PROCESS_SIGNALLED);
	assert_int_equal(p->signal, 9);
	assert_int_equal(p->exit_status, -1);
	assert_int_equal(p->cleared, 2);
	assert_int_equal(p->live, 1);
	assert_int_equal(p->held, 1);
	assert_int_equal(p->buffer_count, 2);
	assert_int_equal(case_figures(p, 1, MEMORY_DRAM)->live_buffers, 1);
	assert_true(p->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_exit_with_nothing_clears_nothing(void **state)
{
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_free(&c, 1, 0x100, DEVICE);
	case_exit(&c, 1, 3, 0);
	assert_string_equal(heard.letters, "AFE");
	assert_int_equal(heard.last.exit.status, 3);
	case_fini(&c);
}

static void test_ended_are_dropped_without_keep(void **state)
{
	struct model_options options = {.keep_ended = false};
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	case_init(&c);
	model_free(c.model);
	c.model = model_new(&options);
	listen_to(&c, &heard);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_device(&c, 1, DEVICE, 0, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_exit(&c, 1, 0, 0);
	assert_string_equal(heard.letters, "AEX");
	case_exit(&c, 1, 0, 0);
	case_free(&c, 1, 0x100, DEVICE);
	assert_string_equal(heard.letters, "AEX");
	assert_int_equal(model_ignored_events(c.model), 2);
	snapshot = look(&c);
	assert_int_equal(snapshot->process_count, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

static bool is_second(const void *context, uint32_t process)
{
	return process == *(const uint32_t *)context;
}

/* For who keeps it, and only until the last of them has let it go. */
static void test_ended_is_kept_for_somebody(void **state)
{
	struct model_options options = {.keep_ended = false};
	struct snapshot *snapshot;
	struct model_case c;
	uint32_t second = 2;

	(void)state;
	case_init(&c);
	model_free(c.model);
	c.model = model_new(&options);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_birth(&c, 2, BIRTH_ATTACH, 0);
	assert_int_equal(model_keep(c.model, 2), 0);
	assert_int_equal(model_keep(c.model, 2), 0);
	assert_int_equal(model_keep(c.model, 3), -ENOENT);
	snapshot = look(&c);
	assert_int_equal(snapshot->process_count, 0); /* uses nothing; it was named to somebody else */
	snapshot_free(snapshot);
	case_device(&c, 2, DEVICE, 0, 1);
	case_alloc(&c, 2, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_exit(&c, 1, 0, 0);
	case_exit(&c, 2, 0, 0);
	assert_int_equal(model_process_bytes(c.model, 1), 0);
	assert_true(model_process_bytes(c.model, 2) > 0);
	assert_int_equal(model_live_count(c.model), 0);
	snapshot = look(&c);
	assert_int_equal(snapshot->process_count, 0);
	snapshot_free(snapshot);
	model_release(c.model, 2);
	snapshot = model_snapshot_of(c.model, c.clock_ns, is_second, &second);
	assert_int_equal(snapshot->process_count, 1);
	assert_int_equal(snapshot->processes[0].cleared, 1);
	snapshot_free(snapshot);
	model_release(c.model, 2);
	model_release(c.model, 2);
	assert_int_equal(model_process_bytes(c.model, 2), 0);
	case_fini(&c);
}

static void test_fork_starts_empty(void **state)
{
	const struct snapshot_process *child;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_birth_command(&c, 2, BIRTH_FORK, 1, "", 0);
	assert_string_equal(heard.letters, "Af");
	assert_int_equal(heard.process, 2);
	assert_int_equal(heard.parent_pid, 12345);
	snapshot = look(&c);
	assert_null(case_find(snapshot, 2)); /* did nothing yet */
	snapshot_free(snapshot);
	case_device(&c, 2, DEVICE, 0, 1);
	case_alloc(&c, 2, 0x300, DEVICE, MEMORY_L1, MB);
	snapshot = look(&c);
	child = case_find(snapshot, 2);
	assert_int_equal(child->live, 1);
	assert_int_equal(child->user, 1000);
	assert_int_equal(child->command_len, sizeof("python3\0demo.py"));
	assert_memory_equal(child->command, "python3\0demo.py", child->command_len);
	assert_string_equal(child->cgroup, "/user.slice");
	assert_string_equal(child->parent_id, case_find(snapshot, 1)->id);
	assert_string_equal(child->id, "12346.999000000000.0");
	assert_int_equal(case_find(snapshot, 1)->live, 1);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_exec_clears_and_goes_on(void **state)
{
	const struct snapshot_process *old, *new;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_exec(&c, 1);
	case_birth(&c, 2, BIRTH_EXEC, 1);
	assert_string_equal(heard.letters, "AxX");
	snapshot = look(&c);
	old = case_find(snapshot, 1);
	assert_int_equal(old->end, PROCESS_EXECED);
	assert_int_equal(old->cleared, 1);
	assert_null(case_find(snapshot, 2));
	snapshot_free(snapshot);
	case_runtime(&c, 2, 0, true);
	snapshot = look(&c);
	new = case_find(snapshot, 2);
	assert_non_null(new);
	assert_int_equal(new->live, 0);
	assert_string_equal(new->id, "12345.999000000000.1");
	assert_string_equal(new->parent_id, "12345.999000000000.0");
	snapshot_free(snapshot);
	case_fini(&c);
}

/* bufscope run: fork, stop, exec. One entry, the command's. */
static void test_launch_and_exec_are_one(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	uint64_t at;

	(void)state;
	case_init(&c);
	at = c.clock_ns;
	case_birth_command(&c, 1, BIRTH_LAUNCH, 0, "bufscope\0run", sizeof("bufscope\0run"));
	case_exec(&c, 1);
	case_birth_command(&c, 2, BIRTH_EXEC, 1, "env\0demo", sizeof("env\0demo"));
	case_exec(&c, 2);
	case_birth_command(&c, 3, BIRTH_EXEC, 2, "demo", sizeof("demo"));
	snapshot = look(&c);
	assert_int_equal(snapshot->process_count, 1);
	p = case_find(snapshot, 3);
	assert_non_null(p);
	assert_string_equal(p->command, "demo");
	assert_null(p->parent_id);
	assert_int_equal(p->observed_ns, at);
	snapshot_free(snapshot);
	/* Once it did something it is shown for itself, and its successor only for what that does. */
	case_runtime(&c, 3, 0, true);
	case_exec(&c, 3);
	case_birth(&c, 4, BIRTH_EXEC, 3);
	case_exit(&c, 4, 0, 0);
	snapshot = look(&c);
	assert_int_equal(snapshot->process_count, 1);
	assert_non_null(case_find(snapshot, 3));
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_who_is_shown(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_birth(&c, 2, BIRTH_FORK, 1);
	case_birth(&c, 3, BIRTH_FORK, 1);
	case_birth(&c, 4, BIRTH_FORK, 1);
	case_runtime(&c, 4, 0, true);
	case_free(&c, 3, 0x100, DEVICE);
	case_exit(&c, 2, 0, 0);
	case_exit(&c, 3, 0, 0);
	snapshot = look(&c);
	assert_int_equal(snapshot->process_count, 3);
	assert_int_equal(snapshot->processes[0].process, 1);
	assert_int_equal(snapshot->processes[1].process, 3);
	assert_int_equal(snapshot->processes[2].process, 4);
	snapshot_free(snapshot);
	/* A slot that was given back does not change the order of birth. */
	case_birth(&c, 5, BIRTH_ATTACH, 0);
	snapshot = look(&c);
	assert_int_equal(snapshot->process_count, 4);
	assert_int_equal(snapshot->processes[3].process, 5);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_attached_late(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_runtime(&c, 1, 42, true);
	case_birth(&c, 2, BIRTH_ATTACH, 0);
	case_runtime(&c, 2, -1, true);
	case_birth(&c, 3, BIRTH_ATTACH, 0);
	case_runtime(&c, 3, 0, true);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_false(p->exact);
	assert_non_null(strstr(case_reason_text(p, INEXACT_ATTACHED_LATE), "42 buffer objects"));
	p = case_find(snapshot, 2);
	assert_false(p->exact);
	assert_non_null(strstr(case_reason_text(p, INEXACT_ATTACHED_LATE), "could not be read"));
	assert_true(case_find(snapshot, 3)->exact);
	assert_false(snapshot->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_census_counts_as_before_attach(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	uint64_t kept;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_device(&c, 1, DEVICE, 0, 1);
	kept = c.clock_ns;
	c.clock_ns = 0;
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	c.clock_ns = kept;
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->before_attach, 1);
	assert_int_equal(p->allocated, 0);
	assert_int_equal(p->buffers[0].allocated_ns, 0);
	assert_int_equal(case_figures(p, 0, MEMORY_DRAM)->peak_bytes_ns, p->observed_ns);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_stops(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_LAUNCH, 0);
	case_stop(&c, 1, 1, 500);
	case_stop(&c, 1, 2, 70);
	case_stop(&c, 0, 4, 1000); /* whose is not known */
	case_exit(&c, 1, 0, 0);
	case_stop(&c, 1, 1, 9); /* it ended while it was stopped */
	snapshot = case_snapshot(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->stops, 4);
	assert_int_equal(p->stopped_ns, 579);
	assert_int_equal(snapshot->stops, 8);
	assert_int_equal(snapshot->stopped_ns, 1579);
	/* A stop loses nothing. */
	assert_true(p->exact && snapshot->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_lost_records(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_birth(&c, 2, BIRTH_ATTACH, 0);
	case_lost(&c, 1, 0, 0);
	assert_string_equal(heard.letters, "");
	case_lost(&c, 1, 3, 2);
	assert_string_equal(heard.letters, "L");
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->lost_records, 5);
	assert_int_equal(snapshot->lost_records, 5);
	assert_false(p->exact);
	assert_string_equal(case_reason_text(p, INEXACT_LOST_RECORDS),
			    "5 records lost (3 of allocations, 2 of frees, 0 others)");
	assert_true(case_find(snapshot, 2)->exact);
	assert_int_equal(snapshot->reason_count, 0);
	snapshot_free(snapshot);
	/* Nobody's: anybody's. Not those who come after. */
	case_lost(&c, 0, 1, 0);
	assert_int_equal(heard.process, 0);
	case_birth(&c, 3, BIRTH_ATTACH, 0);
	snapshot = look(&c);
	assert_int_equal(snapshot->lost_records, 6);
	assert_int_equal(snapshot->reason_count, 1);
	assert_string_equal(snapshot->reasons[0].reason, INEXACT_LOST_RECORDS);
	assert_int_equal(case_find(snapshot, 2)->lost_records, 0);
	assert_false(case_find(snapshot, 2)->exact);
	assert_true(case_find(snapshot, 3)->exact);
	snapshot_free(snapshot);
	/* The count may come after the end. */
	case_exit(&c, 3, 0, 0);
	case_lost(&c, 3, 1, 0);
	snapshot = look(&c);
	assert_false(case_find(snapshot, 3)->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_mark_inexact(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;
	char text[32];

	(void)state;
	start(&c, &heard);
	case_birth(&c, 2, BIRTH_ATTACH, 0);
	assert_int_equal(model_mark_inexact(c.model, 1, INEXACT_UNSUPPORTED, "a second copy"), 0);
	assert_int_equal(model_mark_inexact(c.model, 1, INEXACT_UNSUPPORTED, "a second copy"), 0);
	snapshot = look(&c);
	assert_int_equal(case_find(snapshot, 1)->reason_count, 1);
	assert_string_equal(case_find(snapshot, 1)->reasons[0].text, "a second copy");
	assert_true(case_find(snapshot, 2)->exact);
	snapshot_free(snapshot);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "number %d", i);
		assert_int_equal(model_mark_inexact(c.model, 0, INEXACT_UNSUPPORTED, text), 0);
	}
	case_birth(&c, 3, BIRTH_ATTACH, 0);
	snapshot = look(&c);
	assert_int_equal(snapshot->reason_count, 33);
	assert_string_equal(snapshot->reasons[32].text, "and 68 more");
	assert_false(case_find(snapshot, 2)->exact);
	assert_true(case_find(snapshot, 3)->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_unmatched_double(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;
	uint64_t at;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	at = c.clock_ns;
	case_free(&c, 1, 0x100, DEVICE);
	c.thread = 99;
	case_free(&c, 1, 0x100, DEVICE);
	assert_string_equal(heard.letters, "AFU");
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_DOUBLE);
	assert_int_equal(heard.unmatched.freed_ns, at);
	assert_int_equal(heard.unmatched.freed_thread, 77);
	assert_int_equal(heard.unmatched.thread, 99);
	/* Allocated again it is a new life. */
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_bulk_free(&c, 1, DEVICE + 1);
	case_object(&c, 1, EVENT_RELEASE, 0x100);
	case_free(&c, 1, 0x100, DEVICE);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_UNKNOWN);
	snapshot = look(&c);
	p = case_find(snapshot, 1);
	assert_int_equal(p->double_frees, 1);
	assert_int_equal(p->unknown_frees, 1);
	assert_int_equal(p->unmatched_count, 2);
	assert_int_equal(p->unmatched[0].chips[0], 0);
	assert_true(case_has_reason(p, INEXACT_UNMATCHED_FREE));
	snapshot_free(snapshot);
	case_fini(&c);
}

/* A double free is the program's fault, not the table's. */
static void test_double_free_stays_exact(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_free(&c, 1, 0x100, DEVICE);
	case_free(&c, 1, 0x100, DEVICE);
	snapshot = look(&c);
	assert_true(case_find(snapshot, 1)->exact);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_double_is_not_claimed_across_a_loss(void **state)
{
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_free(&c, 1, 0x100, DEVICE);
	case_lost(&c, 1, 1, 0);
	case_free(&c, 1, 0x100, DEVICE);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_LOST);
	case_fini(&c);
}

static void test_unmatched_inherited(void **state)
{
	struct model_case c;
	struct heard heard;

	(void)state;
	start(&c, &heard);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_DRAM, MB);
	case_birth(&c, 2, BIRTH_FORK, 1);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	case_free(&c, 2, 0x100, DEVICE);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_INHERITED);
	case_free(&c, 2, 0x200, DEVICE);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_UNKNOWN);
	/* Also when the parent has ended meanwhile. */
	case_exit(&c, 1, 0, 0);
	case_free(&c, 2, 0x300, DEVICE);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_INHERITED);
	case_fini(&c);
}

static void test_unmatched_before_attach_and_limit(void **state)
{
	struct event event = {.kind = EVENT_FREE};
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_birth(&c, 2, BIRTH_LAUNCH, 0);
	case_runtime(&c, 2, -1, true);
	case_device(&c, 2, DEVICE, 4, 1);
	listen_to(&c, &heard);
	event.buffer.object = 0x100;
	event.buffer.fault = BUFFER_FAULT_UNREADABLE;
	case_apply(&c, &event, 1);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_BEFORE_ATTACH);
	assert_false(heard.unmatched.readable);
	for (uint64_t i = 0; i < 10; i++)
		case_free(&c, 2, 0x1000 + i, DEVICE);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_BEFORE_ATTACH);
	assert_int_equal(heard.unmatched.address, (0x1000 + 9) * 16);
	snapshot = look(&c);
	p = case_find(snapshot, 2);
	assert_int_equal(p->unknown_frees, 10);
	assert_int_equal(p->unmatched_count, 3);
	assert_int_equal(p->unmatched[2].object, 0x1002);
	assert_int_equal(p->unmatched[2].chips[0], 4);
	assert_int_equal(p->freed, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Attached, but the runtime proves that nothing was there before: then the free is a riddle. */
static void test_unmatched_after_proof(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;
	struct heard heard;

	(void)state;
	case_init(&c);
	listen_to(&c, &heard);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_free(&c, 1, 0x100, DEVICE);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_BEFORE_ATTACH);
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 1), INEXACT_ATTACHED_LATE));
	snapshot_free(snapshot);
	case_birth(&c, 2, BIRTH_ATTACH, 0);
	case_runtime(&c, 2, 0, true);
	case_free(&c, 2, 0x100, DEVICE);
	assert_int_equal(heard.unmatched.verdict, UNMATCHED_UNKNOWN);
	snapshot = look(&c);
	assert_true(case_has_reason(case_find(snapshot, 2), INEXACT_UNMATCHED_FREE));
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_never_born(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	case_alloc(&c, 9, 0x100, DEVICE, MEMORY_DRAM, MB);
	assert_int_equal(model_ignored_events(c.model), 1);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	assert_int_equal(model_ignored_events(c.model), 2);
	snapshot = look(&c);
	assert_int_equal(snapshot->process_count, 1);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* One process at random, against arrays that say what must come out. */
struct naive {
	int state[64]; /* 0 gone, 1 live, 2 held */
	uint64_t size[64];
	uint64_t allocated, freed, missed, released, unmatched, held_at_close;
};

static void naive_step(struct naive *naive, struct model_case *c, unsigned int what, unsigned int i)
{
	uint64_t device = i & 1 ? DEVICE : OTHER_DEVICE;

	if (what < 40) {
		naive->missed += naive->state[i] == 1;
		naive->released += naive->state[i] == 2;
		naive->state[i] = 1;
		naive->size[i] = 1 + c->clock_ns % 4096;
		naive->allocated++;
		case_alloc(c, 1, 0x100 + i, device, i & 2 ? MEMORY_L1 : MEMORY_DRAM, naive->size[i]);
	} else if (what < 80) {
		naive->freed += naive->state[i] == 1;
		naive->released += naive->state[i] == 2;
		naive->unmatched += naive->state[i] == 0;
		naive->state[i] = 0;
		case_free(c, 1, 0x100 + i, device);
	} else if (what < 90) {
		naive->released += naive->state[i] == 2;
		if (naive->state[i] == 2)
			naive->state[i] = 0;
		case_object(c, 1, EVENT_RELEASE, 0x100 + i);
	} else if (what < 94) {
		case_object(c, 1, EVENT_UNSURE, 0x100 + i);
	} else if (what < 96) {
		case_close(c, 1, device);
		case_device(c, 1, device, device == DEVICE ? 0 : 1, device == DEVICE ? 1 : 4);
	} else {
		for (unsigned int b = i & 1; b < 64; b += 2) {
			naive->held_at_close += naive->state[b] == 1;
			if (naive->state[b] == 1)
				naive->state[b] = 2;
		}
		case_bulk_free(c, 1, device + 1);
	}
}

static void naive_compare(const struct naive *naive, const struct model_case *c)
{
	struct snapshot *snapshot = look(c);
	const struct snapshot_process *p = case_find(snapshot, 1);
	uint64_t live = 0, held = 0, bytes = 0;

	for (int i = 0; i < 64; i++) {
		live += naive->state[i] == 1;
		held += naive->state[i] == 2;
		bytes += naive->state[i] ? naive->size[i] : 0;
	}
	for (size_t i = 0; i < p->buffer_count; i++)
		bytes -= p->buffers[i].size_bytes;
	assert_int_equal(bytes, 0);
	assert_int_equal(p->live, live);
	assert_int_equal(p->held, held);
	assert_int_equal(p->allocated, naive->allocated);
	assert_int_equal(p->freed, naive->freed);
	assert_int_equal(p->missed_frees, naive->missed);
	assert_int_equal(p->held_released, naive->released);
	assert_int_equal(p->held_at_close, naive->held_at_close);
	assert_int_equal(p->unknown_frees + p->double_frees, naive->unmatched);
	assert_int_equal(model_live_count(c->model), live);
	assert_int_equal(model_held_count(c->model), held);
	snapshot_free(snapshot);
}

static void test_at_random(void **state)
{
	struct naive naive = {0};
	struct model_case c;
	uint64_t random = 88172645463325252ULL;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_LAUNCH, 0);
	case_runtime(&c, 1, 0, true);
	case_device(&c, 1, DEVICE, 0, 1);
	case_device(&c, 1, OTHER_DEVICE, 1, 4);
	for (int step = 0; step < 20000; step++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		naive_step(&naive, &c, (unsigned int)(random >> 20) % 100, (unsigned int)(random >> 40) % 64);
		if (step % 50 == 0)
			naive_compare(&naive, &c);
	}
	naive_compare(&naive, &c);
	assert_int_equal(c.err, 0);
	case_fini(&c);
}

static void play_census(struct model_case *c)
{
	static const uint64_t objects[] = {0x112, 0x10a, 0xabc};

	case_found(c, 2, 0x20a, OTHER_DEVICE, MEMORY_DRAM, 1);
	case_books(c, 2, OTHER_DEVICE, MEMORY_DRAM, objects, 3, 10);
	case_books_unread(c, 2, DEVICE, MEMORY_L1, "changing");
	case_census(c, 2, NULL);
}

/* Every kind of event; the same ones again and again while one allocation after the other fails. */
static void play(struct model_case *c)
{
	case_birth(c, 1, BIRTH_LAUNCH, 0);
	case_exec(c, 1);
	case_birth(c, 2, BIRTH_EXEC, 1);
	case_runtime(c, 2, 0, true);
	case_device(c, 2, DEVICE, 0, 1);
	case_device(c, 2, OTHER_DEVICE, 0, 8);
	for (uint64_t i = 0; i < 40; i++)
		case_alloc(c, 2, 0x100 + i, i & 1 ? DEVICE : OTHER_DEVICE, (enum memory_type)(i & 3), 100 + i);
	case_alloc(c, 2, 0x100, DEVICE, MEMORY_TRACE, 7);
	case_free(c, 2, 0x101, DEVICE);
	case_free(c, 2, 0x101, DEVICE);
	case_free(c, 2, 0x999, DEVICE);
	case_birth_command(c, 3, BIRTH_FORK, 2, "", 0);
	case_device(c, 3, DEVICE, 0, 1);
	case_alloc(c, 3, 0x100, DEVICE, MEMORY_DRAM, 1);
	case_close(c, 2, DEVICE);
	case_bulk_free(c, 2, DEVICE + 1);
	case_device(c, 2, DEVICE, 3, 1);
	case_object(c, 2, EVENT_UNSURE, 0x103);
	case_object(c, 2, EVENT_RELEASE, 0x105);
	case_alloc(c, 2, 0x107, DEVICE, MEMORY_DRAM, 1);
	case_bulk_free(c, 2, OTHER_DEVICE + 1);
	play_census(c);
	model_mark_inexact(c->model, 2, INEXACT_UNSUPPORTED, "text");
	model_mark_inexact(c->model, 0, INEXACT_UNSUPPORTED, "text");
	case_exit(c, 2, 0, 0);
}

/* A listener may take a snapshot: it must add up at every notice, whatever is going on. */
static void hear_and_look(void *context, const struct notice *notice)
{
	const struct model_case *c = context;
	struct snapshot *snapshot = look(c);

	if (notice->kind == NOTICE_FREE || notice->kind == NOTICE_RELEASE) {
		const struct snapshot_process *p = case_find(snapshot, notice->process->process);

		/* In this case's order of events the first chip is 0 wherever a buffer ends. */
		assert_int_equal(notice->buffer->chips[0], 0);
		for (size_t i = 0; i < p->buffer_count; i++)
			assert_int_not_equal(p->buffers[i].serial, notice->buffer->serial);
	}
	snapshot_free(snapshot);
}

static void test_snapshot_in_a_listener(void **state)
{
	struct model_case c;

	(void)state;
	case_init(&c);
	model_set_listener(c.model, hear_and_look, &c);
	play(&c);
	/* The last buffer of a device object that was opened anew: its old chips go with it. */
	case_birth(&c, 9, BIRTH_LAUNCH, 0);
	case_device(&c, 9, DEVICE, 0, 1);
	case_alloc(&c, 9, 0x100, DEVICE, MEMORY_DRAM, 1);
	case_close(&c, 9, DEVICE);
	case_device(&c, 9, DEVICE, 1, 1);
	case_free(&c, 9, 0x100, DEVICE);
	assert_int_equal(c.err, 0);
	case_fini(&c);
}

static void test_out_of_memory_anywhere(void **state)
{
	bool failed = true;

	(void)state;
	for (long n = 0; failed; n++) {
		struct snapshot *snapshot;
		struct model_case c;
		struct heard heard;

		assert_true(n < 2000);
		case_init(&c);
		listen_to(&c, &heard);
		fail_alloc_at(n);
		play(&c);
		failed = fail_alloc_off();
		/* Whatever was missed: what is there adds up, and says that it is not all. */
		snapshot = look(&c);
		assert_int_equal(snapshot->exact, false);
		if (c.err) {
			bool said = false;

			assert_int_equal(c.err, -ENOMEM);
			for (size_t i = 0; i < snapshot->reason_count; i++)
				said |= !strcmp(snapshot->reasons[i].reason, INEXACT_OUT_OF_MEMORY);
			for (size_t i = 0; i < snapshot->process_count; i++)
				said |= case_has_reason(&snapshot->processes[i], INEXACT_OUT_OF_MEMORY);
			assert_true(said);
		}
		snapshot_free(snapshot);
		case_fini(&c);
	}
}

/* With no memory at all from some point on, and memory again later. */
static void test_out_of_memory_for_a_while(void **state)
{
	bool failed = true;

	(void)state;
	for (long n = 0; failed; n += 3) {
		struct snapshot *snapshot;
		struct model_case c;

		case_init(&c);
		fail_alloc_from(n);
		play(&c);
		failed = fail_alloc_off();
		snapshot = look(&c);
		snapshot_free(snapshot);
		play(&c);
		snapshot = look(&c);
		snapshot_free(snapshot);
		case_fini(&c);
	}
}

static void test_out_of_memory_for_a_model(void **state)
{
	struct model_options options = {.keep_ended = true};

	(void)state;
	fail_alloc_at(0);
	assert_null(model_new(&options));
	assert_true(fail_alloc_off());
	model_free(NULL);
}

/* What was asked for and who held what is as it was then, whatever happens afterwards. */
static void test_out_of_memory(void **state)
{
	const struct snapshot_failure *failure;
	const struct snapshot_process *process;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_LAUNCH, 0);
	case_runtime(&c, 1, 0, true);
	case_device(&c, 1, 0x5000, 0, 2);
	case_alloc(&c, 1, 0x100, 0x5000, MEMORY_L1, 1000);
	case_alloc(&c, 1, 0x200, 0x5000, MEMORY_DRAM, 9000);
	for (uint32_t other = 2; other < 22; other++) {
		case_birth(&c, other, BIRTH_FORK, 1);
		case_runtime(&c, other, 0, true);
		case_device(&c, other, 0x6000, 1, 1);
		case_alloc(&c, other, 0x100, 0x6000, MEMORY_L1, 100 * other);
	}
	case_exit(&c, 21, 0, 0);
	case_oom(&c, 1, 0x5000, MEMORY_L1, 4096);
	case_free(&c, 1, 0x100, 0x5000);
	for (int i = 0; i < 40; i++)
		case_oom(&c, 1, 0x5000, MEMORY_L1_SMALL, 512);
	case_exit(&c, 1, 0, 9);
	snapshot = case_snapshot(&c);
	assert_non_null(snapshot);
	process = case_find(snapshot, 1);
	assert_non_null(process);
	assert_true(process->exact && case_balanced(process) && case_consistent(process));
	assert_int_equal(process->out_of_memory, 41);
	assert_int_equal(process->failure_count, 32);
	failure = &process->failures[0];
	assert_int_equal(failure->size_bytes, 4096);
	assert_int_equal(failure->chip_count, 2);
	assert_int_equal(failure->thread, 77);
	/* 20 were running, one of them the one that asked; the ended one holds nothing */
	assert_int_equal(failure->holder_count, SNAPSHOT_MAX_HOLDERS);
	assert_int_equal(failure->holders_left_out, 20 - SNAPSHOT_MAX_HOLDERS);
	assert_int_equal(failure->holders[0].bytes, 2000);
	assert_int_equal(failure->holders[0].pid, 12344 + 20);
	for (uint32_t i = 1; i < failure->holder_count; i++)
		assert_true(failure->holders[i].bytes <= failure->holders[i - 1].bytes);
	assert_int_equal(failure->holders[SNAPSHOT_MAX_HOLDERS - 1].bytes, 600);
	assert_int_equal(failure->books_ns, 0);
	assert_int_equal(process->failures[1].holder_count, 0);
	snapshot_free(snapshot);
	case_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_allocate_and_free),
		cmocka_unit_test(test_peaks_of_bytes_and_of_buffers),
		cmocka_unit_test(test_mesh_counts_once_and_on_each_chip),
		cmocka_unit_test(test_allocation_on_a_live_object),
		cmocka_unit_test(test_close_then_bulk_free),
		cmocka_unit_test(test_bulk_free_takes_only_its_allocator),
		cmocka_unit_test(test_close_holds_at_once_without_a_bulk_free_probe),
		cmocka_unit_test(test_close_of_an_unknown_device),
		cmocka_unit_test(test_end_of_held_buffers),
		cmocka_unit_test(test_uncertain),
		cmocka_unit_test(test_visit_held),
		cmocka_unit_test(test_device_object_used_again),
		cmocka_unit_test(test_device_opened_again),
		cmocka_unit_test(test_memory_does_not_grow),
		cmocka_unit_test(test_device_told_again),
		cmocka_unit_test(test_close_alone_holds_nothing),
		cmocka_unit_test(test_unknown_device),
		cmocka_unit_test(test_chips_cut_off),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_exit_clears),
		cmocka_unit_test(test_exit_with_nothing_clears_nothing),
		cmocka_unit_test(test_ended_are_dropped_without_keep),
		cmocka_unit_test(test_ended_is_kept_for_somebody),
		cmocka_unit_test(test_fork_starts_empty),
		cmocka_unit_test(test_exec_clears_and_goes_on),
		cmocka_unit_test(test_launch_and_exec_are_one),
		cmocka_unit_test(test_who_is_shown),
		cmocka_unit_test(test_attached_late),
		cmocka_unit_test(test_census_counts_as_before_attach),
		cmocka_unit_test(test_lost_records),
		cmocka_unit_test(test_stops),
		cmocka_unit_test(test_mark_inexact),
		cmocka_unit_test(test_unmatched_double),
		cmocka_unit_test(test_double_free_stays_exact),
		cmocka_unit_test(test_double_is_not_claimed_across_a_loss),
		cmocka_unit_test(test_unmatched_inherited),
		cmocka_unit_test(test_unmatched_before_attach_and_limit),
		cmocka_unit_test(test_unmatched_after_proof),
		cmocka_unit_test(test_never_born),
		cmocka_unit_test(test_at_random),
		cmocka_unit_test(test_snapshot_in_a_listener),
		cmocka_unit_test(test_out_of_memory_anywhere),
		cmocka_unit_test(test_out_of_memory_for_a_while),
		cmocka_unit_test(test_out_of_memory_for_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
