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

#include "runtime/tt_metal_census.h"

#define PAGE         4096
#define STACK_BYTES  (1u << 20) /* of a thread's stack, from its stack pointer up */
#define THREAD_BYTES 2304       /* of a thread's descriptor that are looked at */
#define SELF_WORD    2          /* it has its own address at 0 and here: x86-64 ABI, tcbhead_t */
#define ID_FIRST     0x280      /* its thread number is somewhere here (0x2d0 in glibc 2.34 to 2.41) */
#define ID_LAST      0x320
#define MAX_THREADS  4096
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

static bool has_runtime_thread(struct tt_metal_census *c, size_t count, bool *unknown)
{
	struct memory_thread thread;

	*unknown = count > MAX_THREADS;
	for (size_t i = 0; i < count && i < MAX_THREADS; i++) {
		int err = c->memory->ops->thread(c->memory, i, &thread);

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

/*
 * One page that is still an ancestor's is enough: had the object been made after the fork, its page
 * had been written. The pages of an open device's other objects count too.
 */
static bool is_inherited(struct tt_metal_census *c, uint32_t device)
{
	const struct census *out = c->out;

	if (is_shared(c, out->devices[device].device.device_object))
		return true;
	for (size_t i = 0; i < out->book_count; i++) {
		uint32_t allocator = out->books[i].allocator;

		if (allocator != CENSUS_NONE && out->allocators[allocator].device == device &&
		    (is_shared(c, out->books[i].object) || is_shared(c, out->allocators[allocator].object)))
			return true;
	}
	return false;
}

void tt_metal_census_origin(struct tt_metal_census *c)
{
	struct memory_lineage lineage = {0};
	struct census *out = c->out;
	size_t inherited = 0, open = 0;
	bool unknown;

	out->origin = CENSUS_ORIGIN_UNKNOWN;
	if (c->memory->ops->lineage(c->memory, &lineage) || !lineage.known) {
		out->origin_sign = "the kernel's flags of the process cannot be read";
		return;
	}
	if (!lineage.forked) {
		out->origin = CENSUS_ORIGIN_OWN;
		out->origin_sign = "began with exec";
		return;
	}
	for (size_t i = 0; i < out->device_count; i++) {
		out->devices[i].inherited = is_inherited(c, (uint32_t)i);
		open += out->devices[i].open;
		inherited += out->devices[i].open && out->devices[i].inherited;
	}
	if (open && inherited == open) {
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
