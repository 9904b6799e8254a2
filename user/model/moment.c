// SPDX-License-Identifier: BSD-2-Clause
/*
 * A snapshot as bytes; see moment.h. Head, then for each process its structure, its strings and its
 * buffers; a buffer's chips follow it only where they are not those of the one before.
 */
#include "model/moment.h"

#include <errno.h>
#include <string.h>

#include "base/strbuf.h"
#include "model/arena.h"
#include "model/snapshot.h"
#include "model/snapshot_internal.h"

struct moment_process {
	uint32_t process, pid, exec_count, user;
	uint64_t start_ns, observed_ns, resynchronised;
	uint32_t id_len, command_len, exact;
	uint64_t buffer_count;
};

struct moment_buffer {
	uint64_t serial, object, address, size_bytes, page_size_bytes, footprint_bytes, allocated_ns, held_ns;
	uint32_t thread, chip_count;
	uint16_t type, state;
	uint32_t new_chips;
};

/* ---- there ---- */

static void moment_count(const struct snapshot *snapshot, struct moment_head *head)
{
	head->now_ns = snapshot->now_ns;
	head->processes = snapshot->process_count;
	for (size_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];
		uint64_t before = head->live_buffers;

		head->buffers += process->buffer_count;
		for (size_t b = 0; b < process->buffer_count; b++) {
			const struct snapshot_buffer *buffer = &process->buffers[b];

			if (buffer->state != BUFFER_LIVE)
				continue;
			head->live_buffers++;
			head->live_bytes += snapshot_buffer_bytes(buffer);
		}
		head->live_processes += head->live_buffers > before;
	}
}

static void moment_pack_buffer(struct strbuf *out, const struct snapshot_buffer *buffer,
			       const struct snapshot_buffer *before)
{
	struct moment_buffer packed = {
		.serial = buffer->serial,
		.object = buffer->object,
		.address = buffer->address,
		.size_bytes = buffer->size_bytes,
		.page_size_bytes = buffer->page_size_bytes,
		.footprint_bytes = buffer->footprint_bytes,
		.allocated_ns = buffer->allocated_ns,
		.held_ns = buffer->held_ns,
		.thread = buffer->thread,
		.chip_count = buffer->chip_count,
		.type = (uint16_t)buffer->type,
		.state = (uint16_t)buffer->state,
	};

	packed.new_chips = !before || before->chips != buffer->chips || before->chip_count != buffer->chip_count;
	strbuf_add(out, (const char *)&packed, sizeof(packed));
	if (packed.new_chips && buffer->chip_count)
		strbuf_add(out, (const char *)buffer->chips, buffer->chip_count * sizeof(*buffer->chips));
}

static void moment_pack_process(struct strbuf *out, const struct snapshot_process *process)
{
	struct moment_process packed = {
		.process = process->process,
		.pid = process->pid,
		.exec_count = process->exec_count,
		.user = process->user,
		.start_ns = process->start_ns,
		.observed_ns = process->observed_ns,
		.resynchronised = process->resynchronised,
		.id_len = (uint32_t)strlen(process->id),
		.command_len = (uint32_t)process->command_len,
		.exact = process->exact,
		.buffer_count = process->buffer_count,
	};

	strbuf_add(out, (const char *)&packed, sizeof(packed));
	strbuf_add(out, process->id, packed.id_len);
	strbuf_add(out, process->command, packed.command_len);
	for (size_t i = 0; i < process->buffer_count; i++)
		moment_pack_buffer(out, &process->buffers[i], i ? &process->buffers[i - 1] : NULL);
}

int moment_pack(const struct snapshot *snapshot, struct strbuf *out)
{
	struct moment_head head = {0};

	moment_count(snapshot, &head);
	strbuf_add(out, (const char *)&head, sizeof(head));
	for (size_t i = 0; i < snapshot->process_count; i++)
		moment_pack_process(out, &snapshot->processes[i]);
	return strbuf_error(out);
}

/* ---- and back ---- */

struct moment_reader {
	const char *at, *end;
};

/* NULL: there is no more. Nothing is aligned. */
static const char *moment_take(struct moment_reader *reader, uint64_t len)
{
	const char *taken = reader->at;

	if (len > (uint64_t)(reader->end - reader->at))
		return NULL;
	reader->at += len;
	return taken;
}

