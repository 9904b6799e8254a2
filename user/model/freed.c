// SPDX-License-Identifier: BSD-2-Clause
/* Recently freed objects; see freed.h. A set-associative cache: one cache line or two per look-up. */
#include "model/freed.h"

#include <errno.h>
#include <stdlib.h>

static struct freed_entry *freed_set(const struct freed *freed, uint64_t object)
{
	uint64_t hash = object * UINT64_C(0x9e3779b97f4a7c15);

	return &freed->entries[(hash >> 40) % FREED_SETS * FREED_WAYS];
}

static struct freed_entry *freed_lookup(const struct freed *freed, uint64_t object)
{
	struct freed_entry *set;

	if (!freed->entries)
		return NULL;
	set = freed_set(freed, object);
	for (int i = 0; i < FREED_WAYS; i++) {
		if (set[i].used && set[i].object == object)
			return &set[i];
	}
	return NULL;
}

void freed_fini(struct freed *freed)
{
	free(freed->entries);
	freed->entries = NULL;
}

int freed_note(struct freed *freed, uint64_t object, uint64_t time_ns, uint32_t thread)
{
	struct freed_entry *entry, *set;

	if (!freed->entries) {
		freed->entries = calloc(FREED_OBJECTS, sizeof(*freed->entries));
		if (!freed->entries)
			return -ENOMEM;
	}
	entry = freed_lookup(freed, object);
	if (!entry) {
		set = entry = freed_set(freed, object);
		for (int i = 0; i < FREED_WAYS && entry->used; i++) {
			if (!set[i].used || set[i].time_ns < entry->time_ns)
				entry = &set[i];
		}
	}
	*entry = (struct freed_entry){.object = object, .time_ns = time_ns, .thread = thread, .used = 1};
	return 0;
}

const struct freed_entry *freed_find(const struct freed *freed, uint64_t object)
{
	return freed_lookup(freed, object);
}

void freed_forget(struct freed *freed, uint64_t object)
{
	struct freed_entry *entry = freed_lookup(freed, object);

	if (entry)
		entry->used = 0;
}

size_t freed_memory_bytes(const struct freed *freed)
{
	return freed->entries ? FREED_OBJECTS * sizeof(*freed->entries) : 0;
}
