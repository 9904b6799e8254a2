// SPDX-License-Identifier: BSD-2-Clause
/* base/loop: descriptors and timers, and that a callback may take away what would come next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"

struct case_watch {
	struct loop *loop;
	struct loop_watch watch;
	struct loop_timer timer;
	struct case_watch *other; /* removed, with its timer, when this one is called */
	unsigned int called, expired;
};

static void on_ready(void *context, uint32_t events)
{
	struct case_watch *self = context;

	assert_true(events & EPOLLIN);
	self->called++;
	if (self->other)
		loop_remove(self->loop, &self->other->watch);
}

static void on_expired(void *context)
{
	struct case_watch *self = context;

	self->expired++;
	if (self->other)
		loop_timer_clear(self->loop, &self->other->timer);
}

static void case_init(struct case_watch *self, struct loop *loop, uint64_t value)
{
	memset(self, 0, sizeof(*self));
	self->loop = loop;
	self->watch = (struct loop_watch){.fd = eventfd((unsigned int)value, 0), .ready = on_ready, .context = self};
	self->timer = (struct loop_timer){.expired = on_expired, .context = self};
	assert_int_equal(loop_add(loop, &self->watch, EPOLLIN), 0);
}

static void test_ready_and_not(void **state)
{
	struct loop *loop = loop_new();
	struct case_watch full, empty;

	(void)state;
	case_init(&full, loop, 1);
	case_init(&empty, loop, 0);
	assert_int_equal(loop_round(loop, -1), 0);
	assert_int_equal(full.called, 1);
	assert_int_equal(empty.called, 0);
	assert_int_equal(loop_change(loop, &full.watch, 0), 0);
	assert_int_equal(loop_round(loop, 0), 0);
	assert_int_equal(full.called, 1);
	close(full.watch.fd);
	close(empty.watch.fd);
	loop_free(loop);
}

/* Both are ready in the same round: whichever comes first takes the other away. */
static void test_removed_by_the_other(void **state)
{
	struct loop *loop = loop_new();
	struct case_watch a, b;

	(void)state;
	case_init(&a, loop, 1);
	case_init(&b, loop, 1);
	a.other = &b;
	b.other = &a;
	assert_int_equal(loop_round(loop, -1), 0);
	assert_int_equal(a.called + b.called, 1);
	close(a.watch.fd);
	close(b.watch.fd);
	loop_free(loop);
}

static void test_timers(void **state)
{
	struct loop *loop = loop_new();
	struct case_watch first, second;
	uint64_t now = loop_now_ns();

	(void)state;
	case_init(&first, loop, 0);
	case_init(&second, loop, 0);
	loop_timer_set(loop, &second.timer, now + 3600000000000ull);
	loop_timer_set(loop, &first.timer, now + 1000000);
	while (!first.expired)
		assert_int_equal(loop_round(loop, -1), 0);
	assert_true(loop_now_ns() >= now + 1000000);
	assert_int_equal(second.expired, 0);
	/* Set again: instead, not in addition. */
	loop_timer_set(loop, &second.timer, now);
	assert_int_equal(loop_round(loop, -1), 0);
	assert_int_equal(second.expired, 1);
	assert_int_equal(loop_round(loop, 0), 0);
	assert_int_equal(second.expired, 1);
	assert_int_equal(first.expired, 1);
	close(first.watch.fd);
	close(second.watch.fd);
	loop_free(loop);
}

static void test_timer_cleared_by_the_other(void **state)
{
	struct loop *loop = loop_new();
	struct case_watch a, b;

	(void)state;
	case_init(&a, loop, 0);
	case_init(&b, loop, 0);
	a.other = &b;
	loop_timer_set(loop, &a.timer, 1);
	loop_timer_set(loop, &b.timer, 2);
	assert_int_equal(loop_round(loop, -1), 0);
	assert_int_equal(a.expired, 1);
	assert_int_equal(b.expired, 0);
	assert_int_equal(b.timer.when_ns, 0);
	close(a.watch.fd);
	close(b.watch.fd);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ready_and_not),
		cmocka_unit_test(test_removed_by_the_other),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_timer_cleared_by_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
