/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw records into events. Owns nothing. */
#include "source/decode.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "runtime/runtime.h"

static int decode_object(const struct wire_object *record, const struct library_plan *plan, struct event *event)
{
	struct event_buffer *buffer = &event->buffer;
	enum probe_role role = record->head.role;

	if (role != PROBE_ALLOCATE && role != PROBE_FREE && role != PROBE_OUT_OF_MEMORY)
		return -EINVAL;
	event->kind = role == PROBE_ALLOCATE ? EVENT_ALLOCATE : role == PROBE_FREE ? EVENT_FREE : EVENT_OUT_OF_MEMORY;
	buffer->object = record->object;
	buffer->fault = record->head.flags & WIRE_NOT_FOUND ? BUFFER_FAULT_UNREADABLE : BUFFER_FAULT_NONE;
	if (record->head.flags & WIRE_UNREADABLE)
		buffer->fault = BUFFER_FAULT_UNREADABLE;
	else if (!plan->runtime->decode(plan, role, record->window, buffer))
		event->kind = 0;
	return 0;
}

static int decode_call(const struct wire_call *record, struct event *event)
{
	switch (record->head.role) {
	case PROBE_CLOSE:
		event->kind = EVENT_CLOSE;
		event->device_object = record->argument;
		return 0;
	case PROBE_BULK_FREE:
		event->kind = EVENT_BULK_FREE;
		event->allocator = record->argument;
		return 0;
	case PROBE_DESTROY:
		event->kind = EVENT_RELEASE;
		event->buffer.object = record->argument;
		return 0;
	default:
		return -EINVAL;
	}
}

static int decode_device(const struct wire_device *record, struct event *event)
{
	if (record->chip_count > EVENT_MAX_CHIPS)
		return -EINVAL;
	event->kind = EVENT_DEVICE;
	event->device.device_object = record->object;
	event->device.readable = !(record->head.flags & WIRE_UNREADABLE);
	event->device.is_mesh = record->is_mesh;
	event->device.chip_count = record->chip_count;
	event->device.cut_off = record->cut_off;
	memcpy(event->device.chips, record->chips, record->chip_count * sizeof(record->chips[0]));
	return 0;
}

static void decode_exit(const struct wire_exit *record, struct decoded *out)
{
	struct event_exit *event = &out->event.exit;
	int status = record->exit_code;

	out->event.kind = EVENT_EXIT;
	out->lost = record->lost;
	out->stopped_ns = record->stopped_ns;
	event->signal = WTERMSIG(status);
	event->status = event->signal ? -1 : WEXITSTATUS(status);
	event->core_dumped = WCOREDUMP(status);
}

int decode_record(const void *record, size_t len,
		  const struct library_plan *(*plan_of)(void *context, uint32_t library), void *context,
		  struct decoded *out)
{
	static const size_t sizes[] = {
		[WIRE_OBJECT] = sizeof(struct wire_object), [WIRE_CALL] = sizeof(struct wire_call),
		[WIRE_DEVICE] = sizeof(struct wire_device), [WIRE_FORK] = sizeof(struct wire_fork),
		[WIRE_EXEC] = sizeof(struct wire_exec),     [WIRE_EXIT] = sizeof(struct wire_exit),
		[WIRE_ADOPT] = sizeof(struct wire_adopt),
	};
	const struct wire_head *head = record;
	const struct wire_fork *fork = record;
	const struct wire_exec *exec = record;
	const struct wire_adopt *adopt = record;
	const struct library_plan *plan;

	if (len < sizeof(*head) || head->kind >= sizeof(sizes) / sizeof(sizes[0]) || !sizes[head->kind] ||
	    len < sizes[head->kind])
		return -EINVAL;
	memset(out, 0, offsetof(struct decoded, event.device.chips));
	out->head = *head;
	out->event.process = head->process;
	out->event.thread = head->thread;
	out->event.time_ns = head->time_ns;
	switch (head->kind) {
	case WIRE_OBJECT:
		plan = plan_of(context, head->library);
		return plan ? decode_object(record, plan, &out->event) : -EINVAL;
	case WIRE_CALL:
		return decode_call(record, &out->event);
	case WIRE_DEVICE:
		return decode_device(record, &out->event);
	case WIRE_FORK:
		out->event.kind = EVENT_BIRTH;
		out->event.birth.how = BIRTH_FORK;
		out->event.birth.pid = head->pid;
		out->event.birth.parent = fork->parent;
		out->event.birth.start_ns = out->start_ns = fork->start_ns;
		return 0;
	case WIRE_EXEC:
		out->event.kind = EVENT_EXEC;
		out->exec_next = exec->next;
		out->exec_count = exec->exec_count;
		out->start_ns = exec->start_ns;
		return 0;
	case WIRE_ADOPT:
		out->start_ns = adopt->start_ns;
		out->user = adopt->user;
		memcpy(out->name, adopt->name, sizeof(out->name));
		out->name[sizeof(out->name) - 1] = 0;
		return 0;
	default:
		decode_exit(record, out);
		return 0;
	}
}
