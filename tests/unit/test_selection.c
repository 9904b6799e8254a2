// SPDX-License-Identifier: BSD-2-Clause
/* model/selection: each filter alone and together, what may be seen, and in which order it comes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "model/selection.h"
#include "model_case.h"

#define MESH 0x5000 /* chips 0 and 1 */
#define CHIP 0x6000 /* chip 4 */
#define BOTH 0x7000 /* of the second process: chips 4 and 5 */

struct selection_case {
	struct model_case model;
	struct snapshot *snapshot;
	struct selection selection;
};

/* Two processes, users 1000 and 1001. Every event is one second after the one before. */
static int setup(void **state)
{
	struct selection_case *c = calloc(1, sizeof(*c));

	case_init(&c->model);
	case_birth(&c->model, 2, BIRTH_ATTACH, 0);
	case_runtime(&c->model, 2, 0, true);
	case_device(&c->model, 2, BOTH, 4, 2);
	case_alloc(&c->model, 2, 0x900, BOTH, MEMORY_DRAM, 4096);
	case_birth(&c->model, 1, BIRTH_ATTACH, 0);
	case_runtime(&c->model, 1, 0, true);
	case_device(&c->model, 1, MESH, 0, 2);
	case_device(&c->model, 1, CHIP, 4, 1);
	case_alloc(&c->model, 1, 0x100, MESH, MEMORY_DRAM, 1000);
	case_alloc(&c->model, 1, 0x400, CHIP, MEMORY_DRAM, 3000);
	case_alloc(&c->model, 1, 0x300, CHIP, MEMORY_L1, 2000);
	case_alloc(&c->model, 1, 0x200, 0x9999, MEMORY_L1, 500); /* its chips are not known */
	assert_int_equal(c->model.err, 0);
	c->snapshot = case_snapshot(&c->model);
	assert_int_equal(c->snapshot->process_count, 2);
	/* The cases' events are all of one user. */
	((struct snapshot_process *)c->snapshot->processes)[0].user = 1001;
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct selection_case *c = *state;

	snapshot_free(c->snapshot);
	case_fini(&c->model);
	free(c);
	return 0;
}

static void add(struct selection_list *list, int64_t value)
{
	list->values[list->count++] = value;
}

static void apply(struct selection_case *c)
{
	int64_t missing;

	assert_int_equal(selection_apply(&c->selection, c->snapshot, &missing), 0);
}

/* The buffers of all processes, in order; @objects ends with 0. */
static void assert_buffers(const struct selection_case *c, const uint64_t *objects)
{
	size_t at = 0;

	for (size_t i = 0; i < c->snapshot->process_count; i++) {
		const struct snapshot_process *process = &c->snapshot->processes[i];

		for (size_t b = 0; b < process->buffer_count; b++)
			assert_int_equal(process->buffers[b].object, objects[at++]);
	}
	assert_int_equal(objects[at], 0);
}

static const struct snapshot_type *figures(const struct selection_case *c, uint32_t pid, int32_t device,
					   enum memory_type type)
{
	for (size_t i = 0; i < c->snapshot->process_count; i++) {
		const struct snapshot_process *process = &c->snapshot->processes[i];

		for (size_t d = 0; process->pid == pid && d < process->device_count; d++) {
			for (uint32_t t = 0; process->devices[d].device == device && t < process->devices[d].type_count;
			     t++) {
				if (process->devices[d].types[t].type == type)
					return &process->devices[d].types[t];
			}
		}
	}
	return NULL;
}

static void test_everything(void **state)
{
	struct selection_case *c = *state;

	apply(c);
	assert_buffers(c, (uint64_t[]){0x900, 0x400, 0x100, 0x300, 0x200, 0});
	assert_false(selection_of_buffers(&c->selection));
	assert_int_equal(figures(c, 12345, 0, MEMORY_DRAM)->live_bytes, 1000);
}

static void test_pids(void **state)
{
	struct selection_case *c = *state;

	add(&c->selection.pids, 12345);
	apply(c);
	assert_false(selection_of_buffers(&c->selection));
	assert_buffers(c, (uint64_t[]){0x400, 0x100, 0x300, 0x200, 0});
}

