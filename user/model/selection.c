// SPDX-License-Identifier: BSD-2-Clause
/* A part of a snapshot; see selection.h. The snapshot is the caller's alone, so its lists are changed in place. */
#include "model/selection.h"

#include <errno.h>
#include <stdlib.h>

#include "model/snapshot.h"

static bool selection_has(const struct selection_list *list, int64_t value)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->values[i] == value)
			return true;
	}
	return !list->count;
}

bool selection_of_buffers(const struct selection *selection)
{
	return selection->devices.count || selection->types || selection->min_size_bytes || selection->older_ns;
}

static bool selection_wants_type(const struct selection *selection, enum memory_type type)
{
	return !selection->types || selection->types & 1u << type;
}

static bool selection_on_device(const struct selection *selection, const struct snapshot_buffer *buffer)
{
	for (uint32_t i = 0; i < buffer->chip_count; i++) {
		if (selection_has(&selection->devices, buffer->chips[i]))
			return true;
	}
	return !selection->devices.count;
}

static bool selection_wants(const struct selection *selection, const struct snapshot_buffer *buffer, uint64_t now_ns)
{
	return selection_wants_type(selection, buffer->type) && buffer->size_bytes >= selection->min_size_bytes &&
	       (!buffer->allocated_ns || now_ns - buffer->allocated_ns >= selection->older_ns) &&
	       selection_on_device(selection, buffer);
}

/* ---- a process ---- */

/* Who else held memory when it ran out is told only of the same user. */
static void selection_holders(const struct selection *selection, struct snapshot_process *process)
{
	struct snapshot_failure *list = (struct snapshot_failure *)process->failures;

	for (size_t i = 0; i < process->failure_count; i++) {
		struct snapshot_failure *failure = &list[i];
		uint32_t kept = 0;

		for (uint32_t h = 0; h < failure->holder_count; h++) {
			if (failure->holders[h].user == selection->user)
				failure->holders[kept++] = failure->holders[h];
		}
		failure->holder_count = kept;
		failure->holders_left_out = 0; /* whose they were is not known any more */
		failure->one_user = true;
	}
}

static void selection_buffers(const struct selection *selection, struct snapshot_process *process, uint64_t now_ns)
{
	struct snapshot_buffer *list = (struct snapshot_buffer *)process->buffers;
	size_t kept = 0;

	for (size_t i = 0; i < process->buffer_count; i++) {
		if (selection_wants(selection, &list[i], now_ns))
			list[kept++] = list[i];
	}
	process->buffer_count = kept;
}

static void selection_count(struct snapshot_device *device, const struct snapshot_process *process)
{
	for (size_t i = 0; i < process->buffer_count; i++) {
		const struct snapshot_buffer *buffer = &process->buffers[i];
		bool here = !buffer->chip_count && device->device < 0;
		struct snapshot_type *figures = NULL;

		for (uint32_t chip = 0; !here && chip < buffer->chip_count; chip++)
			here = buffer->chips[chip] == device->device;
		for (uint32_t type = 0; here && type < device->type_count; type++) {
			if (device->types[type].type == buffer->type)
				figures = &device->types[type];
		}
		if (!figures)
			continue;
		if (buffer->state == BUFFER_LIVE) {
			figures->live_buffers++;
			figures->live_bytes += buffer->size_bytes;
		} else {
			figures->held_buffers++;
			figures->held_bytes += buffer->size_bytes;
		}
	}
}

static void selection_devices(const struct selection *selection, struct snapshot_process *process)
{
	struct snapshot_device *list = (struct snapshot_device *)process->devices;
	size_t kept = 0;

	for (size_t i = 0; i < process->device_count; i++) {
		struct snapshot_device *device = &list[kept];
		uint32_t types = 0;

		if (!selection_has(&selection->devices, list[i].device))
			continue;
		*device = list[i];
		for (uint32_t type = 0; type < device->type_count; type++) {
			struct snapshot_type figures = device->types[type];

			if (!selection_wants_type(selection, figures.type))
				continue;
			figures.live_buffers = figures.live_bytes = figures.held_buffers = figures.held_bytes = 0;
			device->types[types++] = figures;
		}
		device->type_count = types;
		selection_count(device, process);
		kept++;
	}
	process->device_count = kept;
}

/* ---- order ---- */

