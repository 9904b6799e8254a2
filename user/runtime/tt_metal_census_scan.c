/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Going through memory for objects, once, in big pieces: see tt_metal_census.h.
 *
 * Devices and lists are known by their first word, a vtable of the library. A Buffer has none, but it is
 * under shared ownership and so has a weak pointer to itself: a word that holds its own address. One
 * comparison a word finds both, so memory needs to be copied only once. What is found is only a
 * candidate.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tt_metal_census.h"

#define PAGE          4096
#define CHUNK_BYTES   (256u << 10) /* stays in the processor's cache between copying and looking */
#define TAIL_BYTES    512          /* read beyond the chunk, so that an object on its border is whole */
#define BATCH         512
#define STEP_BYTES    (1ULL << 30)
#define MAX_USE_COUNT 1000000 /* more owners than this is garbage, not an object */
#define ADDRESS_END   (1ULL << 47)

struct control {
	uint64_t vtable;
	int32_t use_count, weak_count;
};

/* A buffer whose fields are not in the chunk. */
struct pending {
	uint64_t object, body;
	uint8_t window[PLAN_WINDOW_BYTES];
};

struct scan {
	struct tt_metal_census *c;
	uint64_t list, chip, mesh; /* the words looked for */
	uint64_t low, span;
	uint8_t *chunk;
	uint64_t start; /* address of chunk[0] */
	size_t len;     /* bytes in it */
	struct pending *pending;
	struct memory_part *parts;
	size_t pending_count;
	int err;
};

