// SPDX-License-Identifier: BSD-2-Clause
/* Device objects, chips and figures of one process; see device.h. */
#include "model/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void device_fini(struct device_set *set)
{
	for (uint32_t i = 0; i < set->entry_count; i++)
		free(set->entries[i].chips);
	free(set->entries);
	free(set->chips);
	table_fini(&set->index);
	memset(set, 0, sizeof(*set));
}

/* The place where a chip's figures are kept. Few chips: a walk is quicker than a table. */
static int device_chip_slot(struct device_set *set, int32_t chip, uint32_t *slot)
{
	for (uint32_t i = 0; i < set->chip_count; i++) {
		if (set->chips[i].chip == chip) {
			*slot = i;
			return 0;
		}
	}
	if (set->chip_count == set->chip_capacity) {
		uint32_t capacity = set->chip_capacity ? 2 * set->chip_capacity : 4;
		struct device_chip *chips = realloc(set->chips, capacity * sizeof(*chips));

		if (!chips)
			return -ENOMEM;
		set->chips = chips;
		set->chip_capacity = capacity;
	}
	memset(&set->chips[set->chip_count], 0, sizeof(set->chips[0]));
	set->chips[set->chip_count].chip = chip;
	*slot = set->chip_count++;
	return 0;
}

static int device_entry_slot(struct device_set *set, uint32_t *entry)
{
	for (uint32_t i = 0; i < set->entry_count; i++) {
		if (!set->entries[i].used) {
			*entry = i;
			return 0;
		}
	}
	if (set->entry_count == set->entry_capacity) {
		uint32_t capacity = set->entry_capacity ? 2 * set->entry_capacity : 4;
		struct device_entry *entries = realloc(set->entries, capacity * sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		set->entries = entries;
		set->entry_capacity = capacity;
	}
	memset(&set->entries[set->entry_count], 0, sizeof(set->entries[0]));
	*entry = set->entry_count++;
	return 0;
}

static void device_release(struct device_entry *entry)
{
	free(entry->chips);
	memset(entry, 0, sizeof(*entry));
}

/* Makes the newest entry of @object; an older one loses its place and lives as long as its buffers. */
static int device_add(struct device_set *set, uint64_t object, const int32_t *chips, uint32_t chip_count, uint32_t *at)
{
	uint32_t slot_count = chip_count ? chip_count : 1;
	struct device_entry made = {.object = object, .used = true, .current = true, .chip_count = chip_count};
	uint32_t old;
	bool had_old;
	int err;

	/* Chips and slots are both 4 bytes wide. */
	made.chips = calloc(chip_count + slot_count, sizeof(int32_t));
	if (!made.chips)
		return -ENOMEM;
	made.chip_slots = (uint32_t *)(made.chips + chip_count);
	made.slot_count = slot_count;
	for (uint32_t i = 0; i < slot_count; i++) {
		int32_t chip = chip_count ? chips[i] : DEVICE_NO_CHIP;

		if (chip_count)
			made.chips[i] = chip;
		err = device_chip_slot(set, chip, &made.chip_slots[i]);
		if (err)
			goto out;
	}
	err = device_entry_slot(set, at);
	if (err)
		goto out;
	had_old = table_find(&set->index, object, &old);
	err = table_set(&set->index, object, *at);
	if (err)
		goto out;
	set->entries[*at] = made;
	made.chips = NULL;
	if (had_old) {
		set->entries[old].current = false;
		if (!set->entries[old].shapes)
			device_release(&set->entries[old]);
	}
out:
	free(made.chips);
	return err;
}

int device_identify(struct device_set *set, const struct event_chip *event)
{
	struct device_chip *chip;
	uint32_t slot;
	int err;

	err = device_chip_slot(set, event->chip, &slot);
	if (err)
		return err;
	chip = &set->chips[slot];
	if (chip->identity.known && !chip_same(&chip->identity, &event->identity)) {
		chip->identity = (struct chip_identity){0};
		chip->contradicted = true;
	}
	/* A later one may tell more: the unique id, of a chip that was being reset at first. */
	if (!chip->contradicted && (!chip->identity.known || event->identity.unique_id))
		chip->identity = event->identity;
	return 0;
}

const struct chip_identity *device_identity(const struct device_set *set, int32_t chip)
{
	static const struct chip_identity unknown;

	for (uint32_t i = 0; i < set->chip_count; i++) {
		if (set->chips[i].chip == chip)
			return &set->chips[i].identity;
	}
	return &unknown;
}

static bool device_same_chips(const struct device_entry *entry, const int32_t *chips, uint32_t chip_count)
{
	return entry->chip_count == chip_count &&
	       (!chip_count || !memcmp(entry->chips, chips, chip_count * sizeof(*chips)));
}

int device_learn(struct device_set *set, const struct event_device *event)
{
	struct device_entry *entry = device_find(set, event->device_object);
	uint32_t chip_count = event->readable ? event->chip_count : 0;
	uint32_t at;
	int err;

	if (chip_count > EVENT_MAX_CHIPS)
		chip_count = EVENT_MAX_CHIPS;
	if (entry && !entry->closing && device_same_chips(entry, event->chips, chip_count))
		return 0;
	err = device_add(set, event->device_object, event->chips, chip_count, &at);
	if (err)
		return err;
	set->entries[at].known = chip_count && !event->cut_off;
	return 0;
}

int device_get(struct device_set *set, uint64_t object, uint32_t *entry)
{
	if (table_find(&set->index, object, entry))
		return 0;
	return device_add(set, object, NULL, 0, entry);
}

struct device_entry *device_find(const struct device_set *set, uint64_t object)
{
	uint32_t at;

	return table_find(&set->index, object, &at) ? &set->entries[at] : NULL;
}

void device_put(struct device_set *set, uint32_t entry)
{
	struct device_entry *e = &set->entries[entry];

	e->shapes--;
	if (!e->shapes && !e->current)
		device_release(e);
}

void device_count_live(struct device_set *set, uint32_t entry, unsigned int type, uint64_t bytes, uint64_t now_ns)
{
	const struct device_entry *e = &set->entries[entry];

	for (uint32_t i = 0; i < e->slot_count; i++) {
		struct device_chip *chip = &set->chips[e->chip_slots[i]];
		struct device_figure *figure = &chip->figures[type];

		chip->used_types |= 1u << type;
		figure->live_buffers++;
		figure->live_bytes += bytes;
		if (figure->live_bytes > figure->peak_bytes) {
			figure->peak_bytes = figure->live_bytes;
			figure->peak_bytes_ns = now_ns;
		}
		if (figure->live_buffers > figure->peak_buffers) {
			figure->peak_buffers = figure->live_buffers;
			figure->peak_buffers_ns = now_ns;
		}
	}
}

void device_uncount_live(struct device_set *set, uint32_t entry, unsigned int type, uint64_t bytes)
{
	const struct device_entry *e = &set->entries[entry];

	for (uint32_t i = 0; i < e->slot_count; i++) {
		struct device_figure *figure = &set->chips[e->chip_slots[i]].figures[type];

		figure->live_buffers--;
		figure->live_bytes -= bytes;
	}
}

void device_count_held(struct device_set *set, uint32_t entry, unsigned int type, uint64_t bytes)
{
	const struct device_entry *e = &set->entries[entry];

	for (uint32_t i = 0; i < e->slot_count; i++) {
		struct device_figure *figure = &set->chips[e->chip_slots[i]].figures[type];

		figure->held_buffers++;
		figure->held_bytes += bytes;
	}
}

void device_uncount_held(struct device_set *set, uint32_t entry, unsigned int type, uint64_t bytes)
{
	const struct device_entry *e = &set->entries[entry];

	for (uint32_t i = 0; i < e->slot_count; i++) {
		struct device_figure *figure = &set->chips[e->chip_slots[i]].figures[type];

		figure->held_buffers--;
		figure->held_bytes -= bytes;
	}
}

void device_restart(struct device_set *set)
{
	for (uint32_t i = 0; i < set->chip_count; i++) {
		set->chips[i].used_types = 0;
		memset(set->chips[i].figures, 0, sizeof(set->chips[i].figures));
	}
}

void device_total(const struct device_set *set, uint64_t *buffers, uint64_t *bytes)
{
	*buffers = 0;
	*bytes = 0;
	for (uint32_t i = 0; i < set->chip_count; i++) {
		for (int type = 0; type < DEVICE_TYPES; type++) {
			const struct device_figure *figure = &set->chips[i].figures[type];

			*buffers += figure->live_buffers + figure->held_buffers;
			*bytes += figure->live_bytes + figure->held_bytes;
		}
	}
}

size_t device_memory_bytes(const struct device_set *set)
{
	size_t bytes = set->entry_capacity * sizeof(*set->entries) + set->chip_capacity * sizeof(*set->chips) +
		       table_memory_bytes(&set->index);

	for (uint32_t i = 0; i < set->entry_count; i++)
		bytes += (set->entries[i].chip_count + set->entries[i].slot_count) * sizeof(int32_t);
	return bytes;
}
