/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A census: the live buffers of a process and the runtime's own books, read out of its memory
 * without any event, any probe, or stopping it.
 *
 * What is found is only believed when two independent structures agree: a buffer object is accepted
 * when an allocated block of the books of its own allocator and memory type stands at its address,
 * and the object says the same before and after the books were read. Books are believed when they
 * were read twice with the same bytes and their blocks tile the bank. What does not fit is counted and
 * listed, never dropped and never guessed.
 */
#ifndef BUFSCOPE_RUNTIME_CENSUS_H
#define BUFSCOPE_RUNTIME_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

struct elf_file;
struct library_plan;
struct memory;
struct strbuf;

#define CENSUS_MAX_CANDIDATES 4000000 /* buffer objects */
#define CENSUS_MAX_BLOCKS     1000000 /* blocks of one list */
#define CENSUS_MAX_ALL_BLOCKS 8000000 /* blocks of all lists together */
#define CENSUS_MAX_DEVICES    1024
#define CENSUS_MAX_ALLOCATORS 1024
#define CENSUS_MAX_BOOKS      8192
#define CENSUS_MAX_LISTS      65536 /* list objects that memory may hold */
#define CENSUS_NONE           UINT32_MAX

#define CENSUS_PLAN_WORDS  64
#define CENSUS_PLAN_FIELDS 32

/* The layout of the runtime's books, learnt from one library file. Plain data; the words are the runtime's own. */
struct census_plan {
	uint64_t word[CENSUS_PLAN_WORDS];
	size_t layout_count;
	struct layout_field layout[CENSUS_PLAN_FIELDS]; /* names are static strings */
};

struct census_input {
	const struct library_plan *library;
	const struct census_plan *plan;
	struct memory *memory;
	uint64_t base;                 /* load base of the library in this process */
	uint64_t text_start, text_end; /* its executable mapping in this process: for telling its threads */
	/*
	 * May be NULL. Called between pieces of what can take long, each of a few milliseconds at most: the caller sees
	 * to what else it has to do. False: no more of this; the census is -ESRCH.
	 */
	bool (*interlude)(void *context);
	void *context;
};

enum census_state {
	CENSUS_READ = 0,
	CENSUS_CHANGING = 1,   /* never the same twice while it was read */
	CENSUS_INVALID = 2,    /* read, but not what books of the known layout are */
	CENSUS_UNREADABLE = 3, /* its memory is not there */
};

/* A device object (one chip or a mesh). */
struct census_device {
	struct event_device device;
	bool open;      /* it has an allocator */
	bool inherited; /* a copy that came with fork: see census.origin */
};

/* An allocator with a set of books of its own; parents and parts of a mesh have one each. */
struct census_allocator {
	uint64_t object;
	uint32_t device;    /* in census.devices: the device it serves; CENSUS_NONE: not known */
	bool by_buffers;    /* that is known only from its buffers */
	int32_t sub_device; /* -1: of the whole device; otherwise of this sub-device */
};

/* The books of one memory type of one allocator. */
struct census_book {
	uint32_t allocator; /* in census.allocators; CENSUS_NONE: no owner was found */
	uint32_t list;      /* 0 the common one; others are those of single cores */
	uint64_t object;
	enum memory_type type;
	enum census_state state;
	const char *why; /* fixed words, NULL when read */
	uint32_t banks;
	uint64_t bank_bytes;    /* all figures below are of one bank */
	uint64_t first_address; /* device address of the bank's first byte */
	uint64_t used_bytes, free_bytes, largest_free_bytes;
	uint32_t free_blocks;
	size_t first_block, block_count; /* allocated blocks, in census.blocks, by address */
};

struct census_block {
	uint64_t address; /* device address, as a buffer of it says */
	uint64_t bytes;   /* of one bank */
	uint32_t book;
	uint32_t owner; /* in census.buffers; CENSUS_NONE: unexplained */
};