int words_add(struct words *words, uint64_t value, size_t limit)
{
	if (words->count >= limit)
		return -E2BIG;
	if (words->count == words->capacity) {
		size_t capacity = words->capacity ? words->capacity * 2 : 64;
		uint64_t *grown = realloc(words->data, capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		words->data = grown;
		words->capacity = capacity;
	}
	words->data[words->count++] = value;
	return 0;
}

/* The fields of a buffer that owns live memory, or false. */
static bool decode(const struct tt_metal_census *c, uint64_t object, const uint8_t *window, struct census_buffer *out)
{
	const struct library_plan *library = c->input->library;
	struct event_buffer buffer = {.object = object};

	if (window[c->layout->owns] != 1 || !library->runtime->decode(library, PROBE_ALLOCATE, window, &buffer) ||
	    buffer.fault != BUFFER_FAULT_NONE || buffer.device_object >= ADDRESS_END)
		return false;
	out->object = object;
	out->device_object = buffer.device_object;
	out->allocator = buffer.allocator;
	out->address = buffer.address;
	out->size_bytes = buffer.size_bytes;
	out->page_size_bytes = buffer.page_size_bytes;
	out->type = (uint8_t)buffer.type;
	return true;
}

static void add_candidate(struct scan *s, uint64_t object, uint64_t body, const uint8_t *window)
{
	struct census_buffer found = {.body = body, .block = CENSUS_NONE, .verdict = CENSUS_CANDIDATE};
	struct tt_metal_census *c = s->c;
	int err;

	if (!decode(c, object, window, &found))
		return;
	err = tt_metal_census_grow(c, &c->out->buffers, c->out->buffer_count, &c->buffer_room, sizeof(*c->out->buffers),
				   CENSUS_MAX_CANDIDATES);
	if (!err)
		c->out->buffers[c->out->buffer_count++] = found;
	else if (err != -E2BIG)
		s->err = err;
}

static void flush(struct scan *s)
{
	size_t len = s->c->input->library->read.window_len;
	int err;

	for (size_t i = 0; i < s->pending_count; i++)
		s->parts[i] = (struct memory_part){.address = s->pending[i].body,
						   .buf = s->pending[i].window,
						   .len = (uint32_t)len};
	err = s->c->memory->ops->read_many(s->c->memory, s->parts, s->pending_count);
	if (err)
		s->err = err;
	for (size_t i = 0; i < s->pending_count && !err; i++)
		if (s->parts[i].ok)
			add_candidate(s, s->pending[i].object, s->pending[i].body, s->pending[i].window);
	s->pending_count = 0;
}

static bool in_chunk(const struct scan *s, uint64_t address, size_t len)
{
	return address >= s->start && address - s->start <= s->len && len <= s->len - (address - s->start);
}

static uint64_t word_at(const struct scan *s, uint64_t address)
{
	uint64_t value;

	memcpy(&value, s->chunk + (address - s->start), sizeof(value));
	return value;
}

/* The word at @address holds its own address: is it the weak pointer of a Buffer to itself? */
static void on_self_pointer(struct scan *s, uint64_t address)
{
	const struct object_read *read = &s->c->input->library->read;
	uint64_t object = address - (uint64_t)s->c->input->library->weak_this_offset, body = object, control;

	if (!in_chunk(s, object, s->c->head_bytes))
		return;
	control = word_at(s, address + 8);
	if (!control || control % 8 || control >= ADDRESS_END)
		return;
	if (read->indirect)
		body = word_at(s, object + read->pointer_offset);
	if (!body || body % 8 || body >= ADDRESS_END)
		return;
	body += read->window_offset;
	if (in_chunk(s, body, read->window_len)) {
		add_candidate(s, object, body, s->chunk + (body - s->start));
		return;
	}
	s->pending[s->pending_count].object = object;
	s->pending[s->pending_count++].body = body;
	if (s->pending_count == BATCH)
		flush(s);
}

static void on_vtable(struct scan *s, uint64_t address, uint64_t word)
{
	struct tt_metal_census *c = s->c;
	int err = 0;

	if (word == s->list)
		err = words_add(&c->lists, address, CENSUS_MAX_LISTS);
	else if (word == s->chip || word == s->mesh)
		err = words_add(&c->devices, address, CENSUS_MAX_DEVICES);
	if (err == -E2BIG)
		c->out->cut_off = true;
	else if (err)
		s->err = err;
}

/* @len bytes of the chunk; what is behind them is only there to be looked at. */
static void scan_words(struct scan *s, size_t len)
{
	const uint64_t *word = (const uint64_t *)s->chunk;
	const uint64_t low = s->low, span = s->span;
	uint64_t address = s->start;

	for (size_t i = 0; i < len / 8; i++, address += 8) {
		uint64_t value = word[i];

		if (__builtin_expect((value - low <= span) | (value == address), 0)) {
			if (value == address)
				on_self_pointer(s, address);
			else
				on_vtable(s, address, value);
		}
	}
}

static int scan_chunk(struct scan *s, uint64_t from, size_t len, size_t with_tail)
{
	int err = memory_read(s->c->memory, from, s->chunk, with_tail);

	s->start = from;
	if (!err) {
		s->len = with_tail;
		scan_words(s, len);
		s->c->out->scanned_bytes += len;
		return s->err;
	}
	if (err != -EFAULT)
		return err;
	/* a page has gone since: what is left, page by page */
	for (size_t at = 0; at < len && !s->err; at += PAGE) {
		size_t part = len - at < PAGE ? len - at : PAGE;

		err = memory_read(s->c->memory, from + at, s->chunk, part);
		if (err == -EFAULT)
			continue;
		if (err)
			return err;
		s->start = from + at;
		s->len = part;
		scan_words(s, part);
		s->c->out->scanned_bytes += part;
	}
	return s->err;
}

/* The next run at or behind *at. Older kernels are asked page by page, and a mapping can be 20 TB of nothing: in steps. */
static int next_run(struct scan *s, uint64_t *at, uint64_t end, struct memory_run *run)
{
	const struct memory_ops *ops = s->c->memory->ops;
	int err = -ENOENT;

	while (err == -ENOENT && *at < end) {
		uint64_t step = end - *at < STEP_BYTES ? end : *at + STEP_BYTES;

		err = ops->present(s->c->memory, *at, step, run, &s->c->out->missing_bytes);
		if (err == -ENOENT)
			*at = step;
		if (!tt_metal_census_goes_on(s->c))
			return -ESRCH;
	}
	/* Whole, as an object may lie across the step's end. */
	if (!err && run->end > run->start && *at <= run->start)
		err = ops->present(s->c->memory, run->start, end, run, &s->c->out->missing_bytes);
	return err;
}

static int scan_region(struct scan *s, const struct memory_region *region)
{
	uint64_t at = region->start;
	struct memory_run run;
	int err;

	while (at < region->end) {
		err = next_run(s, &at, region->end, &run);
		if (err == -ENOENT)
			return 0;
		if (err)
			return err;
		if (run.start < at || run.end <= run.start || run.end > region->end)
			return -EINVAL;
		for (at = run.start; at < run.end;) {
			uint64_t left = run.end - at;
			size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
			size_t with_tail = left < CHUNK_BYTES + TAIL_BYTES ? (size_t)left : CHUNK_BYTES + TAIL_BYTES;

			err = scan_chunk(s, at, len, with_tail);
			if (!err && !tt_metal_census_goes_on(s->c))
				err = -ESRCH;
			if (err)
				return err;
			at += len;
		}
	}
	return 0;
}

static bool is_wanted(const struct memory_region *region)
{
	return region->readable && region->writable && !region->shared && region->start % 8 == 0 &&
	       (region->kind == MEMORY_KIND_ORDINARY || region->kind == MEMORY_KIND_HUGE);
}

static void set_words(struct scan *s)
{
	const struct library_plan *library = s->c->input->library;
	uint64_t high;

	s->list = s->c->input->base + s->c->layout->list_vtable;
	s->chip = s->c->input->base + library->walk.chip_vtable;
	s->mesh = s->c->input->base + library->walk.mesh_vtable;
	s->low = high = s->list;
	if (s->chip < s->low)
		s->low = s->chip;
	if (s->mesh < s->low)
		s->low = s->mesh;
	if (s->chip > high)
		high = s->chip;
	if (s->mesh > high)
		high = s->mesh;
	s->span = high - s->low;
}

int tt_metal_census_scan(struct tt_metal_census *c)
{
	struct scan s = {.c = c};
	struct memory_region region;
	int err = 0;

	set_words(&s);
	s.chunk = malloc(CHUNK_BYTES + TAIL_BYTES);
	s.pending = malloc(BATCH * sizeof(*s.pending));
	s.parts = malloc(BATCH * sizeof(*s.parts));
	if (!s.chunk || !s.pending || !s.parts)
		err = -ENOMEM;
	for (size_t i = 0; !err && c->memory->ops->region(c->memory, i, &region) == 0; i++)
		if (is_wanted(&region))
			err = scan_region(&s, &region);
	if (!err) {
		flush(&s);
		err = s.err;
	}
	free(s.chunk);
	free(s.pending);
	free(s.parts);
	return err;
}

#define SPAN_BYTES    512
#define CONTROL_BYTES sizeof(struct control)

/* One object read again. Mostly all of it was allocated at once and is close together: then one read does. */
struct recheck {
	uint32_t index;
	bool close;
	uint8_t span[SPAN_BYTES]; /* close: from the control block in front of it to the end of its fields */
	uint8_t head[TT_METAL_HEAD_BYTES];
	uint8_t window[PLAN_WINDOW_BYTES];
	struct control control;
};

static uint64_t head_word(const struct recheck *r, uint64_t offset)
{
	uint64_t value;

	memcpy(&value, r->head + offset, sizeof(value));
	return value;
}

static uint64_t control_of(const struct tt_metal_census *c, const struct recheck *r)
{
	return head_word(r, (uint64_t)c->input->library->weak_this_offset + 8);
}

/* Is it still the same object, alive, with its fields where they were? */
static bool is_alive(const struct tt_metal_census *c, const struct recheck *r, const struct census_buffer *buffer)
{
	const struct library_plan *library = c->input->library;
	uint64_t weak = (uint64_t)library->weak_this_offset, body = buffer->object;

	if (head_word(r, weak) != buffer->object + weak)
		return false;
	if (library->read.indirect)
		body = head_word(r, library->read.pointer_offset);
	return body + library->read.window_offset == buffer->body && r->control.use_count > 0 &&
	       r->control.use_count <= MAX_USE_COUNT && r->control.weak_count > 0 && r->control.vtable &&
	       r->control.vtable % 8 == 0;
}

/* Where the parts of the objects are to be read, two parts an object at most. */
static size_t plan_reads(struct tt_metal_census *c, struct recheck *batch, size_t count, struct memory_part *parts)
{
	uint32_t window_len = c->input->library->read.window_len;
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		const struct census_buffer *buffer = &c->out->buffers[batch[i].index];
		uint64_t start = buffer->object - CONTROL_BYTES, end = buffer->object + c->head_bytes;

		if (end < buffer->body + window_len)
			end = buffer->body + window_len;
		batch[i].close = buffer->body >= buffer->object && end - start <= SPAN_BYTES;
		if (batch[i].close) {
			parts[n++] = (struct memory_part){.address = start,
							  .buf = batch[i].span,
							  .len = (uint32_t)(end - start)};
			continue;
		}
		parts[n++] =
			(struct memory_part){.address = buffer->object, .buf = batch[i].head, .len = c->head_bytes};
		parts[n++] = (struct memory_part){.address = buffer->body, .buf = batch[i].window, .len = window_len};
	}
	return n;
}

