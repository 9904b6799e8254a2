// SPDX-License-Identifier: BSD-2-Clause
/* The event loop; see loop.h. Timers are few: they are kept in a list, and looked through every round. */
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define ROUND_EVENTS 64

struct loop {
	int epoll_fd;
	struct loop_timer *timers;
	/* Of the round under way: those removed meanwhile are NULL. */
	struct epoll_event events[ROUND_EVENTS];
	int event_count;
};

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		free(loop);
		return NULL;
	}
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	close(loop->epoll_fd);
	free(loop);
}

static int control(struct loop *loop, int operation, struct loop_watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	return epoll_ctl(loop->epoll_fd, operation, watch->fd, &event) ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	return control(loop, EPOLL_CTL_ADD, watch, events);
}

int loop_change(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	return control(loop, EPOLL_CTL_MOD, watch, events);
}

void loop_remove(struct loop *loop, struct loop_watch *watch)
{
	control(loop, EPOLL_CTL_DEL, watch, 0);
	for (int i = 0; i < loop->event_count; i++) {
		if (loop->events[i].data.ptr == watch)
			loop->events[i].data.ptr = NULL;
	}
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
	for (struct loop_timer **at = &loop->timers; *at; at = &(*at)->next) {
		if (*at == timer) {
			*at = timer->next;
			break;
		}
	}
	timer->when_ns = 0;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t when_ns)
{
	if (timer->when_ns)
		loop_timer_clear(loop, timer);
	timer->when_ns = when_ns ? when_ns : 1;
	timer->next = loop->timers;
	loop->timers = timer;
}

static struct loop_timer *first_timer(const struct loop *loop)
{
	struct loop_timer *first = loop->timers;

	for (struct loop_timer *timer = first; timer; timer = timer->next) {
		if (timer->when_ns < first->when_ns)
			first = timer;
	}
	return first;
}

/* The sooner of the caller's time-out and the first timer. */
static int wait_ms(const struct loop *loop, int timeout_ms)
{
	const struct loop_timer *first = first_timer(loop);
	uint64_t now = loop_now_ns(), left;

	if (!first)
		return timeout_ms;
	/* Rounded up: a time-out that is too short would only make another round. */
	left = first->when_ns > now ? (first->when_ns - now + 999999) / 1000000 : 0;
	if (timeout_ms >= 0 && (uint64_t)timeout_ms < left)
		return timeout_ms;
	return left < INT_MAX ? (int)left : INT_MAX;
}

/* Those due when it begins; what they set anew waits for the next round. */
static void run_timers(struct loop *loop)
{
	uint64_t now = loop_now_ns();
	struct loop_timer *timer;

	while ((timer = first_timer(loop)) && timer->when_ns <= now) {
		loop_timer_clear(loop, timer);
		timer->expired(timer->context);
	}
}

int loop_round(struct loop *loop, int timeout_ms)
{
	int count = epoll_wait(loop->epoll_fd, loop->events, ROUND_EVENTS, wait_ms(loop, timeout_ms));

	if (count < 0 && errno != EINTR)
		return -errno;
	loop->event_count = count > 0 ? count : 0;
	for (int i = 0; i < loop->event_count; i++) {
		const struct loop_watch *watch = loop->events[i].data.ptr;

		if (watch && watch->ready)
			watch->ready(watch->context, loop->events[i].events);
	}
	loop->event_count = 0;
	run_timers(loop);
	return 0;
}