enum census_verdict {
	CENSUS_CANDIDATE = 0, /* not yet judged */
	CENSUS_CONFIRMED = 1, /* the books agree, on both sides of reading it */
	CENSUS_GONE = 2,      /* was freed while the census ran; not counted */
	CENSUS_NO_BLOCK = 3,  /* looks live, but the books have no block for it */
	CENSUS_AMBIGUOUS = 4, /* another object claims the same block */
	CENSUS_NO_BOOKS = 5,  /* its allocator's books could not be read */
	CENSUS_CLOSED = 6,    /* its device has no allocator any more: held, if it is not residue */
};

/* A buffer object. 64 bytes, there may be millions: read them with the functions below. */
struct census_buffer {
	uint64_t object, device_object, allocator, address, size_bytes, page_size_bytes;
	uint64_t body;   /* where its fields are read */
	uint32_t block;  /* in census.blocks, when confirmed */
	uint8_t type;    /* enum memory_type */
	uint8_t verdict; /* enum census_verdict */
	uint8_t reserved[2];
};

/*
 * Whose objects are these? A child of fork has its parent's in its memory and owns none of them.
 *   OWN		the address space began with exec, so nothing in it is a copy; or no process it was copied
 *			from has ever made a buffer, by the runtime's own counter (exact).
 *   INHERITED		forked without exec since, and of every open device a page of its objects, its books or its
 *			buffers is physically an ancestor's, so was written by neither since (exact). Or no thread
 *			of the runtime is in it, which fork does not copy and an open device always has.
 *   UNKNOWN		forked, threads of the runtime run in it (some versions start them anew after fork), and no
 *			page is shared any more; or it could not be asked. Such a census is not exact.
 */
enum census_origin {
	CENSUS_ORIGIN_UNKNOWN = 0,
	CENSUS_ORIGIN_OWN = 1,
	CENSUS_ORIGIN_INHERITED = 2,
};

struct census {
	enum census_origin origin;
	const char *origin_sign; /* what that rests on, fixed words */

	struct census_device *devices;
	size_t device_count;
	struct census_allocator *allocators;
	size_t allocator_count;
	struct census_book *books;
	size_t book_count;
	struct census_block *blocks;
	size_t block_count;
	struct census_buffer
		*buffers; /* all that were judged but GONE; the confirmed ones first, by address of the object */
	size_t buffer_count;
	size_t confirmed_count;

	uint64_t unconfirmed;        /* buffers[confirmed_count ..] but the CLOSED ones */
	uint64_t closed;             /* the CLOSED ones */
	uint64_t unexplained_blocks; /* allocated blocks without an owner */
	uint64_t unread_books;       /* books in any state but READ */
	uint64_t orphan_lists;       /* lists with allocated blocks that no known allocator owns */
	uint64_t scanned_bytes;
	uint64_t missing_bytes; /* memory that exists but is not there: swapped out, not in the core */
	uint32_t rounds;        /* how often memory was gone through */
	bool cut_off;           /* a limit above was reached */
};

/*
 * Exact: every allocated block has exactly one owner, everything was read, and nothing is left over.
 * When it is not, *reason is a fixed word: "origin-unknown", "partial", "changing", "unread",
 * "unexplained", "cut-off".
 */
bool census_is_exact(const struct census *census, const char **reason);

/* A buffer as an event would tell it; @runtime goes into it. */
void census_event(const struct census_buffer *buffer, uint32_t runtime, struct event_buffer *out);

/* Bytes really taken on each chip: per-bank bytes x banks. 0: not confirmed, so not known. */
uint64_t census_footprint(const struct census *census, const struct census_buffer *buffer);

/* The device a buffer is on; NULL: not found. */
const struct census_device *census_device_of(const struct census *census, const struct census_buffer *buffer);

const char *census_state_name(enum census_state state);
const char *census_verdict_name(enum census_verdict verdict);

void census_fini(struct census *census);

#endif
