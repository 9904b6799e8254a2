/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The course of a census: memory is gone through once for candidates, then books and candidates are
 * read in turns until they agree and stay as they are. See census.h and tt_metal_census.h.
 */
#include "runtime/tt_metal_census.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MATCH_PIECE 256 /* buffers, each of which is looked for in up to CENSUS_MAX_BOOKS books */
#define MAX_ROUNDS  3   /* passes over all memory */
#define MAX_TURNS   6   /* readings of books and candidates in each */
#define PAGE        4096

int tt_metal_census_grow(struct tt_metal_census *c, void *array, size_t count, size_t *room, size_t size, size_t limit)
{
	void **data = array;
	size_t wanted;
	void *grown;

	if (count < *room)
		return 0;
	if (count >= limit) {
		c->out->cut_off = true;
		return -E2BIG;
	}
	wanted = *room ? *room + *room / 2 : 64;
	if (wanted > limit)
		wanted = limit;
	grown = realloc(*data, wanted * size);
	if (!grown)
		return -ENOMEM;
	*data = grown;
	*room = wanted;
	return 0;
}

/* The block at @address in one of the books of @allocator and @type; CENSUS_NONE. The common list comes first. */
static uint32_t find_block(const struct census *out, uint32_t allocator, enum memory_type type, uint64_t address,
			   bool *unread)
{
	*unread = false;
	for (size_t i = 0; i < out->book_count; i++) {
		const struct census_book *book = &out->books[i];
		size_t low = book->first_block, high = low + book->block_count;

		if (book->allocator != allocator || book->type != type)
			continue;
		*unread = *unread || book->state != CENSUS_READ;
		while (low < high) {
			size_t middle = low + (high - low) / 2;

			if (out->blocks[middle].address < address)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < book->first_block + book->block_count && out->blocks[low].address == address)
			return (uint32_t)low;
	}
	return CENSUS_NONE;
}

static enum census_verdict judge(struct tt_metal_census *c, uint32_t index)
{
	struct census *out = c->out;
	struct census_buffer *buffer = &out->buffers[index];
	uint32_t allocator, device;
	struct census_block *block;
	bool unread;

	buffer->block = CENSUS_NONE;
	if (!table_find(&c->allocator_of, buffer->allocator, &allocator)) {
		/* neither allocator nor device are any: residue of freed memory */
		if (!table_find(&c->device_of, buffer->device_object, &device))
			return CENSUS_GONE;
		return out->devices[device].open ? CENSUS_NO_BOOKS : CENSUS_CLOSED;
	}
	buffer->block = find_block(out, allocator, (enum memory_type)buffer->type, buffer->address, &unread);
	if (buffer->block == CENSUS_NONE)
		return unread ? CENSUS_NO_BOOKS : CENSUS_NO_BLOCK;
	block = &out->blocks[buffer->block];
	if (block->owner != CENSUS_NONE) {
		out->buffers[block->owner].verdict = CENSUS_AMBIGUOUS;
		return CENSUS_AMBIGUOUS;
	}
	block->owner = index;
	return CENSUS_CONFIRMED;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 29);
}

/* Judges all buffers by the books. Returns a number that is the same when everything is as before. */
static uint64_t match(struct tt_metal_census *c)
{
	struct census *out = c->out;
	uint64_t hash = 0;

	out->unexplained_blocks = out->unconfirmed = out->closed = out->unread_books = 0;
	for (size_t i = 0; i < out->block_count; i++)
		out->blocks[i].owner = CENSUS_NONE;
	for (size_t i = 0; i < out->buffer_count; i++) {
		if (i % MATCH_PIECE == 0 && !tt_metal_census_goes_on(c))
			break;
		/* several of one block are told from each other anew each time */
		if (out->buffers[i].verdict != CENSUS_GONE)
			out->buffers[i].verdict = (uint8_t)judge(c, (uint32_t)i);
	}
	for (size_t i = 0; i < out->buffer_count; i++) {
		const struct census_buffer *buffer = &out->buffers[i];

		hash = mix(mix(hash, buffer->verdict), buffer->address);
		out->closed += buffer->verdict == CENSUS_CLOSED;
		out->unconfirmed += buffer->verdict != CENSUS_GONE && buffer->verdict != CENSUS_CLOSED &&
				    buffer->verdict != CENSUS_CONFIRMED;
	}
	for (size_t i = 0; i < out->block_count; i++) {
		hash = mix(mix(hash, out->blocks[i].address), out->blocks[i].bytes);
		out->unexplained_blocks += out->blocks[i].owner == CENSUS_NONE;
	}
	for (size_t i = 0; i < out->book_count; i++)
		out->unread_books += out->books[i].state != CENSUS_READ;
	return hash;
}

