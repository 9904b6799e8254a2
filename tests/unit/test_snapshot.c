// SPDX-License-Identifier: BSD-2-Clause
/* A snapshot owns all it shows, in the order that snapshot.h promises, or does not exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fail_alloc.h"
#include "model_case.h"

#define DEVICE 0x5000

static void build(struct model_case *c)
{
	case_init(c);
	case_birth(c, 1, BIRTH_ATTACH, 0);
	case_runtime(c, 1, 3, true);
	case_device(c, 1, DEVICE + 0x10, 5, 1);
	case_device(c, 1, DEVICE + 0x20, 0, 4);
	case_alloc(c, 1, 0x100, DEVICE + 0x10, MEMORY_TRACE, 100);
	case_alloc(c, 1, 0x200, DEVICE + 0x20, MEMORY_DRAM, 50);
	case_alloc(c, 1, 0x300, DEVICE + 0x10, MEMORY_DRAM, 100);
	case_alloc(c, 1, 0x400, 0x9999, MEMORY_L1, 300);
	case_free(c, 1, 0x999, DEVICE + 0x10);
	case_birth_command(c, 2, BIRTH_FORK, 1, "a\0b", 4);
	case_alloc(c, 2, 0x100, DEVICE, MEMORY_L1, 1);
	case_bulk_free(c, 1, DEVICE + 0x11);
	case_device(c, 1, DEVICE + 0x30, 7, 1);
	case_alloc(c, 1, 0x500, DEVICE + 0x30, MEMORY_DRAM, 1);
	case_bulk_free(c, 1, DEVICE + 0x31);
	model_mark_inexact(c->model, 1, INEXACT_UNSUPPORTED, "some text");
}

static void test_outlives_the_model(void **state)
{
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;
	uint64_t now;

	(void)state;
	build(&c);
	now = c.clock_ns;
	snapshot = case_snapshot(&c);
	case_fini(&c);
	assert_non_null(snapshot);
	assert_int_equal(snapshot->now_ns, now);
	assert_int_equal(snapshot->process_count, 2);
	p = &snapshot->processes[0];
	assert_string_equal(p->id, "12345.999000000000.0");
	assert_null(p->parent_id);
	assert_string_equal(p->runtimes[0].name, "tt-metal");
	assert_string_equal(p->runtimes[0].library, "/opt/venv/lib/libtt_metal.so");
	assert_string_equal(p->runtimes[0].layout[1].name, "buffer.device");
	assert_int_equal(p->runtimes[0].layout[1].value, -16);
	assert_int_equal(p->unmatched[0].object, 0x999);
	assert_int_equal(p->unmatched[0].chips[0], 5);
	assert_string_equal(case_reason_text(p, INEXACT_UNSUPPORTED), "some text");
	assert_string_equal(p->cgroup, "/user.slice");
	p = &snapshot->processes[1];
	assert_string_equal(p->parent_id, "12345.999000000000.0");
	assert_memory_equal(p->command, "a\0b", 4);
	snapshot_free(snapshot);
	snapshot_free(NULL);
}

static void test_order(void **state)
{
	static const int32_t devices[] = {0, 1, 2, 3, 5, 7, -1};
	static const uint64_t objects[] = {0x400, 0x200, 0x100, 0x300, 0x500};
	const struct snapshot_process *p;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	build(&c);
	snapshot = case_snapshot(&c);
	p = &snapshot->processes[0];
	assert_int_equal(p->device_count, 7);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(p->devices[i].device, devices[i]);
	assert_int_equal(p->devices[4].type_count, 2);
	assert_int_equal(p->devices[4].types[0].type, MEMORY_DRAM);
	assert_int_equal(p->devices[4].types[1].type, MEMORY_TRACE);
	/* 300 on one unknown chip, 50 on four, then 100 twice by serial, then the small one. */
	assert_int_equal(p->buffer_count, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(p->buffers[i].object, objects[i]);
	assert_int_equal(p->closure_count, 2);
	assert_true(p->closures[0].time_ns < p->closures[1].time_ns);
	assert_int_equal(p->closures[0].buffers, 2);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_two_snapshots_are_two_moments(void **state)
{
	struct snapshot *first, *second;
	struct model_case c;

	(void)state;
	build(&c);
	first = case_snapshot(&c);
	case_free(&c, 1, 0x200, DEVICE + 0x20);
	case_exit(&c, 1, 0, 0);
	second = case_snapshot(&c);
	assert_int_equal(first->processes[0].live, 2);
	assert_int_equal(first->processes[0].end, PROCESS_RUNNING);
	assert_int_equal(first->processes[0].buffer_count, 5);
	assert_int_equal(second->processes[0].live, 1);
	assert_int_equal(second->processes[0].end, PROCESS_EXITED);
	assert_int_equal(second->processes[0].cleared, 4);
	snapshot_free(first);
	snapshot_free(second);
	case_fini(&c);
}

static void test_out_of_memory(void **state)
{
	struct model_case c;
	bool failed = true;
	long n;

	(void)state;
	build(&c);
	/* Enough that a block of memory of its own is needed. */
	for (uint64_t i = 0; i < 200; i++)
		case_alloc(&c, 1, 0x10000 + i, DEVICE + 0x20, MEMORY_DRAM, 1);
	for (n = 0; failed; n++) {
		struct snapshot *snapshot;

		fail_alloc_at(n);
		snapshot = case_snapshot(&c);
		failed = fail_alloc_off();
		assert_int_equal(snapshot == NULL, failed);
		snapshot_free(snapshot);
	}
	assert_true(n > 5);
	case_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outlives_the_model),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_two_snapshots_are_two_moments),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
