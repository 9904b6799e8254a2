/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The objects a process freed most recently, about FREED_OBJECTS of them, so that a second free can be
 * told from the free of a buffer that was never seen. Bounded: what is forgotten is only less well
 * explained, never counted wrongly.
 */
#ifndef BUFSCOPE_MODEL_FREED_H
#define BUFSCOPE_MODEL_FREED_H

#include <stddef.h>
#include <stdint.h>

#define FREED_WAYS    4
#define FREED_SETS    1024
#define FREED_OBJECTS (FREED_WAYS * FREED_SETS)

struct freed_entry {
	uint64_t object;
	uint64_t time_ns;
	uint32_t thread;
	uint32_t used;
};

struct freed {
	struct freed_entry *entries; /* FREED_SETS x FREED_WAYS, from the first free on */
};

void freed_fini(struct freed *freed);
/* Notes a free, in place of the oldest of its set if need be. 0 or -ENOMEM. */
int freed_note(struct freed *freed, uint64_t object, uint64_t time_ns, uint32_t thread);
/* The object's latest free, or NULL. */
const struct freed_entry *freed_find(const struct freed *freed, uint64_t object);
/* It was allocated again, or is gone. */
void freed_forget(struct freed *freed, uint64_t object);
size_t freed_memory_bytes(const struct freed *freed);

#endif