/* Takes the fields out of what was read. GONE when there are none. Returns how many parts it had. */
static size_t take_fields(struct tt_metal_census *c, struct recheck *r, const struct memory_part *parts)
{
	struct census_buffer *buffer = &c->out->buffers[r->index];
	const struct library_plan *library = c->input->library;
	bool ok = parts[0].ok && (r->close || parts[1].ok);

	if (r->close && !ok) {
		/* what is in front of it is not there: perhaps it begins a page */
		ok = memory_read(c->memory, buffer->object, r->head, c->head_bytes) == 0 &&
		     memory_read(c->memory, buffer->body, r->window, library->read.window_len) == 0 &&
		     decode(c, buffer->object, r->window, buffer);
		r->close = false;
		buffer->verdict = ok ? CENSUS_CANDIDATE : CENSUS_GONE;
		return 1;
	}
	if (r->close) {
		memcpy(&r->control, r->span, CONTROL_BYTES);
		memcpy(r->head, r->span + CONTROL_BYTES, c->head_bytes);
		memcpy(r->window, r->span + CONTROL_BYTES + (buffer->body - buffer->object), library->read.window_len);
		/* its control block is elsewhere, and read on its own */
		r->close = control_of(c, r) == buffer->object - CONTROL_BYTES;
		ok = decode(c, buffer->object, r->window, buffer);
		buffer->verdict = ok ? CENSUS_CANDIDATE : CENSUS_GONE;
		return 1;
	}
	ok = ok && decode(c, buffer->object, r->window, buffer);
	buffer->verdict = ok ? CENSUS_CANDIDATE : CENSUS_GONE;
	return r->close ? 1 : 2;
}