static void test_a_pid_that_is_not_there(void **state)
{
	struct selection_case *c = *state;
	int64_t missing = 0;

	add(&c->selection.pids, 12345);
	add(&c->selection.pids, 4711);
	assert_int_equal(selection_apply(&c->selection, c->snapshot, &missing), -ESRCH);
	assert_int_equal(missing, 4711);
}

static void test_users(void **state)
{
	struct selection_case *c = *state;

	add(&c->selection.users, 1001);
	add(&c->selection.users, 77);
	apply(c);
	assert_buffers(c, (uint64_t[]){0x900, 0});
}

static void test_devices(void **state)
{
	struct selection_case *c = *state;

	add(&c->selection.devices, 4);
	apply(c);
	assert_true(selection_of_buffers(&c->selection));
	assert_buffers(c, (uint64_t[]){0x900, 0x400, 0x300, 0});
	assert_null(figures(c, 12346, 5, MEMORY_DRAM));
	assert_int_equal(figures(c, 12346, 4, MEMORY_DRAM)->live_bytes, 4096);
}

static void test_a_device_that_nobody_uses(void **state)
{
	struct selection_case *c = *state;
	int64_t missing = 0;

	add(&c->selection.devices, 1);
	add(&c->selection.devices, 6);
	assert_int_equal(selection_apply(&c->selection, c->snapshot, &missing), -ENODEV);
	assert_int_equal(missing, 6);
}

static void test_types(void **state)
{
	struct selection_case *c = *state;

	c->selection.types = 1u << MEMORY_L1 | 1u << MEMORY_TRACE;
	apply(c);
	assert_buffers(c, (uint64_t[]){0x300, 0x200, 0});
	assert_null(figures(c, 12345, 4, MEMORY_DRAM));
	assert_int_equal(figures(c, 12345, 4, MEMORY_L1)->live_bytes, 2000);
	assert_int_equal(figures(c, 12345, -1, MEMORY_L1)->live_bytes, 500);
}

/* Figures are of what is left; peaks and the counts of the process are of all. */
static void test_min_size(void **state)
{
	struct selection_case *c = *state;

	c->selection.min_size_bytes = 2000;
	apply(c);
	assert_buffers(c, (uint64_t[]){0x900, 0x400, 0x300, 0});
	assert_int_equal(figures(c, 12345, 0, MEMORY_DRAM)->live_buffers, 0);
	assert_int_equal(figures(c, 12345, 0, MEMORY_DRAM)->peak_bytes, 1000);
	assert_int_equal(figures(c, 12345, 4, MEMORY_DRAM)->live_buffers, 1);
	assert_int_equal(c->snapshot->processes[1].live, 4);
}

static void test_older(void **state)
{
	struct selection_case *c = *state;
	struct snapshot_buffer *buffers = (struct snapshot_buffer *)c->snapshot->processes[1].buffers;
	uint64_t age_ns = c->snapshot->now_ns - buffers[2].allocated_ns; /* of 0x300, the last but one */

	buffers[3].allocated_ns = 0; /* 0x200, the youngest, as if a census had found it */
	c->selection.older_ns = age_ns;
	apply(c);
	assert_buffers(c, (uint64_t[]){0x900, 0x400, 0x100, 0x300, 0x200, 0});
	c->selection.older_ns = age_ns + 1;
	apply(c);
	assert_buffers(c, (uint64_t[]){0x900, 0x400, 0x100, 0x200, 0});
}

static void test_all_together(void **state)
{
	struct selection_case *c = *state;

	add(&c->selection.devices, 4);
	add(&c->selection.users, 1000);
	c->selection.types = 1u << MEMORY_DRAM;
	c->selection.min_size_bytes = 1;
	apply(c);
	assert_buffers(c, (uint64_t[]){0x400, 0});
}

/* What may not be seen is not there: it is not named, not counted, and not found by its number. */
static void test_one_user(void **state)
{
	struct selection_case *c = *state;
	int64_t missing = 0;

	c->selection.one_user = true;
	c->selection.user = 1001;
	apply(c);
	assert_buffers(c, (uint64_t[]){0x900, 0});
	add(&c->selection.devices, 0);
	assert_int_equal(selection_apply(&c->selection, c->snapshot, &missing), -ENODEV);
	add(&c->selection.pids, 12345);
	assert_int_equal(selection_apply(&c->selection, c->snapshot, &missing), -ESRCH);
	assert_int_equal(missing, 12345);
}

