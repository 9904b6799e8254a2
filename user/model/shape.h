/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What many buffers of a process have in common, kept once: device object, allocator, type, page
 * size, library, state. A buffer refers to its shape by number; a shape without buffers goes away.
 */
#ifndef BUFSCOPE_MODEL_SHAPE_H
#define BUFSCOPE_MODEL_SHAPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/table.h"

#define SHAPE_NONE UINT32_MAX

struct shape_key {
	uint64_t allocator;
	uint64_t page_size_bytes;
	uint32_t device; /* entry in the process's device_set */
	uint32_t runtime;
	uint32_t closure; /* held: which close or bulk free it was; live: 0 */
	uint8_t type;     /* enum memory_type; MEMORY_TYPE_COUNT: not known */
	uint8_t state;    /* enum buffer_state */
	uint16_t zero;    /* compared as bytes */
};
_Static_assert(sizeof(struct shape_key) == 32, "no padding: compared and hashed as bytes");

struct shape {
	struct shape_key key;
	uint32_t buffers;
	uint32_t next;      /* of the same hash, or the next unused one */
	uint32_t held_twin; /* scratch of a bulk free */
};

struct shape_set {
	struct shape *shapes;
	uint32_t count; /* in use or on the unused list */
	uint32_t capacity;
	uint32_t unused;
	struct table index; /* hash -> first of that hash */
};

void shape_init(struct shape_set *set);
void shape_fini(struct shape_set *set);
/* The shape of this key. 0: it was there, 1: it is new and has no buffers, or -ENOMEM. */
int shape_intern(struct shape_set *set, const struct shape_key *key, uint32_t *shape);
/* Gives back a shape that has no buffers. */
void shape_drop(struct shape_set *set, uint32_t shape);
size_t shape_memory_bytes(const struct shape_set *set);

#endif
