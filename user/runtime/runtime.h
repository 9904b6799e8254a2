/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device runtime must tell: which functions to probe, what to copy when they are hit, and what
 * the copied bytes mean. One file per runtime implements struct runtime and has a row in
 * runtime_all[]; nothing outside user/runtime/ names one.
 *
 * A plan is made from one library file, by looking at the file itself. It is plain data that any
 * source can carry out.
 */
#ifndef BUFSCOPE_RUNTIME_RUNTIME_H
#define BUFSCOPE_RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "elf/place.h"
#include "event.h"

struct census;
struct census_input;
struct census_plan;
struct elf_file;
struct strbuf;

#define PLAN_MAX_PROBES   12
#define PLAN_MAX_FIELDS   32
#define PLAN_MAX_WALK     4
#define PLAN_WINDOW_BYTES 80 /* the most an object read may copy */

/* What a hit means. The numbers are part of a probe's cookie: append only. */
enum probe_role {
	PROBE_ALLOCATE = 1,  /* argument: a finished object, every field valid */
	PROBE_FREE = 2,      /* argument: an object about to be freed, every field valid */
	PROBE_CLOSE = 3,     /* argument: a device object that is being closed */
	PROBE_BULK_FREE = 4, /* argument: an allocator about to give everything back */
	PROBE_DESTROY = 5,   /* argument: an object being destroyed; hit often, so armed only while objects are held */
	/*
	 * An allocation has failed. Not at a function's start, so @argument is the number of the register that
	 * points at the memory type which ran out; the object that was to be allocated is on the stack.
	 */
	PROBE_OUT_OF_MEMORY = 6,
};

struct probe_plan {
	enum probe_role role;
	uint8_t argument;   /* which integer argument of the ABI holds the pointer, from 0 */
	const char *symbol; /* static string */
	struct place place;
};

/* How to read an object: window = bytes at object + offset, or behind one pointer in the object. */
struct object_read {
	bool indirect; /* p = *(object + pointer_offset), window at p + window_offset */
	uint16_t pointer_offset;
	uint16_t window_offset;
	uint16_t window_len; /* at most PLAN_WINDOW_BYTES */
	uint16_t device_at;  /* the device object's address is the 8 bytes at this place of the window */
};

/* How to get from a device object to the numbers of its chips. */
struct device_walk {
	uint64_t chip_vtable;    /* vaddr that the first word of a single chip's object has (address point) */
	uint64_t mesh_vtable;    /* the same of a mesh */
	uint16_t chip_id_offset; /* int32 in a chip's object */
	/* mesh -> array of chips: p = mesh; p = *(p + hop[i]) for each hop; begin = *(p + array_offset), end = *(p + array_offset + 8) */
	uint8_t hop_count;
	uint16_t hop[PLAN_MAX_WALK];
	uint16_t array_offset;
	uint16_t stride; /* bytes per element; the chip's object address is the first word of an element */
	bool tagged;     /* the byte at element + 8 must be 1, otherwise the chip belongs to another host */
};

struct library_plan {
	const struct runtime *runtime;
	size_t probe_count;
	struct probe_plan probes[PLAN_MAX_PROBES];
	struct object_read read;
	struct device_walk walk;
	/* A counter of objects ever made (8 bytes, data of the library), so that "none before us" can be proven; 0: none. */
	uint64_t made_counter_vaddr;
	/* Where the offsets of the decoded fields are in the window: the runtime's own use. */
	struct {
		int16_t size, type, status, hooked, address, page_size, allocator; /* -1: not in the window */
		uint8_t status_allocated; /* and 0 while it is being allocated */
	} field;
	/* The object's own liveness, for held objects: enable_shared_from_this at this offset; -1: none. */
	int16_t weak_this_offset;
	/* The allocator's first address per bank etc. is not here: see the census. */
	size_t layout_count;
	struct layout_field layout[PLAN_MAX_FIELDS]; /* names are static strings */
	char version_hint[64];                       /* the known layout row it agrees with, or "new layout" */
};

/*
 * How the driver under a runtime names its chips, and by what rule the runtime numbers them. @numbering_symbol
 * is a function that only those versions have which number the chips they have opened by PCI address, from 0.
 */
struct runtime_chips {
	const char *node_folder; /* a device node is this and a number, at the end of a path: "/name/" */
	const char *node_class;  /* of the nodes in sysfs, which also says that they are this driver's */
	/* Files of a node in sysfs: 16 hex digits; a word. They need not be there. */
	const char *unique_id_file, *board_file;
	const char *numbering_library; /* its file's name begins so */
	const char *numbering_symbol;
};

struct runtime {
	const char *name;
	const struct runtime_chips *chips; /* NULL: they are known by number only */
	/*
	 * Cheap test: does this file define the runtime's allocator? Called for every executable
	 * mapping of every followed process, so it must not read more than hash tables.
	 */
	bool (*recognise)(struct elf_file *file);
	/*
	 * Learns the layout from the machine code and fills @plan. Every step is noted in @report, a
	 * line each, for `bufscope check` and for refusals: "ok ...", "no ..." (missing, but not
	 * needed), "refused ..." (why this is -ENOTSUP).
	 * 0, or -ENOTSUP: recognised but not to be trusted; @report says why. -ENOMEM, -EINVAL.
	 */
	int (*plan)(struct elf_file *file, struct library_plan *plan, struct strbuf *report);
	/*
	 * The meaning of a window. Of a failed allocation there is no address yet; where @buffer has a fault already
	 * the window has the type only, and its place in @buffer is all that is filled in. Sets buffer->fault when
	 * the values are not those of a buffer. Returns false when the hit is none of ours (a hooked allocation that
	 * takes no memory).
	 */
	bool (*decode)(const struct library_plan *plan, enum probe_role role, const uint8_t *window,
		       struct event_buffer *buffer);
	/* The layout of the books, likewise (census.h); after plan() succeeded. NULL: no census of this runtime. Same errors. */
	int (*census_plan)(struct elf_file *file, const struct library_plan *library, struct census_plan *plan,
			   struct strbuf *report);
	/*
	 * Fills @out, which the caller ends with census_fini(). 0 (also when it is not exact: ask
	 * census_is_exact()); -ESRCH the process is gone; -ENOTSUP, -ENOMEM.
	 */
	int (*census)(const struct census_input *input, struct census *out);
};

extern const struct runtime *const runtime_all[]; /* NULL-terminated */

#endif