/* Inexactness of what is not in the answer says nothing about the answer. */
static void test_exactness(void **state)
{
	struct selection_case *c = *state;

	((struct snapshot_process *)c->snapshot->processes)[1].exact = false;
	((struct snapshot_process *)c->snapshot->processes)[0].exact = true;
	c->snapshot->exact = false;
	add(&c->selection.users, 1001);
	apply(c);
	assert_true(c->snapshot->exact);
	c->snapshot->reason_count = 1;
	apply(c);
	assert_false(c->snapshot->exact);
	c->snapshot->reason_count = 0;
}

/* That a process has no such buffer is certain only if it is exact. */
static void test_a_process_that_is_not_exact_stays(void **state)
{
	struct selection_case *c = *state;

	((struct snapshot_process *)c->snapshot->processes)[1].exact = false;
	((struct snapshot_process *)c->snapshot->processes)[0].exact = true;
	c->selection.types = 1u << MEMORY_TRACE;
	apply(c);
	assert_int_equal(c->snapshot->process_count, 1);
	assert_int_equal(c->snapshot->processes[0].pid, 12345);
	assert_int_equal(c->snapshot->processes[0].buffer_count, 0);
	assert_false(c->snapshot->exact);
}

static void test_holders(void **state)
{
	struct selection_case *c = *state;
	const struct snapshot_failure *failure;

	case_oom(&c->model, 1, CHIP, MEMORY_DRAM, 1 << 30);
	snapshot_free(c->snapshot);
	c->snapshot = case_snapshot(&c->model);
	failure = &c->snapshot->processes[1].failures[0];
	assert_int_equal(failure->holder_count, 2);
	((struct snapshot_failure *)failure)->holders[0].user = 1001;
	((struct snapshot_failure *)failure)->holders_left_out = 3;
	apply(c);
	assert_int_equal(failure->holder_count, 2);
	c->selection.one_user = true;
	c->selection.user = 1000;
	apply(c);
	assert_int_equal(failure->holder_count, 1);
	assert_int_equal(failure->holders[0].pid, 12345);
	assert_int_equal(failure->holders_left_out, 0);
	assert_true(failure->one_user);
}

static void test_orders(void **state)
{
	static const struct {
		enum selection_order order;
		uint64_t objects[6];
	} expected[] = {
		{SELECTION_BY_AGE, {0x900, 0x100, 0x400, 0x300, 0x200}},
		{SELECTION_BY_TYPE, {0x900, 0x400, 0x100, 0x300, 0x200}},
		{SELECTION_BY_ADDRESS, {0x900, 0x100, 0x200, 0x300, 0x400}},
	};
	struct selection_case *c = *state;

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		c->selection.order = expected[i].order;
		apply(c);
		assert_buffers(c, expected[i].objects);
	}
	((struct snapshot_buffer *)c->snapshot->processes[1].buffers)[3].allocated_ns = 0; /* 0x400 by address */
	c->selection.order = SELECTION_BY_AGE;
	apply(c);
	assert_buffers(c, (uint64_t[]){0x900, 0x400, 0x100, 0x300, 0x200, 0});
	c->selection.order = SELECTION_BY_PID;
	apply(c);
	assert_int_equal(c->snapshot->processes[0].pid, 12345);
	assert_int_equal(c->snapshot->processes[1].pid, 12346);
}

static void test_nothing_at_all(void **state)
{
	struct selection_case *c = *state;

	c->selection.one_user = true;
	c->selection.user = 5;
	for (int order = SELECTION_BY_SIZE; order <= SELECTION_BY_PID; order++) {
		c->selection.order = (enum selection_order)order;
		apply(c);
		assert_int_equal(c->snapshot->process_count, 0);
		assert_true(c->snapshot->exact);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_everything),
		TEST(test_pids),
		TEST(test_a_pid_that_is_not_there),
		TEST(test_users),
		TEST(test_devices),
		TEST(test_a_device_that_nobody_uses),
		TEST(test_types),
		TEST(test_min_size),
		TEST(test_older),
		TEST(test_all_together),
		TEST(test_one_user),
		TEST(test_exactness),
		TEST(test_a_process_that_is_not_exact_stays),
		TEST(test_holders),
		TEST(test_orders),
		TEST(test_nothing_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
