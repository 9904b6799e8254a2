/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events in few words, for tests of the model and of what is made from it. Every step advances the
 * case's clock by one second unless the test sets it.
 */
#ifndef BUFSCOPE_TESTS_MODEL_CASE_H
#define BUFSCOPE_TESTS_MODEL_CASE_H

#include <stdint.h>
#include <string.h>

#include "event.h"
#include "model/model.h"
#include "model/notice.h"
#include "model/snapshot.h"

#define CASE_SECOND UINT64_C(1000000000)

struct model_case {
	struct model *model;
	uint64_t clock_ns;
	uint32_t thread;
	int err; /* the first that an event met with */
};

static inline void case_init(struct model_case *c)
{
	struct model_options options = {.keep_ended = true, .max_unmatched_frees = 3};

	*c = (struct model_case){.model = model_new(&options), .clock_ns = 1000 * CASE_SECOND, .thread = 77};
}

static inline void case_fini(struct model_case *c)
{
	model_free(c->model);
	c->model = NULL;
}

static inline int case_apply(struct model_case *c, struct event *event, uint32_t process)
{
	int err;

	event->process = process;
	event->thread = c->thread;
	event->time_ns = c->clock_ns;
	err = model_apply(c->model, event);
	c->clock_ns += CASE_SECOND;
	if (err && !c->err)
		c->err = err;
	return err;
}

/* @command: arguments with a NUL after each, as a string literal's sizeof counts them. */
static inline int case_birth_command(struct model_case *c, uint32_t process, enum birth_how how, uint32_t parent,
				     const char *command, size_t command_len)
{
	struct event event = {.kind = EVENT_BIRTH};

	event.birth = (struct event_birth){
		.how = how,
		.pid = how == BIRTH_EXEC ? 12344 + parent : 12344 + process,
		.exec_count = how == BIRTH_EXEC ? 1 : 0,
		.parent = parent,
		.start_ns = 999 * CASE_SECOND,
		.user = 1000,
		.command = command,
		.command_len = command_len,
		.cgroup = "/user.slice",
	};
	return case_apply(c, &event, process);
}

static inline int case_birth(struct model_case *c, uint32_t process, enum birth_how how, uint32_t parent)
{
	return case_birth_command(c, process, how, parent, "python3\0demo.py", sizeof("python3\0demo.py"));
}

static inline int case_runtime(struct model_case *c, uint32_t process, int64_t earlier, bool bulk_free_probed)
{
	static const struct layout_field layout[] = {{"buffer.size", 24}, {"buffer.device", -16}};
	struct event event = {.kind = EVENT_RUNTIME};

	event.runtime = (struct event_runtime){
		.name = "tt-metal",
		.library = "/opt/venv/lib/libtt_metal.so",
		.build_id = "0123456789abcdef",
		.layout = layout,
		.layout_count = 2,
		.earlier_objects = earlier,
		.bulk_free_probed = bulk_free_probed,
	};
	return case_apply(c, &event, process);
}

/* Chips @first to @first + @count - 1; @count 0: it could not be read. */
static inline int case_device(struct model_case *c, uint32_t process, uint64_t object, int32_t first, uint32_t count)
{
	struct event event = {.kind = EVENT_DEVICE};

	event.device = (struct event_device){
		.device_object = object,
		.readable = count,
		.is_mesh = count > 1,
		.chip_count = count,
	};
	for (uint32_t i = 0; i < count && i < EVENT_MAX_CHIPS; i++)
		event.device.chips[i] = first + (int32_t)i;
	return case_apply(c, &event, process);
}

/* The driver tells which chip a number is. @id 0: not its unique id. */
static inline int case_chip(struct model_case *c, uint32_t process, int32_t number, const char *pci, uint64_t id)
{
	struct event event = {.kind = EVENT_CHIP};

	event.chip = (struct event_chip){.chip = number, .identity = {.known = true, .unique_id = id, .board = "n300"}};
	strncpy(event.chip.identity.pci, pci, CHIP_PCI_LEN - 1);
	return case_apply(c, &event, process);
}

