/* SPDX-License-Identifier: BSD-2-Clause */
/* Judges one object in another process's memory. Owns nothing. */
#include "source/held.h"

#include <errno.h>
#include <string.h>

#include "runtime/runtime.h"
#include "source/procfs.h"

#define MAX_USE_COUNT 1000000 /* more owners than this is garbage, not an object */

/* Are the object's own fields those of the buffer we know? A view of another buffer may have taken its place. */
static enum object_state same_buffer(pid_t pid, const struct library_plan *plan, const struct event_buffer *expected)
{
	struct event_buffer now = {.object = expected->object};
	uint64_t from = expected->object;
	uint8_t window[PLAN_WINDOW_BYTES] = {0};
	int err;

	if (plan->read.indirect) {
		err = procfs_read_memory(pid, from + plan->read.pointer_offset, &from, sizeof(from));
		if (err)
			return err == -EFAULT ? OBJECT_GONE : OBJECT_UNSURE;
	}
	err = procfs_read_memory(pid, from + plan->read.window_offset, window, plan->read.window_len);
	if (err)
		return err == -EFAULT ? OBJECT_GONE : OBJECT_UNSURE;
	if (!plan->runtime->decode(plan, PROBE_FREE, window, &now) || now.fault != BUFFER_FAULT_NONE)
		return OBJECT_GONE;
	if (now.device_object != expected->device_object || now.address != expected->address ||
	    now.size_bytes != expected->size_bytes || now.type != expected->type)
		return OBJECT_GONE;
	return OBJECT_ALIVE;
}

enum object_state held_check(pid_t pid, const struct library_plan *plan, const struct event_buffer *expected)
{
	struct {
		uint64_t self, control;
	} weak;
	struct {
		uint64_t vtable;
		int32_t use_count, weak_count;
	} control;
	int err;

	if (plan->weak_this_offset < 0)
		return OBJECT_UNSURE;
	err = procfs_read_memory(pid, expected->object + (uint64_t)plan->weak_this_offset, &weak, sizeof(weak));
	if (err == -ESRCH || err == -EFAULT)
		return OBJECT_GONE; /* not even the page is there */
	if (err)
		return OBJECT_UNSURE;
	if (weak.self != expected->object || !weak.control || weak.control % 8)
		return OBJECT_GONE;
	err = procfs_read_memory(pid, weak.control, &control, sizeof(control));
	if (err)
		return err == -EFAULT ? OBJECT_GONE : OBJECT_UNSURE;
	if (control.use_count == 0)
		return OBJECT_GONE;
	/* A destroyed object's block belongs to the allocator again, whose links and keys look like nothing below. */
	if (control.use_count < 0 || control.use_count > MAX_USE_COUNT || control.weak_count <= 0 || !control.vtable ||
	    control.vtable % 8)
		return OBJECT_GONE;
	return same_buffer(pid, plan, expected);
}
