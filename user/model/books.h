/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The runtime's own books of one process as a census read them, and how they differ from the table of
 * buffers. A census tells its books one by one; at its end they are compared with the table in one
 * pass, and their blocks are forgotten. Owns all its memory.
 */
#ifndef BUFSCOPE_MODEL_BOOKS_H
#define BUFSCOPE_MODEL_BOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/table.h"
#include "event.h"
#include "model/model.h"
#include "model/snapshot.h"

struct process;

#define BOOKS_MAX_ENTRIES      16384   /* allocators x types remembered in a process; more are left out and counted */
#define BOOKS_MAX_BLOCKS       8000000 /* of one census; beyond that books count as unread */
#define BOOKS_KEPT_DIFFERENCES 100     /* of each kind and books; all are counted */
#define BOOKS_NO_DEVICE        UINT32_MAX

struct books_entry {
	uint64_t allocator;
	uint64_t device_object;
	uint32_t id;      /* stays with {allocator, type} */
	uint32_t runtime; /* whose census told them */
	uint32_t device;  /* in the process's device_set, with a reference; or BOOKS_NO_DEVICE */
	uint8_t type;     /* enum memory_type */
	bool listed;      /* the last census had it */
	bool waiting;     /* the census under way has it */
	enum books_verdict verdict;
	char why[64];
	uint32_t banks;
	uint32_t kept[2]; /* differences kept: of the books only, of the table only */
	uint64_t capacity_bytes, used_bytes, free_bytes, largest_free_bytes;
	uint64_t table_only, books_only;
	/* Until they are compared; by address. */
	struct event_block *blocks;
	size_t block_count;
	uint8_t *claims; /* live buffers at each block: 0, 1, or 2 for more */
};

struct books {
	struct books_entry *entries; /* in order of id */
	uint32_t count, capacity;
	uint32_t next_id;
	struct table index; /* {allocator, type} -> entry */
	size_t waiting_blocks;
	uint64_t left_out; /* found no room, in the census under way */
	bool fresh;        /* nothing that changes the table came after the last census */
	struct book_difference *differences;
	size_t difference_count, difference_capacity;
};

void books_fini(struct books *books);
/* What an EVENT_BOOKS says; compared at the end of the census. 0 or -ENOMEM: then they count as unread. */
int books_note(struct process *process, const struct event_books *event);
/*
 * The census of @runtime is over: compares the books it told with the table, gives the buffers their
 * footprints and drops that runtime's other books. Counts into @census. 0 or -ENOMEM: then some are unread or some differences
 * are counted but not kept.
 */
int books_compare(struct process *process, uint32_t runtime, struct snapshot_census *census);
/* Forgets all but what a census under way has told. */
void books_drop(struct process *process);
/* SNAPSHOT_NO_ALLOCATOR if the last census did not have them. */
uint32_t books_id(const struct books *books, uint64_t allocator, unsigned int type);
size_t books_memory_bytes(const struct books *books);

#endif