/* Allocator: the device object's address plus one. The address on the device: object x 16. */
static inline struct event case_buffer_event(enum event_kind kind, uint64_t object, uint64_t device,
					     enum memory_type type, uint64_t size)
{
	return (struct event){
		.kind = kind,
		.buffer =
			{
				.object = object,
				.device_object = device,
				.allocator = device + 1,
				.address = object * 16,
				.size_bytes = size,
				.page_size_bytes = 2048,
				.type = type,
			},
	};
}

static inline int case_alloc(struct model_case *c, uint32_t process, uint64_t object, uint64_t device,
			     enum memory_type type, uint64_t size)
{
	struct event event = case_buffer_event(EVENT_ALLOCATE, object, device, type, size);

	return case_apply(c, &event, process);
}

/* A free as the source sees it: with the fields of the object. */
static inline int case_free(struct model_case *c, uint32_t process, uint64_t object, uint64_t device)
{
	struct event event = case_buffer_event(EVENT_FREE, object, device, MEMORY_DRAM, 4096);

	return case_apply(c, &event, process);
}

/* @size 0: only the type is known. */
static inline int case_oom(struct model_case *c, uint32_t process, uint64_t device, enum memory_type type,
			   uint64_t size)
{
	struct event event = case_buffer_event(EVENT_OUT_OF_MEMORY, 0x9000, device, type, size);

	if (!size)
		event.buffer.fault = BUFFER_FAULT_UNREADABLE;
	return case_apply(c, &event, process);
}

/* RELEASE, UNSURE */
static inline int case_object(struct model_case *c, uint32_t process, enum event_kind kind, uint64_t object)
{
	struct event event = {.kind = kind};

	event.buffer.object = object;
	return case_apply(c, &event, process);
}

static inline int case_close(struct model_case *c, uint32_t process, uint64_t device)
{
	struct event event = {.kind = EVENT_CLOSE, .device_object = device};

	return case_apply(c, &event, process);
}

static inline int case_bulk_free(struct model_case *c, uint32_t process, uint64_t allocator)
{
	struct event event = {.kind = EVENT_BULK_FREE, .allocator = allocator};

	return case_apply(c, &event, process);
}

static inline int case_exit(struct model_case *c, uint32_t process, int32_t status, int32_t signal)
{
	struct event event = {.kind = EVENT_EXIT, .exit = {.status = signal ? -1 : status, .signal = signal}};

	return case_apply(c, &event, process);
}

static inline int case_exec(struct model_case *c, uint32_t process)
{
	struct event event = {.kind = EVENT_EXEC};

	return case_apply(c, &event, process);
}

static inline int case_lost(struct model_case *c, uint32_t process, uint64_t allocations, uint64_t frees)
{
	struct event event = {.kind = EVENT_LOST, .lost = {.allocations = allocations, .frees = frees}};

	return case_apply(c, &event, process);
}

static inline int case_stop(struct model_case *c, uint32_t process, uint64_t times, uint64_t stopped_ns)
{
	struct event event = {.kind = EVENT_STOP, .stop = {.times = times, .stopped_ns = stopped_ns}};

	return case_apply(c, &event, process);
}

/* What a census finds has no time and no thread. */
static inline int case_found(struct model_case *c, uint32_t process, uint64_t object, uint64_t device,
			     enum memory_type type, uint64_t size)
{
	struct event event = case_buffer_event(EVENT_ALLOCATE, object, device, type, size);

	event.process = process;
	return model_apply(c->model, &event);
}

/* Books of the device's allocator with a block of twice @size for each of @count objects. */
static inline int case_books(struct model_case *c, uint32_t process, uint64_t device, enum memory_type type,
			     const uint64_t *objects, size_t count, uint64_t size)
{
	struct event event = {.kind = EVENT_BOOKS};
	struct event_block blocks[16];

	for (size_t i = 0; i < count && i < 16; i++)
		blocks[i] = (struct event_block){.address = objects[i] * 16, .footprint_bytes = 2 * size};
	event.books = (struct event_books){
		.allocator = device + 1,
		.device_object = device,
		.type = type,
		.state = BOOKS_READ,
		.banks = 12,
		.capacity_bytes = UINT64_C(12) << 30,
		.used_bytes = 2 * size * count,
		.free_bytes = (UINT64_C(12) << 30) - 2 * size * count,
		.largest_free_bytes = ((UINT64_C(12) << 30) - 2 * size * count) / 4 * 3,
		.blocks = blocks,
		.block_count = count,
	};
	return case_apply(c, &event, process);
}

