/* SPDX-License-Identifier: BSD-2-Clause */
/* Turns the plain data of a census into events. Owns nothing. */
#include "source/census_events.h"

#include <errno.h>
#include <stdlib.h>

void census_emit_devices(const struct census *census, const struct census_subject *subject, census_emitter emit,
			 void *context)
{
	struct event event = {.kind = EVENT_DEVICE, .process = subject->process, .time_ns = subject->time_ns};

	for (size_t i = 0; i < census->device_count; i++) {
		/* One without an allocator is closed: its address may be another device's soon. */
		if (!census->devices[i].open || census->devices[i].inherited || !census->devices[i].device.readable)
			continue;
		event.device = census->devices[i].device;
		emit(context, &event);
	}
}

void census_buffer_event(const struct census *census, size_t index, const struct census_subject *subject,
			 struct event *out)
{
	*out = (struct event){.kind = EVENT_ALLOCATE, .process = subject->process};
	census_event(&census->buffers[index], subject->runtime, &out->buffer);
	out->buffer.footprint_bytes = census_footprint(census, &census->buffers[index]);
}

static const char *why_unread(const struct census_book *book)
{
	return book->why ? book->why : census_state_name(book->state);
}

int census_emit_books(const struct census *census, const struct census_subject *subject, census_emitter emit,
		      void *context)
{
	struct event event = {.kind = EVENT_BOOKS, .process = subject->process, .time_ns = subject->time_ns};
	struct event_block *blocks = NULL;
	size_t capacity = 0;

	for (size_t i = 0; i < census->book_count; i++) {
		const struct census_book *book = &census->books[i];
		struct event_books *out = &event.books;

		/* Lists of single cores hold nothing that a Buffer of the whole device is in. */
		if (book->list || book->allocator == CENSUS_NONE)
			continue;
		if (book->block_count > capacity) {
			free(blocks);
			capacity = book->block_count;
			blocks = malloc(capacity * sizeof(*blocks));
			if (!blocks)
				return -ENOMEM;
		}
		for (size_t k = 0; k < book->block_count; k++) {
			const struct census_block *block = &census->blocks[book->first_block + k];

			blocks[k].address = block->address;
			blocks[k].footprint_bytes = block->bytes * book->banks;
		}
		*out = (struct event_books){
			.allocator = census->allocators[book->allocator].object,
			.type = book->type,
			.state = book->state == CENSUS_READ ? BOOKS_READ : BOOKS_UNREAD,
			.why = book->state == CENSUS_READ ? NULL : why_unread(book),
			.banks = book->banks,
			.capacity_bytes = book->bank_bytes * book->banks,
			.used_bytes = book->used_bytes * book->banks,
			.free_bytes = book->free_bytes * book->banks,
			.largest_free_bytes = book->largest_free_bytes * book->banks,
			.blocks = blocks,
			.block_count = book->block_count,
		};
		if (census->allocators[book->allocator].device != CENSUS_NONE)
			out->device_object =
				census->devices[census->allocators[book->allocator].device].device.device_object;
		emit(context, &event);
	}
	free(blocks);
	return 0;
}

void census_emit_end(const struct census *census, const struct census_subject *subject, const char *reason,
		     bool books_only, census_emitter emit, void *context)
{
	struct event event = {.kind = EVENT_CENSUS, .process = subject->process, .time_ns = subject->time_ns};

	event.census = (struct event_census){
		.exact = !reason,
		.books_only = books_only,
		.runtime = subject->runtime,
		.reason = reason,
		.scanned_bytes = census->scanned_bytes,
		.missing_bytes = census->missing_bytes,
	};
	emit(context, &event);
}