static int recheck_batch(struct tt_metal_census *c, struct recheck *batch, size_t count, struct memory_part *parts)
{
	size_t n = plan_reads(c, batch, count, parts), at = 0;
	int err = c->memory->ops->read_many(c->memory, parts, n);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		at += take_fields(c, &batch[i], parts + at);
	n = 0;
	for (size_t i = 0; i < count; i++) {
		if (batch[i].close || c->out->buffers[batch[i].index].verdict == CENSUS_GONE)
			continue;
		memset(&batch[i].control, 0, sizeof(batch[i].control));
		parts[n++] = (struct memory_part){.address = control_of(c, &batch[i]),
						  .buf = &batch[i].control,
						  .len = CONTROL_BYTES};
	}
	if (n)
		err = c->memory->ops->read_many(c->memory, parts, n);
	for (size_t i = 0; i < count && !err; i++) {
		struct census_buffer *buffer = &c->out->buffers[batch[i].index];

		if (buffer->verdict != CENSUS_GONE && !is_alive(c, &batch[i], buffer))
			buffer->verdict = CENSUS_GONE;
	}
	return err;
}

int tt_metal_census_recheck(struct tt_metal_census *c)
{
	struct memory_part *parts = malloc(2 * BATCH * sizeof(*parts));
	struct recheck *batch = malloc(BATCH * sizeof(*batch));
	size_t count = 0;
	int err = parts && batch ? 0 : -ENOMEM;

	for (size_t i = 0; i < c->out->buffer_count && !err; i++) {
		/* also those that were gone: a new buffer may have taken the same place */
		batch[count++].index = (uint32_t)i;
		if (count == BATCH) {
			err = recheck_batch(c, batch, count, parts);
			count = 0;
			if (!tt_metal_census_goes_on(c))
				break;
		}
	}
	if (!err && count)
		err = recheck_batch(c, batch, count, parts);
	free(parts);
	free(batch);
	return err;
}
