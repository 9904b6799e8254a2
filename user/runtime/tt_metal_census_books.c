/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the books: AllocatorImpl -> four BankManagers, one a memory type -> FreeListOpts, whose
 * parallel vectors have an element for each block of a bank. See tt_metal_census.h.
 *
 * The program goes on meanwhile. A list is only believed when two reads of everything gave the same
 * bytes and its blocks, in the order of their links, tile the bank without a gap.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/tt_metal_census.h"

#define MAX_TRIES      200
#define PROMPT_TRIES   8          /* before the program is given time to finish its change */
#define MAX_RETRY_NS   500000000u /* for all lists of a census together: no process is to hold others up */
#define MAX_LIST_BYTES 8192
#define MAX_CORE_LISTS 1024
#define MAX_BANKS      65536
#define COMPARE_BYTES  16384
#define TWICE_BYTES    65536
#define ADDRESS_END    (1ULL << 47)
#define NO_BLOCK       UINT64_MAX /* -1 in a link */

static const uint8_t element_bytes[LIST_VECTORS] = {8, 8, 8, 8, 1, 1};

/* A FreeListOpt as it was at one moment. */
struct list {
	uint8_t object[MAX_LIST_BYTES];
	size_t count; /* elements of each vector */
	uint64_t begin[LIST_VECTORS];
	uint8_t *content[LIST_VECTORS]; /* in one allocation, which content[0] begins */
};

static uint64_t word_of(const uint8_t *object, size_t offset)
{
	uint64_t value;

	memcpy(&value, object + offset, sizeof(value));
	return value;
}

static uint64_t element(const struct list *list, enum list_vector vector, uint64_t index)
{
	return word_of(list->content[vector], index * 8);
}

static int read_object(struct tt_metal_census *c, uint64_t object, uint8_t *buf)
{
	int err = memory_read(c->memory, object, buf, c->layout->list_bytes);

	if (!err && word_of(buf, 0) != c->input->base + c->layout->list_vtable)
		return -EINVAL;
	return err;
}

/* The places and the length of the vectors; false when they do not fit together. */
static bool measure(const struct tt_metal_census *c, struct list *list)
{
	for (size_t i = 0; i < LIST_VECTORS; i++) {
		size_t at = c->layout->list_vector[i];
		uint64_t begin = word_of(list->object, at), end = word_of(list->object, at + 8);
		uint64_t room = word_of(list->object, at + 16);

		if (begin < 4096 || begin >= ADDRESS_END || end < begin || room < end || room >= ADDRESS_END ||
		    (end - begin) % element_bytes[i] || (end - begin) / element_bytes[i] > CENSUS_MAX_BLOCKS)
			return false;
		if (i > 0 && (end - begin) / element_bytes[i] != list->count)
			return false;
		list->count = (size_t)((end - begin) / element_bytes[i]);
		list->begin[i] = begin;
	}
	return list->count > 0;
}

/* The places of the vectors' content in @buf, one behind the other, and the parts that read them. */
static void place_content(struct list *list, uint8_t *buf, uint8_t **content, struct memory_part *parts)
{
	for (size_t i = 0; i < LIST_VECTORS; i++) {
		content[i] = buf;
		parts[i] = (struct memory_part){.address = list->begin[i],
						.buf = buf,
						.len = (uint32_t)(list->count * element_bytes[i])};
		buf += list->count * element_bytes[i];
	}
}

/* In pieces, so that a long list needs no second room. 0 the same, -EAGAIN not, or an error. */
static int compare_content(struct tt_metal_census *c, const struct list *list)
{
	uint8_t piece[COMPARE_BYTES];

	for (size_t i = 0; i < LIST_VECTORS; i++) {
		size_t bytes = list->count * element_bytes[i];

		for (size_t at = 0; at < bytes; at += COMPARE_BYTES) {
			size_t len = bytes - at < COMPARE_BYTES ? bytes - at : COMPARE_BYTES;
			int err = memory_read(c->memory, list->begin[i] + at, piece, len);

			if (err)
				return err;
			if (memcmp(piece, list->content[i] + at, len) != 0)
				return -EAGAIN;
		}
	}
	return 0;
}

/*
 * Reads everything, and everything again. A short list is read both times in one call: a program that
 * allocates every few microseconds leaves no longer pause.
 */
