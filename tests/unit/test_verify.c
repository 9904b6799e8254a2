/* SPDX-License-Identifier: BSD-2-Clause */
/* Table against books over several looks: what counts as a difference. The tracer is the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cmd/verify.h"
#include "model_case.h"
#include "source/tracer.h"

#define DEVICE UINT64_C(0x5000)
#define OBJECT UINT64_C(0x100)
#define UNSEEN UINT64_C(0x900) /* in the books and never in the table */

struct tracer {
	struct model_case *c;
	struct verify *verify;
	uint64_t booked[2];
	size_t booked_count;
	uint64_t churned; /* an object that is freed and allocated again between two looks; 0: none */
	unsigned int looks;
};

static void apply(struct tracer *tracer, struct event *event)
{
	event->process = 1;
	verify_event(tracer->verify, event);
	case_apply(tracer->c, event, 1);
}

void tracer_sync(struct tracer *tracer)
{
	struct event event = case_buffer_event(EVENT_ALLOCATE, tracer->churned, DEVICE, MEMORY_DRAM, 4096);

	if (!tracer->churned)
		return;
	apply(tracer, &event);
	event.kind = EVENT_FREE;
	apply(tracer, &event);
}

void tracer_read_books(struct tracer *tracer)
{
	struct event event = {.kind = EVENT_CENSUS, .process = 1};

	case_books(tracer->c, 1, DEVICE, MEMORY_DRAM, tracer->booked, tracer->booked_count, 4096);
	tracer->looks++;
	event.census.exact = true;
	event.census.books_only = true;
	apply(tracer, &event);
}

int tracer_fd(const struct tracer *tracer)
{
	(void)tracer;
	return -1;
}

int tracer_timeout_ms(const struct tracer *tracer)
{
	(void)tracer;
	return -1;
}

void tracer_dispatch(struct tracer *tracer)
{
	(void)tracer;
}

/* One round. How often tables differed; *inexact: the process was marked so. */
static uint64_t different(struct tracer *tracer, bool *inexact)
{
	struct model_case c;
	struct snapshot *snapshot;
	uint64_t rounds, found;

	case_init(&c);
	tracer->c = &c;
	tracer->verify = verify_new();
	assert_non_null(tracer->verify);
	case_birth(&c, 1, BIRTH_LAUNCH, 0);
	case_runtime(&c, 1, 0, true);
	case_device(&c, 1, DEVICE, 0, 1);
	case_alloc(&c, 1, OBJECT, DEVICE, MEMORY_DRAM, 4096);
	verify_run(tracer->verify, tracer, c.model);
	verify_counts(tracer->verify, &rounds, &found);
	assert_int_equal(rounds, 1);
	snapshot = model_snapshot(c.model, c.clock_ns);
	*inexact = case_has_reason(case_find(snapshot, 1), INEXACT_BOOKS_DIFFER);
	snapshot_free(snapshot);
	verify_free(tracer->verify);
	case_fini(&c);
	return found;
}

static void test_equal(void **state)
{
	struct tracer tracer = {.booked = {OBJECT}, .booked_count = 1};
	bool inexact;

	(void)state;
	assert_int_equal(different(&tracer, &inexact), 0);
	assert_false(inexact);
	assert_int_equal(tracer.looks, 1);
}

static void test_block_without_buffer_persists(void **state)
{
	struct tracer tracer = {.booked = {OBJECT, UNSEEN}, .booked_count = 2};
	bool inexact;

	(void)state;
	assert_int_equal(different(&tracer, &inexact), 1);
	assert_true(inexact);
	assert_true(tracer.looks >= 4);
}

static void test_buffer_without_block_persists(void **state)
{
	struct tracer tracer = {.booked_count = 0};
	bool inexact;

	(void)state;
	assert_int_equal(different(&tracer, &inexact), 1);
	assert_true(inexact);
}

/* The same block, used again and again, is never quite as far in the books as in the events. */
static void test_events_of_the_block_explain_it(void **state)
{
	struct tracer tracer = {.booked = {OBJECT, UNSEEN}, .booked_count = 2, .churned = UNSEEN};
	bool inexact;

	(void)state;
	assert_int_equal(different(&tracer, &inexact), 0);
	assert_false(inexact);
}

static void test_events_of_other_blocks_do_not(void **state)
{
	struct tracer tracer = {.booked = {OBJECT, UNSEEN}, .booked_count = 2, .churned = UNSEEN + 1};
	bool inexact;

	(void)state;
	assert_int_equal(different(&tracer, &inexact), 1);
	assert_true(inexact);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_block_without_buffer_persists),
		cmocka_unit_test(test_buffer_without_block_persists),
		cmocka_unit_test(test_events_of_the_block_explain_it),
		cmocka_unit_test(test_events_of_other_blocks_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
