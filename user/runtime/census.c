/* SPDX-License-Identifier: BSD-2-Clause */
/* What every census has, whichever runtime's: questions to a result, and its end. */
#include "runtime/census.h"

#include <stdlib.h>
#include <string.h>

bool census_is_exact(const struct census *census, const char **reason)
{
	*reason = NULL;
	if (census->origin == CENSUS_ORIGIN_UNKNOWN)
		*reason = "origin-unknown";
	else if (census->cut_off)
		*reason = "cut-off";
	else if (census->missing_bytes)
		*reason = "partial";
	for (size_t i = 0; !*reason && i < census->book_count; i++)
		if (census->books[i].state != CENSUS_READ)
			*reason = census->books[i].state == CENSUS_CHANGING ? "changing" : "unread";
	if (!*reason && (census->unexplained_blocks || census->unconfirmed || census->orphan_lists))
		*reason = "unexplained";
	return !*reason;
}

void census_event(const struct census_buffer *buffer, uint32_t runtime, struct event_buffer *out)
{
	*out = (struct event_buffer){
		.object = buffer->object,
		.device_object = buffer->device_object,
		.allocator = buffer->allocator,
		.address = buffer->address,
		.size_bytes = buffer->size_bytes,
		.page_size_bytes = buffer->page_size_bytes,
		.type = (enum memory_type)buffer->type,
		.fault = BUFFER_FAULT_NONE,
		.runtime = runtime,
	};
}

uint64_t census_footprint(const struct census *census, const struct census_buffer *buffer)
{
	const struct census_block *block;

	if (buffer->verdict != CENSUS_CONFIRMED || buffer->block >= census->block_count)
		return 0;
	block = &census->blocks[buffer->block];
	return block->bytes * census->books[block->book].banks;
}

const struct census_device *census_device_of(const struct census *census, const struct census_buffer *buffer)
{
	for (size_t i = 0; i < census->device_count; i++)
		if (census->devices[i].device.device_object == buffer->device_object)
			return &census->devices[i];
	return NULL;
}

const char *census_state_name(enum census_state state)
{
	static const char *const names[] = {"read", "changing", "invalid", "unreadable"};

	return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

const char *census_verdict_name(enum census_verdict verdict)
{
	static const char *const names[] = {"candidate", "confirmed", "gone",  "no-block",
					    "ambiguous", "no-books",  "closed"};

	return (size_t)verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "?";
}

void census_fini(struct census *census)
{
	free(census->devices);
	free(census->allocators);
	free(census->books);
	free(census->blocks);
	free(census->buffers);
	memset(census, 0, sizeof(*census));
}