static int read_content(struct tt_metal_census *c, struct list *list, uint64_t object)
{
	struct memory_part parts[2 * LIST_VECTORS + 1];
	uint8_t again[MAX_LIST_BYTES], *second[LIST_VECTORS];
	size_t bytes = 0, count = LIST_VECTORS;
	bool twice;
	int err;

	for (size_t i = 0; i < LIST_VECTORS; i++)
		bytes += list->count * element_bytes[i];
	twice = bytes <= TWICE_BYTES;
	free(list->content[0]);
	list->content[0] = malloc(twice ? 2 * bytes : bytes);
	if (!list->content[0])
		return -ENOMEM;
	place_content(list, list->content[0], list->content, parts);
	if (twice) {
		place_content(list, list->content[0] + bytes, second, parts + count);
		count += LIST_VECTORS;
		parts[count++] = (struct memory_part){.address = object, .buf = again, .len = c->layout->list_bytes};
	}
	err = c->memory->ops->read_many(c->memory, parts, count);
	for (size_t i = 0; i < count && !err; i++)
		if (!parts[i].ok)
			err = -EFAULT;
	if (!err && !twice)
		err = compare_content(c, list);
	if (!err && !twice)
		err = read_object(c, object, again);
	if (!err && memcmp(again, list->object, c->layout->list_bytes) != 0)
		err = -EAGAIN;
	if (!err && twice && memcmp(list->content[0], second[0], bytes) != 0)
		err = -EAGAIN;
	return err;
}

/* The first block: the one in use that has none before it. NO_BLOCK unless there is exactly one. */
static uint64_t find_first(const struct list *list, size_t *used)
{
	uint64_t first = NO_BLOCK;

	*used = 0;
	for (size_t i = 0; i < list->count; i++) {
		if (list->content[LIST_USED][i] > 1 || list->content[LIST_ALLOCATED][i] > 1)
			return NO_BLOCK;
		if (!list->content[LIST_USED][i])
			continue;
		(*used)++;
		if (element(list, LIST_PREVIOUS, i) != NO_BLOCK)
			continue;
		if (first != NO_BLOCK)
			return NO_BLOCK;
		first = i;
	}
	return first;
}

/*
 * Goes along the links and calls for each block: they must be all that are in use, one behind the
 * other without a gap, and as long together as the bank. (A bank that was shrunk from below does not
 * begin at 0.) NULL, or what is wrong.
 */
static const char *walk(const struct tt_metal_census *c, const struct list *list,
			void (*block)(void *context, uint64_t address, uint64_t bytes, bool allocated), void *context)
{
	uint64_t size = word_of(list->object, c->layout->list_size), at, previous = NO_BLOCK, sum = 0, end;
	size_t used, seen = 0;

	at = find_first(list, &used);
	if (at == NO_BLOCK)
		return "its blocks have no beginning";
	end = element(list, LIST_ADDRESS, at);
	while (at != NO_BLOCK) {
		uint64_t bytes;

		if (at >= list->count || ++seen > used || !list->content[LIST_USED][at] ||
		    element(list, LIST_PREVIOUS, at) != previous)
			return "the links of its blocks do not fit";
		bytes = element(list, LIST_SIZE, at);
		if (element(list, LIST_ADDRESS, at) != end || bytes > size || sum > size - bytes)
			return "its blocks do not tile the bank";
		if (block)
			block(context, end, bytes, list->content[LIST_ALLOCATED][at] == 1);
		end += bytes;
		sum += bytes;
		previous = at;
		at = element(list, LIST_NEXT, at);
	}
	if (seen != used || sum != size)
		return "its blocks do not fill the bank";
	return NULL;
}

