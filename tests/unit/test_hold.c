/* SPDX-License-Identifier: BSD-2-Clause */
/* Events that are kept back while a census is awaited: their order, and what happens when there are too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "source/tracer_internal.h"

struct fixture {
	struct tracer tracer;
	struct tracked *tracked[2];
	uint64_t told[16]; /* times of events, in the order in which they were told */
	size_t count;
};

static void on_event(void *context, const struct event *event)
{
	struct fixture *f = context;

	assert_in_range(f->count, 0, 15);
	f->told[f->count++] = event->time_ns;
}

static void begin(struct fixture *f)
{
	*f = (struct fixture){.tracer.callbacks = {.event = on_event, .context = f}};
	for (uint32_t i = 0; i < 2; i++) {
		f->tracked[i] = tracked_add(&f->tracer.tracked, 100 + i, 1 + i);
		assert_non_null(f->tracked[i]);
		assert_int_equal(tracer_hold_begin(&f->tracer, f->tracked[i]), 0);
	}
}

static void end(struct fixture *f)
{
	for (size_t i = 0; i < 2; i++)
		tracer_hold_release(&f->tracer, f->tracked[i]);
	assert_int_equal(f->tracer.holds, 0);
	assert_int_equal(f->tracer.held_events, 0);
	tracked_fini(&f->tracer.tracked);
}

static void happens(struct fixture *f, uint32_t process, enum event_kind kind, uint64_t time_ns)
{
	tracer_emit(&f->tracer, &(struct event){.kind = kind, .process = process, .time_ns = time_ns});
}

static void assert_told(const struct fixture *f, size_t count, const uint64_t *times)
{
	assert_int_equal(f->count, count);
	assert_memory_equal(f->told, times, count * sizeof(*times));
}

static void test_order(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	happens(&f, 1, EVENT_ALLOCATE, 1);
	happens(&f, 2, EVENT_ALLOCATE, 2);
	happens(&f, 3, EVENT_ALLOCATE, 3);
	happens(&f, 1, EVENT_FREE, 4);
	assert_told(&f, 1, (uint64_t[]){3});
	tracer_hold_release(&f.tracer, f.tracked[0]);
	assert_told(&f, 3, (uint64_t[]){3, 1, 4});
	happens(&f, 1, EVENT_ALLOCATE, 5);
	assert_told(&f, 4, (uint64_t[]){3, 1, 4, 5});
	end(&f);
	assert_told(&f, 5, (uint64_t[]){3, 1, 4, 5, 2});
}

/* The limit is one for all; who meets it keeps the order of its events. */
static void test_too_many(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.tracer.held_events = TRACER_MAX_HELD - 3;
	happens(&f, 1, EVENT_ALLOCATE, 1);
	happens(&f, 2, EVENT_ALLOCATE, 2);
	happens(&f, 1, EVENT_ALLOCATE, 3);
	assert_told(&f, 0, NULL);
	happens(&f, 1, EVENT_FREE, 4);
	assert_told(&f, 3, (uint64_t[]){1, 3, 4});
	/* There is room again, but not for one who lost his place. */
	happens(&f, 2, EVENT_FREE, 5);
	happens(&f, 1, EVENT_ALLOCATE, 6);
	assert_told(&f, 4, (uint64_t[]){1, 3, 4, 6});
	assert_int_equal(f.tracer.held_events, TRACER_MAX_HELD - 1);
	f.tracer.held_events = 2;
	end(&f);
	assert_told(&f, 6, (uint64_t[]){1, 3, 4, 6, 2, 5});
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_too_many)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
