/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides for each buffer by its first event, or by the census when it has none. Owns two small indices. */
#include "source/reconcile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reconcile_place {
	uint64_t allocator, address;
	uint32_t type;
};

static int compare_places(const void *a, const void *b)
{
	const struct reconcile_place *x = a, *y = b;

	if (x->allocator != y->allocator)
		return x->allocator < y->allocator ? -1 : 1;
	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return x->type < y->type ? -1 : x->type > y->type;
}

void reconcile_fini(struct reconcile *reconcile)
{
	table_fini(&reconcile->first);
	free(reconcile->places);
	reconcile->places = NULL;
	reconcile->place_count = 0;
}

int reconcile_init(struct reconcile *reconcile, const struct event *events, size_t count)
{
	uint32_t unused;

	memset(reconcile, 0, sizeof(*reconcile));
	reconcile->events = events;
	reconcile->event_count = count;
	reconcile->places = calloc(count + 1, sizeof(*reconcile->places));
	if (!reconcile->places)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct event_buffer *buffer = &events[i].buffer;

		if (events[i].kind != EVENT_ALLOCATE && events[i].kind != EVENT_FREE)
			continue;
		if (!table_find(&reconcile->first, buffer->object, &unused) &&
		    table_set(&reconcile->first, buffer->object, (uint32_t)i))
			return -ENOMEM;
		if (buffer->fault == BUFFER_FAULT_NONE)
			reconcile->places[reconcile->place_count++] =
				(struct reconcile_place){buffer->allocator, buffer->address, (uint32_t)buffer->type};
	}
	qsort(reconcile->places, reconcile->place_count, sizeof(*reconcile->places), compare_places);
	return 0;
}

static bool explains_block(const struct reconcile *reconcile, const struct census *census,
			   const struct census_block *block)
{
	const struct census_book *book = &census->books[block->book];
	struct reconcile_place key = {.address = block->address, .type = (uint32_t)book->type};

	if (book->allocator == CENSUS_NONE)
		return false;
	key.allocator = census->allocators[book->allocator].object;
	return bsearch(&key, reconcile->places, reconcile->place_count, sizeof(key), compare_places) != NULL;
}

const char *reconcile_judge(const struct reconcile *reconcile, const struct census *census)
{
	const char *reason;
	uint32_t unused;

	if (census->origin == CENSUS_ORIGIN_INHERITED || census_is_exact(census, &reason))
		return NULL;
	if (strcmp(reason, "unexplained") || census->orphan_lists)
		return reason;
	for (size_t i = 0; i < census->block_count; i++) {
		if (census->blocks[i].owner == CENSUS_NONE && !explains_block(reconcile, census, &census->blocks[i]))
			return reason;
	}
	for (size_t i = census->confirmed_count; i < census->buffer_count; i++) {
		if (census->buffers[i].verdict != CENSUS_CLOSED &&
		    !table_find(&reconcile->first, census->buffers[i].object, &unused))
			return reason;
	}
	return NULL;
}

int reconcile_emit(const struct reconcile *reconcile, const struct census *census, const struct census_subject *subject,
		   census_emitter emit, void *context)
{
	struct table done = {0};
	struct event event;
	uint32_t index;

	for (size_t i = 0; i < census->confirmed_count; i++) {
		if (table_find(&reconcile->first, census->buffers[i].object, &index) &&
		    reconcile->events[index].kind == EVENT_ALLOCATE)
			continue;
		census_buffer_event(census, i, subject, &event);
		if (table_set(&done, event.buffer.object, 0)) {
			table_fini(&done);
			return -ENOMEM;
		}
		emit(context, &event);
	}
	/* Freed between the attachment and the look at it: the free itself says what it was. */
	for (size_t i = 0; i < reconcile->event_count; i++) {
		const struct event *waiting = &reconcile->events[i];

		if (waiting->kind != EVENT_FREE || waiting->buffer.fault != BUFFER_FAULT_NONE ||
		    !table_find(&reconcile->first, waiting->buffer.object, &index) || index != i ||
		    table_find(&done, waiting->buffer.object, &index))
			continue;
		event = *waiting;
		event.kind = EVENT_ALLOCATE;
		event.time_ns = 0;
		event.thread = 0;
		emit(context, &event);
	}
	table_fini(&done);
	return 0;
}