/* One look at the list: its state, and why it is no other. *fatal: no further look makes sense. */
static enum census_state look_at_list(struct tt_metal_census *c, uint64_t object, struct list *list, const char **why,
				      int *fatal)
{
	int err = read_object(c, object, list->object);

	list->count = 0;
	if (!err && !measure(c, list)) {
		*why = "its vectors are not of equal length";
		return CENSUS_INVALID;
	}
	if (!err)
		err = read_content(c, list, object);
	if (!err) {
		*why = walk(c, list, NULL, NULL);
		return *why ? CENSUS_INVALID : CENSUS_READ;
	}
	if (err == -EAGAIN) {
		*why = "it changes too fast to be read twice the same";
		return CENSUS_CHANGING;
	}
	if (err == -EINVAL) {
		*why = "it is no list";
		return CENSUS_INVALID;
	}
	if (err == -ENOMEM || err == -ESRCH)
		*fatal = err;
	*why = "its memory is not there";
	return CENSUS_UNREADABLE;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Looks until the list is the same twice and makes sense, or for as long as is right. */
static enum census_state read_list(struct tt_metal_census *c, uint64_t object, struct list *list, const char **why,
				   int *fatal)
{
	enum census_state state;
	uint64_t begin_ns;

	if (c->elements > CENSUS_MAX_ALL_BLOCKS) {
		c->out->cut_off = true;
		*why = "all lists together are too long";
		return CENSUS_UNREADABLE;
	}
	state = look_at_list(c, object, list, why, fatal);
	c->elements += list->count;
	if (!c->memory->live)
		return state;
	begin_ns = now_ns();
	for (int i = 1; i < MAX_TRIES && state != CENSUS_READ && !*fatal; i++) {
		if (c->retry_ns + now_ns() - begin_ns > MAX_RETRY_NS)
			break;
		if (i > PROMPT_TRIES)
			sched_yield();
		state = look_at_list(c, object, list, why, fatal);
	}
	c->retry_ns += now_ns() - begin_ns;
	return state;
}

struct block_context {
	struct tt_metal_census *c;
	struct census_book *book;
	uint32_t index;
	bool in_use;
	int err;
};

static void on_block(void *context, uint64_t address, uint64_t bytes, bool allocated)
{
	struct block_context *b = context;
	struct census *out = b->c->out;
	int err;

	if (!allocated) {
		b->book->free_bytes += bytes;
		b->book->free_blocks += bytes > 0;
		if (bytes > b->book->largest_free_bytes)
			b->book->largest_free_bytes = bytes;
		return;
	}
	b->book->used_bytes += bytes;
	err = tt_metal_census_grow(b->c, &out->blocks, out->block_count, &b->c->block_room, sizeof(*out->blocks),
				   CENSUS_MAX_ALL_BLOCKS);
	if (err) {
		if (err != -E2BIG)
			b->err = err;
		return;
	}
	out->blocks[out->block_count++] = (struct census_block){.address = b->book->first_address + address,
								.bytes = bytes,
								.book = b->index,
								.owner = CENSUS_NONE};
	b->book->block_count++;
}

static void on_block_in_use(void *context, uint64_t address, uint64_t bytes, bool allocated)
{
	struct block_context *b = context;

	(void)address;
	(void)bytes;
	b->in_use = b->in_use || allocated;
}

bool tt_metal_census_list_in_use(struct tt_metal_census *c, uint64_t object)
{
	struct list *list = calloc(1, sizeof(*list));
	struct block_context context = {.c = c};
	const char *why;
	int fatal = 0;

	if (list && read_list(c, object, list, &why, &fatal) == CENSUS_READ)
		walk(c, list, on_block_in_use, &context);
	if (list)
		free(list->content[0]);
	free(list);
	return context.in_use;
}

static int read_book(struct tt_metal_census *c, struct census_book book, struct list *list)
{
	struct census *out = c->out;
	struct block_context context = {.c = c, .book = &book, .index = (uint32_t)out->book_count};
	int err = 0;

	if (!tt_metal_census_goes_on(c))
		return -ESRCH;
	book.first_block = out->block_count;
	book.state = read_list(c, book.object, list, &book.why, &err);
	if (!err && book.state == CENSUS_READ) {
		book.bank_bytes = word_of(list->object, c->layout->list_size);
		book.first_address = word_of(list->object, c->layout->list_first);
		walk(c, list, on_block, &context);
		err = context.err;
	}
	if (!err)
		err = tt_metal_census_grow(c, &out->books, out->book_count, &c->book_room, sizeof(*out->books),
					   CENSUS_MAX_BOOKS);
	if (!err)
		out->books[out->book_count++] = book;
	if (!err)
		err = table_set(&c->list_seen, book.object, 1);
	return err == -E2BIG ? 0 : err;
}

/* BufferType as the runtime numbers it; -1: none that is allocated. */
static int type_of(uint32_t raw)
{
	static const int8_t map[] = {MEMORY_DRAM, MEMORY_L1, -1, MEMORY_L1_SMALL, MEMORY_TRACE};

	return raw < sizeof(map) ? map[raw] : -1;
}

struct bank {
	uint64_t object;
	int type;
	uint32_t banks;
	uint64_t lists; /* address of the first pointer */
	size_t list_count;
};

/* What BankManager every version has: its memory type is the first member. */
static bool read_bank(struct tt_metal_census *c, uint64_t allocator, size_t number, struct bank *bank)
{
	const struct tt_metal_books *layout = c->layout;
	uint32_t type, count;

	if (memory_read(c->memory, allocator + layout->manager[number], &bank->object, 8) || bank->object < 4096 ||
	    bank->object % 8 || bank->object >= ADDRESS_END ||
	    memory_read(c->memory, bank->object, &type, sizeof(type)) ||
	    memory_read(c->memory, bank->object + layout->bank_count, &bank->banks, sizeof(bank->banks)))
		return false;
	bank->type = type_of(type);
	if (bank->type < 0 || bank->banks > MAX_BANKS)
		return false;
	bank->lists = bank->object + layout->bank_lists;
	bank->list_count = 1;
	if (!layout->bank_lists_many)
		return true;
	if (memory_read(c->memory, bank->object + layout->bank_list_count, &count, sizeof(count)) ||
	    count > MAX_CORE_LISTS || memory_read(c->memory, bank->lists, &bank->lists, sizeof(bank->lists)))
		return false;
	bank->list_count = count;
	return count == 0 || (bank->lists >= 4096 && bank->lists % 8 == 0 && bank->lists < ADDRESS_END);
}

/* An allocator is one when it leads to four bank managers of four different types. */
static bool is_allocator(struct tt_metal_census *c, uint64_t object)
{
	unsigned int types = 0;

	for (size_t i = 0; i < TT_METAL_MANAGERS; i++) {
		struct bank bank;

		if (!read_bank(c, object, i, &bank))
			return false;
		types |= 1u << bank.type;
	}
	return types == (1u << MEMORY_TYPE_COUNT) - 1;
}

int tt_metal_census_allocator(struct tt_metal_census *c, uint64_t object, uint32_t device, int32_t sub_device,
			      uint32_t *index)
{
	struct census *out = c->out;
	int err;

	if (table_find(&c->allocator_of, object, index))
		return 0;
	*index = CENSUS_NONE;
	if (!is_allocator(c, object))
		return 0;
	err = tt_metal_census_grow(c, &out->allocators, out->allocator_count, &c->allocator_room,
				   sizeof(*out->allocators), CENSUS_MAX_ALLOCATORS);
	if (err)
		return err == -E2BIG ? 0 : err;
	*index = (uint32_t)out->allocator_count++;
	out->allocators[*index] =
		(struct census_allocator){.object = object, .device = device, .sub_device = sub_device};
	return table_set(&c->allocator_of, object, *index);
}

static int read_allocator(struct tt_metal_census *c, uint32_t allocator, struct list *list)
{
	for (size_t i = 0; i < TT_METAL_MANAGERS; i++) {
		struct bank bank = {0};

		if (!read_bank(c, c->out->allocators[allocator].object, i, &bank))
			continue; /* closed since: its lists turn up among those without owner */
		for (size_t k = 0; k < bank.list_count && c->out->book_count < CENSUS_MAX_BOOKS; k++) {
			struct census_book book = {.allocator = allocator,
						   .list = (uint32_t)k,
						   .type = (enum memory_type)bank.type,
						   .banks = bank.banks};
			int err;

			if (memory_read(c->memory, bank.lists + 8 * k, &book.object, 8) || !book.object)
				continue;
			err = read_book(c, book, list);
			if (err)
				return err;
		}
	}
	return 0;
}

int tt_metal_census_books(struct tt_metal_census *c)
{
	struct list *list = calloc(1, sizeof(*list));
	int err = list ? 0 : -ENOMEM;

	c->out->book_count = c->out->block_count = 0;
	c->elements = 0;
	/* A list may be in any number of managers, and a manager in any number of allocators. */
	for (size_t i = 0; i < c->out->allocator_count && c->out->book_count < CENSUS_MAX_BOOKS && !err; i++)
		err = read_allocator(c, (uint32_t)i, list);
	if (c->out->book_count >= CENSUS_MAX_BOOKS)
		c->out->cut_off = true;
	if (list)
		free(list->content[0]);
	free(list);
	return err;
}