static int selection_by_age(const void *a, const void *b)
{
	const struct snapshot_buffer *left = a, *right = b;

	if (left->allocated_ns != right->allocated_ns)
		return left->allocated_ns < right->allocated_ns ? -1 : 1;
	return (left->serial > right->serial) - (left->serial < right->serial);
}

static int selection_by_address(const void *a, const void *b)
{
	const struct snapshot_buffer *left = a, *right = b;

	if (left->address != right->address)
		return left->address < right->address ? -1 : 1;
	return (left->serial > right->serial) - (left->serial < right->serial);
}

/* Within a type: largest first, as they are without an order. */
static int selection_by_type(const void *a, const void *b)
{
	const struct snapshot_buffer *left = a, *right = b;
	uint64_t left_bytes = snapshot_buffer_bytes(left), right_bytes = snapshot_buffer_bytes(right);

	if (left->type != right->type)
		return left->type < right->type ? -1 : 1;
	if (left_bytes != right_bytes)
		return left_bytes > right_bytes ? -1 : 1;
	return (left->serial > right->serial) - (left->serial < right->serial);
}

static int selection_by_pid(const void *a, const void *b)
{
	const struct snapshot_process *left = a, *right = b;

	if (left->pid != right->pid)
		return left->pid < right->pid ? -1 : 1;
	return (left->exec_count > right->exec_count) - (left->exec_count < right->exec_count);
}

static void selection_sort(const struct selection *selection, struct snapshot *snapshot)
{
	static int (*const compare[])(const void *, const void *) = {
		[SELECTION_BY_AGE] = selection_by_age,
		[SELECTION_BY_TYPE] = selection_by_type,
		[SELECTION_BY_ADDRESS] = selection_by_address,
	};

	if (selection->order == SELECTION_BY_SIZE)
		return; /* as they come */
	if (selection->order == SELECTION_BY_PID) {
		if (snapshot->process_count)
			qsort((void *)snapshot->processes, snapshot->process_count, sizeof(*snapshot->processes),
			      selection_by_pid);
		return;
	}
	for (size_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];

		if (process->buffer_count)
			qsort((void *)process->buffers, process->buffer_count, sizeof(*process->buffers),
			      compare[selection->order]);
	}
}

/* ---- the whole ---- */

/* What is named must be there, among what may be seen. */
static int selection_check(const struct selection *selection, const struct snapshot *snapshot, int64_t *missing)
{
	for (size_t i = 0; i < selection->pids.count; i++) {
		bool found = false;

		*missing = selection->pids.values[i];
		for (size_t p = 0; !found && p < snapshot->process_count; p++)
			found = snapshot->processes[p].pid == *missing;
		if (!found)
			return -ESRCH;
	}
	for (size_t i = 0; i < selection->devices.count; i++) {
		bool found = false;

		*missing = selection->devices.values[i];
		for (size_t p = 0; !found && p < snapshot->process_count; p++) {
			const struct snapshot_process *process = &snapshot->processes[p];

			for (size_t d = 0; !found && d < process->device_count; d++)
				found = process->devices[d].device == *missing;
		}
		if (!found)
			return -ENODEV;
	}
	return 0;
}

int selection_apply(const struct selection *selection, struct snapshot *snapshot, int64_t *missing)
{
	struct snapshot_process *list = (struct snapshot_process *)snapshot->processes;
	size_t kept = 0;
	int err;

	for (size_t i = 0; i < snapshot->process_count; i++) {
		if (selection->one_user && list[i].user != selection->user)
			continue;
		if (selection->one_user)
			selection_holders(selection, &list[i]);
		list[kept++] = list[i];
	}
	snapshot->process_count = kept;
	err = selection_check(selection, snapshot, missing);
	kept = 0;
	for (size_t i = 0; i < snapshot->process_count; i++) {
		struct snapshot_process *process = &list[i];

		if (!selection_has(&selection->pids, process->pid) || !selection_has(&selection->users, process->user))
			continue;
		if (selection_of_buffers(selection)) {
			selection_buffers(selection, process, snapshot->now_ns);
			selection_devices(selection, process);
			/* Whether one that is not exact has such buffers nobody knows: it stays, with its reasons. */
			if (!process->buffer_count && process->exact)
				continue;
		}
		list[kept++] = *process;
	}
	snapshot->process_count = kept;
	snapshot->exact = !snapshot->reason_count;
	for (size_t i = 0; i < kept; i++)
		snapshot->exact = snapshot->exact && list[i].exact;
	selection_sort(selection, snapshot);
	return err;
}