/* Allocators that only buffers know of: a sub-device's that is not loaded at the moment. */
static int allocators_of_buffers(struct tt_metal_census *c)
{
	uint64_t last = 0;

	for (size_t i = 0; i < c->out->buffer_count; i++) {
		const struct census_buffer *buffer = &c->out->buffers[i];
		uint32_t index, device = CENSUS_NONE;
		size_t known = c->out->allocator_count;
		int err;

		if (buffer->verdict == CENSUS_GONE || buffer->allocator == last || buffer->allocator % 8 ||
		    buffer->allocator < PAGE)
			continue;
		table_find(&c->device_of, buffer->device_object, &device);
		err = tt_metal_census_allocator(c, buffer->allocator, device, -1, &index);
		if (err)
			return err;
		last = buffer->allocator;
		if (c->out->allocator_count > known)
			c->out->allocators[index].by_buffers = true;
	}
	return 0;
}

/*
 * Books, then candidates, and again, until both are as they were the time before. So what is confirmed
 * was read twice, with its books before and after.
 */
static int take_turns(struct tt_metal_census *c)
{
	uint64_t before = 0, now = 0;

	for (int i = 0; i < MAX_TURNS; i++) {
		int err = tt_metal_census_books(c);

		if (err)
			return err;
		before = now;
		now = match(c);
		if (c->stopped)
			return -ESRCH;
		if (i > 0 && before == now)
			return 0;
		err = tt_metal_census_recheck(c);
		if (err)
			return err;
	}
	/* it never stood still: what the last books do not have is not believed */
	match(c);
	return 0;
}

static void reset(struct tt_metal_census *c)
{
	struct census *out = c->out;

	c->lists.count = c->devices.count = 0;
	table_fini(&c->allocator_of);
	table_fini(&c->device_of);
	table_fini(&c->list_seen);
	out->device_count = out->allocator_count = out->book_count = out->block_count = out->buffer_count = 0;
	out->orphan_lists = out->missing_bytes = 0;
	out->cut_off = false;
}

/* Lists in use that no allocator led to: an allocator whose place is not known, or residue. */
static void count_orphans(struct tt_metal_census *c)
{
	uint32_t seen;

	for (size_t i = 0; i < c->lists.count && tt_metal_census_goes_on(c); i++)
		if (!table_find(&c->list_seen, c->lists.data[i], &seen) &&
		    tt_metal_census_list_in_use(c, c->lists.data[i]))
			c->out->orphan_lists++;
}

static int go_round(struct tt_metal_census *c)
{
	int err;

	reset(c);
	c->out->rounds++;
	err = tt_metal_census_scan(c);
	if (!err)
		err = tt_metal_census_devices(c);
	if (!err)
		err = allocators_of_buffers(c);
	if (!err)
		err = take_turns(c);
	if (!err)
		count_orphans(c);
	return err;
}

static int by_verdict_and_object(const void *a, const void *b)
{
	const struct census_buffer *x = a, *y = b;
	bool confirmed_x = x->verdict == CENSUS_CONFIRMED, confirmed_y = y->verdict == CENSUS_CONFIRMED;

	if (confirmed_x != confirmed_y)
		return confirmed_x ? -1 : 1;
	return x->object < y->object ? -1 : x->object > y->object;
}

/* Takes away what is GONE and puts the confirmed first. */
static void tidy(struct census *out)
{
	size_t kept = 0;

	for (size_t i = 0; i < out->buffer_count; i++)
		if (out->buffers[i].verdict != CENSUS_GONE)
			out->buffers[kept++] = out->buffers[i];
	out->buffer_count = kept;
	if (kept)
		qsort(out->buffers, kept, sizeof(*out->buffers), by_verdict_and_object);
	for (size_t i = 0; i < out->block_count; i++)
		out->blocks[i].owner = CENSUS_NONE;
	out->confirmed_count = 0;
	for (size_t i = 0; i < kept; i++) {
		if (out->buffers[i].verdict != CENSUS_CONFIRMED)
			continue;
		out->blocks[out->buffers[i].block].owner = (uint32_t)i;
		out->confirmed_count++;
	}
}

static bool is_settled(const struct census *out)
{
	return !out->unexplained_blocks && !out->unconfirmed && !out->unread_books && !out->orphan_lists;
}

int tt_metal_census(const struct census_input *input, struct census *out)
{
	struct tt_metal_books layout;
	struct tt_metal_census c = {.input = input, .layout = &layout, .memory = input->memory, .out = out};
	const struct library_plan *library = input->library;
	int err = 0;

	memset(out, 0, sizeof(*out));
	memcpy(&layout, input->plan->word, sizeof(layout));
	c.head_bytes = (uint32_t)library->weak_this_offset + 16;
	if (library->read.indirect && library->read.pointer_offset + 8u > c.head_bytes)
		c.head_bytes = library->read.pointer_offset + 8u;
	if (library->weak_this_offset < 0 || c.head_bytes > TT_METAL_HEAD_BYTES || layout.list_bytes > 8192 ||
	    layout.list_bytes < 24)
		return -ENOTSUP;
	do {
		err = go_round(&c);
	} while (!err && !c.stopped && c.memory->live && !is_settled(out) && out->rounds < MAX_ROUNDS);
	if (!err) {
		tidy(out);
		tt_metal_census_origin(&c);
	}
	if (c.stopped)
		err = -ESRCH;
	if (err)
		census_fini(out);
	free(c.lists.data);
	free(c.devices.data);
	table_fini(&c.allocator_of);
	table_fini(&c.device_of);
	table_fini(&c.list_seen);
	return err;
}
