/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the model concluded from an event: the lines of an event stream, the warnings and the death
 * lines of the text output. Pointers are valid during the listener's call only.
 */
#ifndef BUFSCOPE_MODEL_NOTICE_H
#define BUFSCOPE_MODEL_NOTICE_H

#include "event.h"
#include "model/snapshot.h"

enum notice_kind {
	NOTICE_ALLOCATE = 1,       /* "allocate": buffer */
	NOTICE_FREE = 2,           /* "free": buffer as it was while live */
	NOTICE_HOLD = 3,           /* "hold": one buffer became held; a NOTICE_CLOSE follows the last of them */
	NOTICE_RELEASE = 4,        /* "release": a held buffer's object died */
	NOTICE_CLOSE = 5,          /* "close": closed.* says what became held by this close or bulk free */
	NOTICE_UNMATCHED_FREE = 6, /* "unmatched_free": unmatched.* */
	NOTICE_MISSED_FREE = 7,    /* "missed_free": buffer, which must have been freed unseen */
	NOTICE_FORK = 8,           /* "fork": @process is the child, related the parent */
	NOTICE_EXEC = 9,           /* "exec": @process is the old address space, which has ended */
	NOTICE_EXIT = 10,          /* "exit": exit.*; followed by NOTICE_CLEAR if anything was cleared */
	NOTICE_CLEAR = 11,         /* "clear": cleared.* */
	NOTICE_LOST = 12,          /* "lost": lost.* */
	NOTICE_RUNTIME = 13,       /* "runtime": a library is observed in @process: the last of its runtimes */
	NOTICE_CENSUS = 14,        /* "census": census */
	NOTICE_OUT_OF_MEMORY = 15, /* "oom": failure */
};

struct notice {
	enum notice_kind kind;
	uint64_t time_ns;
	uint32_t thread;
	const struct snapshot_process *
		process; /* identity and runtimes only: its devices and buffers are not filled in; NULL if unknown (LOST) */
	union {
		const struct snapshot_buffer *buffer;
		struct {
			uint64_t device_object; /* 0 when an allocator's bulk free was the cause */
			uint64_t allocator;     /* 0 when a close was the cause */
			uint64_t held_buffers;  /* distinct buffers */
			uint64_t held_bytes;    /* summed over the chips they lie on */
			const int32_t *chips;   /* of the device object; may be empty */
			uint32_t chip_count;
		} closed;
		const struct snapshot_unmatched *unmatched;
		struct {
			const struct snapshot_process *parent;
		} fork;
		struct event_exit exit;
		struct {
			uint64_t buffers;        /* distinct */
			uint64_t device_buffers; /* summed over the chips, as "Removed N buffers" counts */
			uint64_t bytes;          /* summed over the chips */
		} cleared;
		struct event_lost lost;
		const struct snapshot_census *census;
		const struct snapshot_failure *failure;
	};
};

/* Reasons why something is not exact: short fixed words for JSON; a text goes with each. */
#define INEXACT_ATTACHED_LATE  "attached-late" /* buffers may be older than the tracer */
#define INEXACT_LOST_RECORDS   "lost-records"
#define INEXACT_UNREADABLE     "unreadable-object"   /* an object's memory could not be read */
#define INEXACT_IMPLAUSIBLE    "implausible-object"  /* an object's bytes made no sense in the known layout */
#define INEXACT_UNKNOWN_DEVICE "unknown-device"      /* chips of a device object are not known */
#define INEXACT_UNCERTAIN      "uncertain-held"      /* held objects whose end could not be decided */
#define INEXACT_UNSUPPORTED    "unsupported-library" /* a copy of the runtime in this process is not observed */
#define INEXACT_MISSED_FREE    "missed-free"         /* a free was not seen */
#define INEXACT_UNMATCHED_FREE "unmatched-free"      /* a free of a buffer whose allocation must have been missed */
#define INEXACT_BOOKS_DIFFER   "books-differ"        /* the runtime's books and the table differ, and stayed so */
#define INEXACT_OUT_OF_MEMORY  "out-of-memory"       /* bufscope itself ran out of memory */

#endif
