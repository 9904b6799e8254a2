/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes censuses, intersects what differs. Owns its lists. */
#include "cmd/verify.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "event.h"
#include "model/model.h"
#include "model/notice.h"
#include "source/tracer.h"

#define MAX_DIFFERENCES 100 /* of a process, looked at again and named */
#define LOOKS           4   /* a difference must be there in every one of them */

struct checked {
	uint32_t process;
	size_t count;
	struct book_difference differences[MAX_DIFFERENCES];
};

struct verify {
	uint32_t *processes; /* whose census ended in this look */
	size_t count, capacity;
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

void verify_event(struct verify *verify, const struct event *event)
{
	size_t capacity = verify->capacity ? 2 * verify->capacity : 16;
	uint32_t *grown;

	if (event->kind != EVENT_CENSUS)
		return;
	if (verify->count == verify->capacity) {
		grown = realloc(verify->processes, capacity * sizeof(*grown));
		if (!grown)
			return; /* not compared this time */
		verify->processes = grown;
		verify->capacity = capacity;
	}
	verify->processes[verify->count++] = event->process;
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
	strbuf_addf(&text, "%zu%s differences between table and books persisted over %d looks", checked->count,
		    checked->count == MAX_DIFFERENCES ? " or more" : "", LOOKS);
	model_mark_inexact(model, checked->process, INEXACT_BOOKS_DIFFER, strbuf_str(&text));
	strbuf_fini(&text);
}

static void look(struct verify *verify, struct tracer *tracer)
{
	verify->count = 0;
	tracer_sync(tracer);
	tracer_read_books(tracer);
}

/* The first look's differences, of the processes that have any. NULL: none. */
static struct checked *first_look(const struct verify *verify, const struct model *model, size_t *count)
{
	struct checked *list = calloc(verify->count ? verify->count : 1, sizeof(*list));

	*count = 0;
	for (size_t i = 0; list && i < verify->count; i++) {
		struct checked *checked = &list[*count];

		checked->process = verify->processes[i];
		checked->count = differences_of(model, checked->process, checked->differences);
		*count += checked->count > 0;
	}
	return list;
}

void verify_run(struct verify *verify, struct tracer *tracer, struct model *model)
{
	struct book_difference now[MAX_DIFFERENCES];
	struct checked *list;
	bool any, different = false;
	size_t count;

	look(verify, tracer);
	verify->rounds++;
	list = first_look(verify, model, &count);
	any = count > 0;
	for (int i = 1; list && any && i < LOOKS; i++) {
		look(verify, tracer);
		any = false;
		for (size_t k = 0; k < count; k++) {
			intersect(&list[k], now, model_book_differences(model, list[k].process, now, MAX_DIFFERENCES));
			any |= list[k].count > 0;
		}
	}
	for (size_t i = 0; list && i < count; i++) {
		if (!list[i].count)
			continue;
		different = true;
		name_differences(model, &list[i]);
	}
	verify->different += different;
	log_debug("table and books compared: %s", different ? "they differ" : "equal");
	free(list);
}

void verify_counts(const struct verify *verify, uint64_t *rounds, uint64_t *different)
{
	*rounds = verify->rounds;
	*different = verify->different;
}
