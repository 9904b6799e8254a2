/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose objects they are: see "origin" in census.h.
 *
 * The runtime's threads are std::threads: at the top of such a thread's stack is its descriptor, which
 * the C library fills with the function to run and its argument, and that argument is an object with a
 * vtable of the library. (Return addresses on the stack prove nothing: a new thread gets the stack
 * of an old one, with all that was left there.)
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "runtime/tt_metal_census.h"

#define PAGE         4096
#define STACK_BYTES  (1u << 20) /* of a thread's stack, from its stack pointer up */
#define THREAD_BYTES 2304       /* of a thread's descriptor that are looked at */
#define SELF_WORD    2          /* it has its own address at 0 and here: x86-64 ABI, tcbhead_t */
#define ID_FIRST     0x280      /* its thread number is somewhere here (0x2d0 in glibc 2.34 to 2.41) */
#define ID_LAST      0x320
#define MAX_THREADS  4096
#define BUSY_TRIES   10   /* for one of them */
#define MAX_BUSY     100  /* for all: a millisecond each, and nobody is to hold others up */
#define MAX_BUFFERS  4096 /* whose pages are looked at */
#define ADDRESS_END  (1ULL << 47)

/* Is @address in a mapping of the library's file? */
static bool in_library(struct tt_metal_census *c, uint64_t address)
{
	struct memory_region text = {.path = NULL}, region;

	for (size_t i = 0; c->memory->ops->region(c->memory, i, &region) == 0; i++)
		if (region.start <= c->input->text_start && c->input->text_start < region.end)
			text = region;
	for (size_t i = 0; text.path && c->memory->ops->region(c->memory, i, &region) == 0; i++)
		if (address >= region.start && address < region.end)
			return strcmp(region.path, text.path) == 0;
	return false;
}

/* Is one of the words of a thread's descriptor a pointer to an object with a vtable of the library? */
static bool runs_library(struct tt_metal_census *c, const uint64_t *descriptor, size_t words)
{
	for (size_t i = 0; i < words; i++) {
		uint64_t vtable;

		if (descriptor[i] >= PAGE && descriptor[i] % 8 == 0 && descriptor[i] < ADDRESS_END &&
		    memory_read(c->memory, descriptor[i], &vtable, sizeof(vtable)) == 0 && vtable % 8 == 0 &&
		    in_library(c, vtable))
			return true;
	}
	return false;
}

static bool has_id(const uint64_t *descriptor, size_t words, int32_t id)
{
	for (size_t i = ID_FIRST / 8; i < ID_LAST / 8 && i < words; i++)
		if ((int32_t)descriptor[i] == id || (int32_t)(descriptor[i] >> 32) == id)
			return true;
	return false;
}

static bool is_runtime_thread(struct tt_metal_census *c, const struct memory_thread *thread)
{
	uint64_t words[(PAGE + THREAD_BYTES) / 8], at = thread->stack_pointer / 8 * 8, end = at + STACK_BYTES;

	while (at < end) {
		size_t len = PAGE - at % PAGE, tail;

		if (memory_read(c->memory, at, words, len))
			return false;
		/* a descriptor may go on in the next page */
		tail = memory_read(c->memory, at + len, (uint8_t *)words + len, THREAD_BYTES) ? 0 : THREAD_BYTES;
		for (size_t i = 0; i < len / 8; i++) {
			size_t left = (len + tail) / 8 - i;

			if (left > THREAD_BYTES / 8)
				left = THREAD_BYTES / 8;
			if (words[i] == at + 8 * i && left > SELF_WORD && words[i + SELF_WORD] == words[i] &&
			    has_id(words + i, left, thread->id))
				return runs_library(c, words + i, left);
		}
		at += len;
	}
	return false;
}

/* Few threads run all the time: asked again, most are found waiting. @left: how often that may still be done. */
static int ask_thread(struct tt_metal_census *c, size_t index, struct memory_thread *out, int *left)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	int err = c->memory->ops->thread(c->memory, index, out);

	for (int i = 0; err == -EBUSY && i<BUSY_TRIES && * left> 0; i++, (*left)--) {
		nanosleep(&moment, NULL);
		err = c->memory->ops->thread(c->memory, index, out);
	}
	return err;
}

static bool has_runtime_thread(struct tt_metal_census *c, size_t count, bool *unknown)
{
	struct memory_thread thread;
	int left = MAX_BUSY;

	*unknown = count > MAX_THREADS;
	for (size_t i = 0; i < count && i < MAX_THREADS && tt_metal_census_goes_on(c); i++) {
		int err = ask_thread(c, i, &thread, &left);

		if (err == -EBUSY)
			*unknown = true;
		if (!err && is_runtime_thread(c, &thread))
			return true;
	}
	return false;
}

static bool is_shared(struct tt_metal_census *c, uint64_t object)
{
	return object && c->memory->ops->shared_with_ancestor(c->memory, object) == 1;
}

/* A list was made with its vectors, and a vector that had grown since would have been written. */
static bool is_list_shared(struct tt_metal_census *c, uint64_t list)
{
	uint64_t data;

	if (is_shared(c, list))
		return true;
	for (size_t i = 0; i < LIST_VECTORS; i++)
		if (memory_read(c->memory, list + c->layout->list_vector[i], &data, sizeof(data)) == 0 &&
		    is_shared(c, data))
			return true;
	return false;
}

