/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device objects of one process, the chips they stand for, and the figures per chip and type.
 *
 * A device object's address may be used again after its close, for other chips. So an entry is one
 * opening: buffers keep the entry they were allocated on, and an address leads to its newest one.
 */
#ifndef BUFSCOPE_MODEL_DEVICE_H
#define BUFSCOPE_MODEL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/table.h"
#include "event.h"

#define DEVICE_NO_CHIP (-1)
#define DEVICE_TYPES   (MEMORY_TYPE_COUNT + 1) /* the last: a buffer whose type could not be read */

struct device_figure { /* one type on one chip */
	uint64_t live_buffers, live_bytes;
	uint64_t held_buffers, held_bytes;
	uint64_t peak_bytes, peak_bytes_ns;
	uint64_t peak_buffers, peak_buffers_ns;
};

struct device_chip {
	int32_t chip;
	struct chip_identity identity;
	bool contradicted;   /* the driver told of two chips under this number, so of none */
	uint32_t used_types; /* a bit for every type that ever had a buffer here */
	struct device_figure figures[DEVICE_TYPES];
};

struct device_entry {
	uint64_t object;
	bool used;
	bool current;         /* its object's newest entry */
	bool closing;         /* its close was seen */
	bool known;           /* all its chips are known */
	uint32_t shapes;      /* that refer to it */
	uint32_t chip_count;  /* 0: none known, counted under DEVICE_NO_CHIP */
	int32_t *chips;       /* chip_count of them */
	uint32_t *chip_slots; /* in device_set.chips; slot_count of them, in the same memory as chips */
	uint32_t slot_count;
};

struct device_set {
	struct device_entry *entries;
	uint32_t entry_count, entry_capacity;
	struct device_chip *chips;
	uint32_t chip_count, chip_capacity;
	struct table index; /* device object -> newest entry */
};

void device_fini(struct device_set *set);
/* What an EVENT_DEVICE says: a new entry unless the newest is open and has the same chips. 0 or -ENOMEM. */
int device_learn(struct device_set *set, const struct event_device *event);
/* What an EVENT_CHIP says. A number that came to stand for another chip is not known from then on. 0 or -ENOMEM. */
int device_identify(struct device_set *set, const struct event_chip *event);
/* Not known where nothing told of it. Never NULL. */
const struct chip_identity *device_identity(const struct device_set *set, int32_t chip);
/* The newest entry of a device object, made without chips if there is none. 0 or -ENOMEM. */
int device_get(struct device_set *set, uint64_t object, uint32_t *entry);
/* The newest entry or NULL. */
struct device_entry *device_find(const struct device_set *set, uint64_t object);
/* A shape gave up its reference. */
void device_put(struct device_set *set, uint32_t entry);

/* How many chips a buffer on this entry is counted on: at least one. */
static inline uint32_t device_spread(const struct device_entry *entry)
{
	return entry->slot_count;
}

void device_count_live(struct device_set *set, uint32_t entry, unsigned int type, uint64_t bytes, uint64_t now_ns);
void device_uncount_live(struct device_set *set, uint32_t entry, unsigned int type, uint64_t bytes);
void device_count_held(struct device_set *set, uint32_t entry, unsigned int type, uint64_t bytes);
void device_uncount_held(struct device_set *set, uint32_t entry, unsigned int type, uint64_t bytes);
/* All figures start anew. */
void device_restart(struct device_set *set);
/* Live and held, over all chips. */
void device_total(const struct device_set *set, uint64_t *buffers, uint64_t *bytes);
size_t device_memory_bytes(const struct device_set *set);

#endif
