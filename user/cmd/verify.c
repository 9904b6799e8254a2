/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes censuses, intersects what differs, drops what an event explains. Owns its lists. */
#include "cmd/verify.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "event.h"
#include "model/model.h"
#include "model/notice.h"
#include "source/tracer.h"

#define MAX_DIFFERENCES 100           /* of a process, looked at again and named */
#define LOOKS           4             /* a difference must be there in every one of them ... */
#define PERSIST_NS      1000000000ull /* ... for so long: a thread may be held up between the books' change and the probe */
#define PAUSE_NS        20000000ull /* between the first two looks; doubled each time */
#define MAX_PAUSE_NS    250000000ull

struct checked {
	uint32_t process;
	size_t count;
	struct book_difference differences[MAX_DIFFERENCES];
};

struct verify {
	uint32_t *processes; /* whose census ended in this look */
	size_t count, capacity;
	/* While differences are looked at again; @checked is NULL otherwise. */
	struct checked *checked;
	size_t checked_count;
	uint64_t rounds, different;
};

struct verify *verify_new(void)
{
	return calloc(1, sizeof(struct verify));
}

void verify_free(struct verify *verify)
{
	if (verify)
		free(verify->processes);
	free(verify);
}

/* What happened to the block meanwhile explains the difference: books and events are moments apart. */
static bool explains(const struct event *event, const struct book_difference *difference)
{
	switch (event->kind) {
	case EVENT_ALLOCATE:
	case EVENT_FREE:
		return event->buffer.fault != BUFFER_FAULT_NONE || (event->buffer.address == difference->address &&
								    event->buffer.allocator == difference->allocator);
	case EVENT_BULK_FREE:
		return event->allocator == difference->allocator;
	case EVENT_CLOSE:
	case EVENT_LOST:
	case EVENT_EXEC:
	case EVENT_EXIT:
	case EVENT_RESTART:
		return true;
	default:
		return false;
	}
}

static void drop_explained(struct verify *verify, const struct event *event)
{
	for (size_t i = 0; i < verify->checked_count; i++) {
		struct checked *checked = &verify->checked[i];
		size_t kept = 0;

		if (checked->process != event->process)
			continue;
		for (size_t k = 0; k < checked->count; k++) {
			if (!explains(event, &checked->differences[k]))
				checked->differences[kept++] = checked->differences[k];
		}
		checked->count = kept;
	}
}

static void note_census(struct verify *verify, uint32_t process)
{
	size_t capacity = verify->capacity ? 2 * verify->capacity : 16;
	uint32_t *grown;

	if (verify->count == verify->capacity) {
		grown = realloc(verify->processes, capacity * sizeof(*grown));
		if (!grown)
			return; /* not compared this time */
		verify->processes = grown;
		verify->capacity = capacity;
	}
	verify->processes[verify->count++] = process;
}

void verify_event(struct verify *verify, const struct event *event)
{
	if (event->kind == EVENT_CENSUS)
		note_census(verify, event->process);
	else
		drop_explained(verify, event);
}

static size_t differences_of(const struct model *model, uint32_t process, struct book_difference *out)
{
	size_t count = model_book_differences(model, process, out, MAX_DIFFERENCES);

	return count < MAX_DIFFERENCES ? count : MAX_DIFFERENCES;
}

static bool same(const struct book_difference *a, const struct book_difference *b)
{
	return a->allocator == b->allocator && a->address == b->address && a->type == b->type &&
	       a->in_table == b->in_table && a->serial == b->serial;
}

/* Leaves those that are still there. */
static void intersect(struct checked *checked, const struct book_difference *now, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < checked->count; i++) {
		for (size_t k = 0; k < count; k++) {
			if (!same(&checked->differences[i], &now[k]))
				continue;
			checked->differences[kept++] = checked->differences[i];
			break;
		}
	}
	checked->count = kept;
}