static inline int case_books_unread(struct model_case *c, uint32_t process, uint64_t device, enum memory_type type,
				    const char *why)
{
	struct event event = {.kind = EVENT_BOOKS};

	event.books = (struct event_books){
		.allocator = device + 1,
		.device_object = device,
		.type = type,
		.state = BOOKS_UNREAD,
		.why = why,
	};
	return case_apply(c, &event, process);
}

/* @reason NULL: exact. */
static inline int case_census(struct model_case *c, uint32_t process, const char *reason)
{
	struct event event = {.kind = EVENT_CENSUS};

	event.census = (struct event_census){.exact = !reason, .reason = reason, .scanned_bytes = 1 << 20};
	return case_apply(c, &event, process);
}

static inline struct snapshot *case_snapshot(const struct model_case *c)
{
	return model_snapshot(c->model, c->clock_ns);
}

/* The process with this number, or NULL when the snapshot does not show it. */
static inline const struct snapshot_process *case_find(const struct snapshot *snapshot, uint32_t process)
{
	for (size_t i = 0; i < snapshot->process_count; i++) {
		if (snapshot->processes[i].process == process)
			return &snapshot->processes[i];
	}
	return NULL;
}

static inline const struct snapshot_type *case_figures(const struct snapshot_process *process, int32_t device,
						       enum memory_type type)
{
	for (size_t i = 0; i < process->device_count; i++) {
		for (uint32_t t = 0; t < process->devices[i].type_count; t++) {
			if (process->devices[i].device == device && process->devices[i].types[t].type == type)
				return &process->devices[i].types[t];
		}
	}
	return NULL;
}

static inline bool case_has_reason(const struct snapshot_process *process, const char *reason)
{
	for (size_t i = 0; i < process->reason_count; i++) {
		if (!strcmp(process->reasons[i].reason, reason))
			return true;
	}
	return false;
}

/* The text of a reason, or "". */
static inline const char *case_reason_text(const struct snapshot_process *process, const char *reason)
{
	for (size_t i = 0; i < process->reason_count; i++) {
		if (!strcmp(process->reasons[i].reason, reason))
			return process->reasons[i].text;
	}
	return "";
}

/* The sum of both sides is one; see snapshot.h for what counts after the end. */
static inline bool case_balanced(const struct snapshot_process *p)
{
	uint64_t gone = p->freed + p->missed_frees + p->held_released;
	uint64_t rest = p->end == PROCESS_RUNNING ? p->live + p->held : p->cleared;

	return p->before_attach + p->allocated == gone + rest;
}

/* What the list of buffers adds up to must be what the figures of the devices say. */
static inline bool case_consistent(const struct snapshot_process *p)
{
	uint64_t live = 0, held = 0, spread = 0, bytes = 0, closed = 0;

	for (size_t i = 0; i < p->buffer_count; i++) {
		const struct snapshot_buffer *b = &p->buffers[i];
		uint64_t chips = b->chip_count ? b->chip_count : 1;

		live += b->state == BUFFER_LIVE;
		held += b->state != BUFFER_LIVE;
		spread += chips;
		bytes += chips * b->size_bytes;
	}
	for (size_t i = 0; i < p->device_count; i++) {
		for (uint32_t t = 0; t < p->devices[i].type_count; t++) {
			const struct snapshot_type *f = &p->devices[i].types[t];

			spread -= f->live_buffers + f->held_buffers;
			bytes -= f->live_bytes + f->held_bytes;
			if (f->peak_bytes < f->live_bytes || f->peak_buffers < f->live_buffers)
				return false;
		}
	}
	for (size_t i = 0; i < p->closure_count; i++)
		closed += p->closures[i].buffers;
	return live == p->live && held == p->held && !spread && !bytes && closed == held;
}

#endif
