// SPDX-License-Identifier: BSD-2-Clause
/* Uses of chips, grouped by what the driver says they are; see chip_totals.h. */
#include "model/chip_totals.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct use { /* a member, and where it came from */
	struct chip_member member;
	const struct chip_identity *chip; /* of the group that it belongs to */
	size_t order;
};

struct chip_totals_owner {
	struct chip_totals totals; /* first: the public pointer is this one */
	struct chip_total *rows;
	struct chip_member *members;
};

static size_t count_uses(const struct snapshot *snapshot)
{
	size_t count = 0;

	for (size_t i = 0; i < snapshot->process_count; i++) {
		if (snapshot->processes[i].end == PROCESS_RUNNING)
			count += snapshot->processes[i].device_count;
	}
	return count;
}

static void collect(const struct snapshot *snapshot, struct use *uses)
{
	size_t count = 0;

	for (size_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];

		if (process->end != PROCESS_RUNNING)
			continue;
		for (size_t d = 0; d < process->device_count; d++) {
			const struct snapshot_device *device = &process->devices[d];

			uses[count] = (struct use){{process, device}, &device->chip, count};
			count++;
		}
	}
}

/* Known chips first, by address, of one address those that tell their id first; the rest as it was. */
static int by_chip(const void *a, const void *b)
{
	const struct use *left = a, *right = b;
	int order;

	if (left->chip->known != right->chip->known)
		return left->chip->known ? -1 : 1;
	if (left->chip->known) {
		order = strcmp(left->chip->pci, right->chip->pci);
		if (order)
			return order;
		if (left->chip->unique_id != right->chip->unique_id)
			return left->chip->unique_id > right->chip->unique_id ? -1 : 1;
	}
	return (left->order > right->order) - (left->order < right->order);
}

static uint64_t capacity(const struct chip_member *member, enum memory_type type)
{
	const struct snapshot_process *process = member->process;
	uint64_t largest = 0;

	for (size_t i = 0; i < process->allocator_count; i++) {
		const struct snapshot_allocator *allocator = &process->allocators[i];
		bool here = false;

		for (uint32_t chip = 0; chip < allocator->chip_count; chip++)
			here |= allocator->chips[chip] == member->device->device;
		if (here && allocator->type == type && allocator->capacity_bytes > largest)
			largest = allocator->capacity_bytes;
	}
	return largest;
}

static void add_member(struct chip_total_type *sums, const struct chip_member *member)
{
	for (uint32_t i = 0; i < member->device->type_count; i++) {
		const struct snapshot_type *type = &member->device->types[i];
		struct chip_total_type *sum = &sums[type->type];
		uint64_t size = capacity(member, type->type);

		sum->live_buffers += type->live_buffers;
		sum->live_bytes += type->live_bytes;
		sum->held_buffers += type->held_buffers;
		sum->held_bytes += type->held_bytes;
		if (size > sum->capacity_bytes)
			sum->capacity_bytes = size;
	}
}

static bool uses_type(const struct chip_member *member, enum memory_type type)
{
	for (uint32_t i = 0; i < member->device->type_count; i++) {
		if (member->device->types[i].type == type)
			return true;
	}
	return false;
}

/* Fills the row of @count members. */
static void total(struct chip_total *row, const struct chip_member *members, size_t count)
{
	struct chip_total_type sums[MEMORY_TYPE_COUNT + 1] = {0};

	*row = (struct chip_total){
		.chip = members[0].device->chip,
		.device = members[0].device->device,
		.members = members,
		.member_count = count,
	};
	for (size_t i = 0; i < count; i++) {
		if (members[i].device->device != row->device)
			row->device = CHIP_TOTAL_SEVERAL;
		add_member(sums, &members[i]);
	}
	for (uint32_t type = 0; type <= MEMORY_TYPE_COUNT; type++) {
		bool used = false;

		for (size_t i = 0; i < count; i++)
			used |= uses_type(&members[i], (enum memory_type)type);
		if (!used)
			continue;
		sums[type].type = (enum memory_type)type;
		row->types[row->type_count++] = sums[type];
	}
}

static void group(struct chip_totals_owner *owner, const struct use *uses, size_t count)
{
	for (size_t begin = 0, end; begin < count; begin = end) {
		owner->members[begin] = uses[begin].member;
		for (end = begin + 1; end < count && chip_same(uses[begin].chip, uses[end].chip); end++)
			owner->members[end] = uses[end].member;
		total(&owner->rows[owner->totals.row_count++], &owner->members[begin], end - begin);
	}
	owner->totals.rows = owner->rows;
}

struct chip_totals *chip_totals_new(const struct snapshot *snapshot)
{
	size_t count = count_uses(snapshot);
	struct chip_totals_owner *owner = calloc(1, sizeof(*owner));
	struct use *uses = calloc(count + 1, sizeof(*uses));

	if (owner) {
		owner->rows = calloc(count + 1, sizeof(*owner->rows));
		owner->members = calloc(count + 1, sizeof(*owner->members));
	}
	if (!owner || !uses || !owner->rows || !owner->members) {
		free(uses);
		chip_totals_free(owner ? &owner->totals : NULL);
		return NULL;
	}
	collect(snapshot, uses);
	qsort(uses, count, sizeof(*uses), by_chip);
	group(owner, uses, count);
	free(uses);
	return &owner->totals;
}

void chip_totals_free(struct chip_totals *totals)
{
	struct chip_totals_owner *owner = (struct chip_totals_owner *)totals;

	if (!owner)
		return;
	free(owner->rows);
	free(owner->members);
	free(owner);
}