/* Are the objects that come with an open device, and last as long, still on an ancestor's pages? */
static bool is_inherited(struct tt_metal_census *c, uint32_t device)
{
	const struct census *out = c->out;

	if (is_shared(c, out->devices[device].device.device_object))
		return true;
	for (size_t i = 0; i < out->book_count; i++) {
		uint32_t allocator = out->books[i].allocator;

		if (allocator != CENSUS_NONE && out->allocators[allocator].device == device &&
		    (is_list_shared(c, out->books[i].object) || is_shared(c, out->allocators[allocator].object)))
			return true;
	}
	return false;
}

/* A live buffer from before the fork: so is its device. */
static void inherit_by_buffers(struct tt_metal_census *c)
{
	struct census *out = c->out;
	size_t step = out->confirmed_count / MAX_BUFFERS + 1;

	for (size_t i = 0; i < out->confirmed_count; i += step) {
		const struct census_buffer *buffer = &out->buffers[i];
		uint32_t device;

		if (table_find(&c->device_of, buffer->device_object, &device) && !out->devices[device].inherited)
			out->devices[device].inherited = is_shared(c, buffer->object) || is_shared(c, buffer->body);
	}
}

static bool has_chip(const struct event_device *mesh, const struct event_device *chip)
{
	bool found = false;

	for (uint32_t i = 0; i < mesh->chip_count && chip->chip_count == 1; i++)
		found |= mesh->chips[i] == chip->chips[0];
	return found;
}

/* The open mesh that is the only one with this chip; CENSUS_NONE: there are none or several. */
static uint32_t only_mesh_of(const struct census *out, const struct event_device *chip)
{
	uint32_t found = CENSUS_NONE;

	for (uint32_t i = 0; i < out->device_count; i++) {
		if (!out->devices[i].open || !out->devices[i].device.is_mesh ||
		    !has_chip(&out->devices[i].device, chip))
			continue;
		if (found != CENSUS_NONE)
			return CENSUS_NONE;
		found = i;
	}
	return found;
}

/* A chip is opened by a mesh and closed with it: what holds for one of them holds for the other. */
static void inherit_together(struct census *out)
{
	for (size_t i = 0; i < out->device_count; i++) {
		const struct census_device *chip = &out->devices[i];
		uint32_t mesh = CENSUS_NONE;

		if (!chip->device.is_mesh && chip->open && chip->inherited)
			mesh = only_mesh_of(out, &chip->device);
		if (mesh != CENSUS_NONE)
			out->devices[mesh].inherited = true;
	}
	for (size_t i = 0; i < out->device_count; i++) {
		const struct census_device *mesh = &out->devices[i];

		for (size_t k = 0; mesh->device.is_mesh && mesh->open && mesh->inherited && k < out->device_count; k++)
			if (!out->devices[k].device.is_mesh && has_chip(&mesh->device, &out->devices[k].device))
				out->devices[k].inherited = true;
	}
}

/*
 * One page that is still an ancestor's is enough: had the object been made after the fork, its page
 * had been written. True: no open device was opened here.
 */
static bool all_inherited(struct tt_metal_census *c)
{
	struct census *out = c->out;
	size_t open = 0, inherited = 0;

	for (size_t i = 0; i < out->device_count; i++)
		out->devices[i].inherited = is_inherited(c, (uint32_t)i);
	inherit_by_buffers(c);
	inherit_together(out);
	for (size_t i = 0; i < out->device_count; i++) {
		open += out->devices[i].open;
		inherited += out->devices[i].open && out->devices[i].inherited;
	}
	return open && inherited == open;
}

/* No process that this one was copied from has ever made a buffer: there was none to inherit. */
static bool nothing_to_inherit(struct tt_metal_census *c)
{
	uint64_t counter = c->input->library->made_counter_vaddr, made;
	int err;

	if (!counter)
		return false;
	for (size_t i = 0;; i++) {
		err = c->memory->ops->ancestor_read(c->memory, i, c->input->base + counter, &made, sizeof(made));
		if (err == -ENOENT)
			return i > 0;
		if (err || made)
			return false;
	}
}

void tt_metal_census_origin(struct tt_metal_census *c)
{
	struct memory_lineage lineage = {0};
	struct census *out = c->out;
	bool unknown;

	out->origin = CENSUS_ORIGIN_UNKNOWN;
	if (c->memory->ops->lineage(c->memory, &lineage) || !lineage.known) {
		out->origin_sign = "the kernel's flags of the process cannot be read";
	} else if (!lineage.forked) {
		out->origin = CENSUS_ORIGIN_OWN;
		out->origin_sign = "began with exec";
	} else if (nothing_to_inherit(c)) {
		out->origin = CENSUS_ORIGIN_OWN;
		out->origin_sign = "forked, from processes that never made a buffer";
	} else if (all_inherited(c)) {
		out->origin = CENSUS_ORIGIN_INHERITED;
		out->origin_sign = "forked, and pages of its objects are an ancestor's";
	} else if (has_runtime_thread(c, lineage.thread_count, &unknown)) {
		/* Its own, or a copy that parent and child have both written to since: some versions start threads anew. */
		out->origin_sign = lineage.parent_alive ? "forked, with pages and runtime threads of its own"
							: "forked from a process that is gone";
	} else if (unknown) {
		out->origin_sign = "forked, and a running thread cannot be judged";
	} else {
		out->origin = CENSUS_ORIGIN_INHERITED;
		out->origin_sign = "forked, and no thread of the runtime is in it";
		for (size_t i = 0; i < out->device_count; i++)
			out->devices[i].inherited = true;
	}
}