static int moment_copy(struct moment_reader *reader, void *out, size_t len)
{
	const char *data = moment_take(reader, len);

	if (!data)
		return -EINVAL;
	memcpy(out, data, len);
	return 0;
}

static int moment_unpack_buffer(struct arena *arena, struct moment_reader *reader, struct snapshot_buffer *out,
				const struct snapshot_buffer *before)
{
	struct moment_buffer packed;
	const char *chips;

	if (moment_copy(reader, &packed, sizeof(packed)))
		return -EINVAL;
	*out = (struct snapshot_buffer){
		.serial = packed.serial,
		.object = packed.object,
		.address = packed.address,
		.size_bytes = packed.size_bytes,
		.page_size_bytes = packed.page_size_bytes,
		.footprint_bytes = packed.footprint_bytes,
		.allocated_ns = packed.allocated_ns,
		.held_ns = packed.held_ns,
		.thread = packed.thread,
		.chip_count = packed.chip_count,
		.type = (enum memory_type)packed.type,
		.state = (enum buffer_state)packed.state,
		.allocator_id = SNAPSHOT_NO_ALLOCATOR,
	};
	if (!packed.new_chips) {
		out->chips = before ? before->chips : NULL;
		return before ? 0 : -EINVAL;
	}
	chips = moment_take(reader, packed.chip_count * sizeof(*out->chips));
	if (!chips)
		return -EINVAL;
	out->chips = arena_copy(arena, chips, packed.chip_count, sizeof(*out->chips));
	return 0;
}

static int moment_unpack_process(struct arena *arena, struct moment_reader *reader, struct snapshot_process *out)
{
	struct snapshot_buffer *buffers;
	struct moment_process packed;
	const char *id, *command;

	if (moment_copy(reader, &packed, sizeof(packed)))
		return -EINVAL;
	id = moment_take(reader, packed.id_len);
	command = moment_take(reader, packed.command_len);
	if (!id || !command ||
	    packed.buffer_count > (uint64_t)(reader->end - reader->at) / sizeof(struct moment_buffer))
		return -EINVAL;
	*out = (struct snapshot_process){
		.process = packed.process,
		.pid = packed.pid,
		.exec_count = packed.exec_count,
		.user = packed.user,
		.start_ns = packed.start_ns,
		.observed_ns = packed.observed_ns,
		.resynchronised = packed.resynchronised,
		.id = arena_string(arena, id, packed.id_len),
		.command = arena_string(arena, command, packed.command_len),
		.command_len = packed.command_len,
		.cgroup = "",
		.exact = packed.exact,
		.end = PROCESS_RUNNING,
	};
	buffers = arena_array(arena, packed.buffer_count, sizeof(*buffers));
	for (size_t i = 0; buffers && i < packed.buffer_count; i++) {
		if (moment_unpack_buffer(arena, reader, &buffers[i], i ? &buffers[i - 1] : NULL))
			return -EINVAL;
	}
	out->buffers = buffers;
	out->buffer_count = buffers ? packed.buffer_count : 0;
	return 0;
}

int moment_read_head(const void *data, size_t len, struct moment_head *out)
{
	struct moment_reader reader = {.at = data, .end = (const char *)data + len};

	return moment_copy(&reader, out, sizeof(*out));
}

struct snapshot *moment_unpack(const void *data, size_t len)
{
	struct moment_reader reader = {.at = data, .end = (const char *)data + len};
	struct snapshot_process *processes;
	struct moment_head head;
	struct snapshot *out;
	struct arena *arena;
	int err;

	if (moment_copy(&reader, &head, sizeof(head)) || head.processes > len / sizeof(struct moment_process))
		return NULL;
	out = snapshot_new(&arena);
	if (!out)
		return NULL;
	out->now_ns = head.now_ns;
	out->exact = true;
	processes = arena_array(arena, head.processes, sizeof(*processes));
	err = head.processes && !processes ? -ENOMEM : 0;
	for (size_t i = 0; !err && i < head.processes; i++) {
		err = moment_unpack_process(arena, &reader, &processes[i]);
		out->exact = out->exact && processes[i].exact;
	}
	out->processes = processes;
	out->process_count = head.processes;
	if (err || arena->failed) {
		snapshot_free(out);
		return NULL;
	}
	return out;
}
