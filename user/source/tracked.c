/* SPDX-License-Identifier: BSD-2-Clause */
/* A slot array with two indices. */
#include "source/tracked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void free_entry(struct tracked *tracked)
{
	strbuf_fini(&tracked->command);
	if (tracked->pidfd >= 0)
		close(tracked->pidfd);
	free(tracked);
}

void tracked_fini(struct tracked_set *set)
{
	for (size_t i = 0; i < set->capacity; i++) {
		if (set->slots[i])
			free_entry(set->slots[i]);
	}
	free(set->slots);
	table_fini(&set->by_pid);
	table_fini(&set->by_process);
	memset(set, 0, sizeof(*set));
}

static int find_slot(struct tracked_set *set, uint32_t *slot)
{
	size_t capacity = set->capacity ? 2 * set->capacity : 16;
	struct tracked **grown;

	if (set->count < set->capacity) {
		for (*slot = 0; set->slots[*slot]; (*slot)++)
			;
		return 0;
	}
	grown = realloc(set->slots, capacity * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + set->capacity, 0, (capacity - set->capacity) * sizeof(*grown));
	*slot = (uint32_t)set->capacity;
	set->slots = grown;
	set->capacity = capacity;
	return 0;
}

struct tracked *tracked_add(struct tracked_set *set, uint32_t pid, uint32_t process)
{
	struct tracked *tracked = calloc(1, sizeof(*tracked));
	uint32_t slot;

	if (!tracked || find_slot(set, &slot) || table_set(&set->by_pid, pid, slot))
		goto fail;
	if (table_set(&set->by_process, process, slot)) {
		table_remove(&set->by_pid, pid, NULL);
		goto fail;
	}
	tracked->pid = pid;
	tracked->process = process;
	tracked->pidfd = -1;
	set->slots[slot] = tracked;
	set->count++;
	return tracked;
fail:
	free(tracked);
	return NULL;
}

void tracked_drop(struct tracked_set *set, struct tracked *tracked)
{
	uint32_t slot;

	table_remove(&set->by_process, tracked->process, NULL);
	if (table_remove(&set->by_pid, tracked->pid, &slot)) {
		set->slots[slot] = NULL;
		set->count--;
	}
	free_entry(tracked);
}

int tracked_renumber(struct tracked_set *set, struct tracked *tracked, uint32_t process)
{
	uint32_t slot;
	int err;

	if (!table_find(&set->by_process, tracked->process, &slot))
		return -ENOENT;
	err = table_set(&set->by_process, process, slot);
	if (err)
		return err;
	table_remove(&set->by_process, tracked->process, NULL);
	tracked->process = process;
	return 0;
}

struct tracked *tracked_by_pid(const struct tracked_set *set, uint32_t pid)
{
	uint32_t slot;

	return table_find(&set->by_pid, pid, &slot) ? set->slots[slot] : NULL;
}

struct tracked *tracked_by_process(const struct tracked_set *set, uint32_t process)
{
	uint32_t slot;

	return table_find(&set->by_process, process, &slot) ? set->slots[slot] : NULL;
}

struct tracked *tracked_next(const struct tracked_set *set, size_t *cursor)
{
	while (*cursor < set->capacity) {
		struct tracked *tracked = set->slots[(*cursor)++];

		if (tracked)
			return tracked;
	}
	return NULL;
}