static void name_differences(struct model *model, const struct checked *checked)
{
	struct strbuf text = STRBUF_INIT;

	for (size_t i = 0; i < checked->count; i++) {
		const struct book_difference *difference = &checked->differences[i];

		if (difference->in_table)
			log_warning("%s buffer %llu (serial %llu, %llu bytes) is in the table and not in the books",
				    memory_type_name(difference->type), (unsigned long long)difference->address,
				    (unsigned long long)difference->serial, (unsigned long long)difference->size_bytes);
		else
			log_warning("%s block at %llu is in the books and not in the table",
				    memory_type_name(difference->type), (unsigned long long)difference->address);
	}
	strbuf_addf(&text, "%zu%s differences between table and books persisted, with no event of these blocks",
		    checked->count, checked->count == MAX_DIFFERENCES ? " or more" : "");
	model_mark_inexact(model, checked->process, INEXACT_BOOKS_DIFFER, strbuf_str(&text));
	strbuf_fini(&text);
}

static void look(struct verify *verify, struct tracer *tracer)
{
	verify->count = 0;
	tracer_sync(tracer);
	tracer_read_books(tracer);
}

/* The differences of all processes at this moment, as the first look; verify->checked stays NULL when out of memory. */
static void first_look(struct verify *verify, const struct model *model)
{
	verify->checked = calloc(verify->count ? verify->count : 1, sizeof(*verify->checked));
	verify->checked_count = 0;
	for (size_t i = 0; verify->checked && i < verify->count; i++) {
		struct checked *checked = &verify->checked[verify->checked_count];

		checked->process = verify->processes[i];
		checked->count = differences_of(model, checked->process, checked->differences);
		verify->checked_count += checked->count > 0;
	}
}

/* Leaves what is still different and was not explained meanwhile. False: nothing is left. */
static bool look_again(struct verify *verify, struct tracer *tracer, const struct model *model)
{
	struct book_difference now[MAX_DIFFERENCES];
	bool any = false;

	look(verify, tracer);
	for (size_t i = 0; i < verify->checked_count; i++) {
		intersect(&verify->checked[i], now, differences_of(model, verify->checked[i].process, now));
		any |= verify->checked[i].count > 0;
	}
	return any;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Records go on being taken in. */
static void pause_for(struct tracer *tracer, uint64_t duration_ns)
{
	uint64_t now = now_ns(), end = now + duration_ns;
	struct pollfd ready = {.fd = tracer_fd(tracer), .events = POLLIN};

	for (; now < end; now = now_ns()) {
		int tick = tracer_timeout_ms(tracer), left = (int)((end - now + 999999) / 1000000);

		poll(&ready, 1, tick < 0 || tick > left ? left : tick);
		tracer_dispatch(tracer);
	}
}

/* False: no difference has persisted. */
static bool persists(struct verify *verify, struct tracer *tracer, const struct model *model)
{
	uint64_t start = now_ns(), pause_ns = PAUSE_NS;

	if (!verify->checked_count)
		return false;
	for (int looks = 1; looks < LOOKS || now_ns() - start < PERSIST_NS; looks++) {
		pause_for(tracer, pause_ns);
		pause_ns = 2 * pause_ns < MAX_PAUSE_NS ? 2 * pause_ns : MAX_PAUSE_NS;
		if (!look_again(verify, tracer, model))
			return false;
	}
	return true;
}

void verify_run(struct verify *verify, struct tracer *tracer, struct model *model)
{
	bool different;

	look(verify, tracer);
	verify->rounds++;
	first_look(verify, model);
	different = persists(verify, tracer, model);
	for (size_t i = 0; different && i < verify->checked_count; i++) {
		if (verify->checked[i].count)
			name_differences(model, &verify->checked[i]);
	}
	verify->different += different;
	log_debug("table and books compared: %s", different ? "they differ" : "equal");
	free(verify->checked);
	verify->checked = NULL;
	verify->checked_count = 0;
}

void verify_counts(const struct verify *verify, uint64_t *rounds, uint64_t *different)
{
	*rounds = verify->rounds;
	*different = verify->different;
}
