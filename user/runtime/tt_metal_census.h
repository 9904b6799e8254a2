/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tt_metal_census*.c files share. For nobody else.
 *
 * tt_metal_census.c		the course of a census: rounds, matching buffers with blocks
 * tt_metal_census_layout.c	the layout of the books, learnt from the library's machine code
 * tt_metal_census_scan.c	going through memory for objects
 * tt_metal_census_devices.c	from device objects to their chips and allocators
 * tt_metal_census_books.c	reading one allocator's books
 * tt_metal_census_origin.c	whose objects they are
 */
#ifndef BUFSCOPE_RUNTIME_TT_METAL_CENSUS_H
#define BUFSCOPE_RUNTIME_TT_METAL_CENSUS_H

#include "base/table.h"
#include "runtime/census.h"
#include "runtime/memory.h"
#include "runtime/runtime.h"

#define TT_METAL_MANAGERS   4
#define TT_METAL_HEAD_BYTES 64 /* of a Buffer: the most that is read of what leads to its fields */

/* The parallel vectors of a FreeListOpt, one element a block. */
enum list_vector {
	LIST_ADDRESS,   /* 8 bytes, from the start of the bank */
	LIST_SIZE,      /* 8 bytes */
	LIST_PREVIOUS,  /* 8 bytes, -1: none */
	LIST_NEXT,      /* 8 bytes, -1: none */
	LIST_ALLOCATED, /* 1 byte */
	LIST_USED,      /* 1 byte: the element stands for a block at all */
	LIST_VECTORS,
};

/* Kept in census_plan.word. Offsets in bytes; int32_t: -1 means there is none. */
struct tt_metal_books {
	uint64_t list_vtable; /* vaddr that the first word of a FreeListOpt has */
	uint16_t list_bytes;  /* how much of one must be read */
	uint16_t list_size;   /* bytes of a bank */
	uint16_t list_first;  /* device address of its first byte */
	uint16_t list_vector[LIST_VECTORS];
	uint16_t bank_count;                 /* BankManager: number of banks, 4 bytes */
	uint16_t bank_lists;                 /* and its FreeListOpts: */
	bool bank_lists_many;                /* a pointer to pointers, as many as */
	uint16_t bank_list_count;            /* this says, 4 bytes; otherwise one pointer */
	uint16_t manager[TT_METAL_MANAGERS]; /* AllocatorImpl: pointers to its BankManagers */
	uint16_t owns;                       /* in the window of a buffer: it owns its memory, 1 byte */
	/* MeshDevice -> SubDeviceManagerTracker: a pointer at each hop */
	uint8_t mesh_hop_count;
	uint16_t mesh_hop[3];
	int32_t chip_tracker;     /* the same of a Device; -1: */
	int32_t chip_allocator;   /* then a Device has the pointer to its allocator here */
	uint16_t tracker_default; /* SubDeviceManagerTracker -> SubDeviceManager of the whole device */
	int32_t tracker_active;   /* and the one in use; -1: not known */
	uint16_t allocators;      /* SubDeviceManager: vector of pointers to AllocatorImpl */
};

_Static_assert(sizeof(struct tt_metal_books) <= CENSUS_PLAN_WORDS * 8, "the layout does not fit a plan");

int tt_metal_census_plan(struct elf_file *file, const struct library_plan *library, struct census_plan *plan,
			 struct strbuf *report);
int tt_metal_census(const struct census_input *input, struct census *out);

/* A growing array of 64-bit words with a limit. */
struct words {
	uint64_t *data;
	size_t count, capacity;
};

int words_add(struct words *words, uint64_t value, size_t limit); /* 0, -ENOMEM, -E2BIG */

/* What a census works with. */
struct tt_metal_census {
	const struct census_input *input;
	const struct tt_metal_books *layout;
	struct memory *memory;
	struct census *out;
	uint32_t head_bytes;
	struct words lists;   /* words that look like a FreeListOpt's first */
	struct words devices; /* the same of Device and MeshDevice */
	size_t device_room, allocator_room, book_room, block_room, buffer_room;
	struct table allocator_of; /* AllocatorImpl* -> index in out->allocators */
	struct table device_of;    /* device object -> index in out->devices */
	struct table list_seen;    /* FreeListOpt* -> 1: owned by an allocator */
	uint64_t retry_ns;         /* spent on lists that were not read at first sight */
	uint64_t elements;         /* of the vectors read in this turn */
	bool stopped;              /* the caller wants no more of it */
};

/* Between pieces of everything that a process can make long. False: go no further, it is all in vain. */
static inline bool tt_metal_census_goes_on(struct tt_metal_census *c)
{
	const struct census_input *input = c->input;

	c->stopped = c->stopped || (input->interlude && !input->interlude(input->context));
	return !c->stopped;
}

/* Makes room for one more element of @size bytes at *array. 0, -ENOMEM, -E2BIG (@limit reached; then out->cut_off is set). */
int tt_metal_census_grow(struct tt_metal_census *c, void *array, size_t count, size_t *room, size_t size, size_t limit);

/* One pass over memory: fills lists, devices and out->buffers. 0, -ENOMEM, -ESRCH. */
int tt_metal_census_scan(struct tt_metal_census *c);

/* Reads all buffers again: CANDIDATE with the fields of this moment, or GONE. 0, -ENOMEM, -ESRCH. */
int tt_metal_census_recheck(struct tt_metal_census *c);

/* Fills out->devices and out->allocators from c->devices. 0, -ENOMEM, -ESRCH. */
int tt_metal_census_devices(struct tt_metal_census *c);

/* Adds an allocator unless it is known. *index: CENSUS_NONE when @object is none. 0, -ENOMEM, -ESRCH. */
int tt_metal_census_allocator(struct tt_metal_census *c, uint64_t object, uint32_t device, int32_t sub_device,
			      uint32_t *index);

/* (Re)reads the books of all allocators into out->books and out->blocks. 0, -ENOMEM, -ESRCH. */
int tt_metal_census_books(struct tt_metal_census *c);

/* Sets out->origin, ->origin_sign and the devices' ->inherited. */
void tt_metal_census_origin(struct tt_metal_census *c);

/* Is the FreeListOpt at @object one of the known layout with allocated blocks? For lists nobody owns. */
bool tt_metal_census_list_in_use(struct tt_metal_census *c, uint64_t object);

#endif
