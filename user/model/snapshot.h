/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One consistent moment, as plain data for the views. Built by model_snapshot(); owns all its memory.
 * Strings are as they came from the system: a view escapes them.
 */
#ifndef BUFSCOPE_MODEL_SNAPSHOT_H
#define BUFSCOPE_MODEL_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

enum buffer_state {
	BUFFER_LIVE = 1,
	BUFFER_HELD = 2,      /* its device was closed: the memory is back with the runtime, the object is not gone */
	BUFFER_UNCERTAIN = 3, /* was held; whether the object still exists could not be decided */
};

enum process_end {
	PROCESS_RUNNING = 1,
	PROCESS_EXITED = 2,
	PROCESS_SIGNALLED = 3,
	PROCESS_EXECED = 4, /* this address space ended by exec; the next one has its own entry */
};

/* The runtime's books of one allocator and type beside the table of live buffers. */
enum books_verdict {
	BOOKS_VERDICT_EQUAL = 1,   /* "equal": every block is one live buffer and every live buffer has a block */
	BOOKS_VERDICT_DIFFERS = 2, /* "differs" */
	BOOKS_VERDICT_UNREAD = 3,  /* "unread": could not be compared; the figures are not known */
};

#define SNAPSHOT_NO_ALLOCATOR UINT32_MAX

struct snapshot_buffer {
	uint64_t serial; /* unique in one run, from 1, in order of allocation */
	uint64_t object;
	uint64_t address;
	uint64_t size_bytes;
	uint64_t page_size_bytes;
	uint64_t footprint_bytes; /* really taken on each chip; 0: not known */
	uint64_t allocated_ns;    /* 0: not known, a census found it */
	uint64_t held_ns;         /* 0: not held */
	uint64_t allocator;       /* address of the runtime's allocator object */
	uint64_t device_object;
	const int32_t *chips; /* none: not known; counted under device -1 */
	uint32_t chip_count;
	uint32_t thread;       /* 0: not known */
	uint32_t runtime;      /* index into the process's runtimes */
	uint32_t allocator_id; /* snapshot_allocator.id, or SNAPSHOT_NO_ALLOCATOR */
	enum memory_type type;
	enum buffer_state state;
};

/* What a buffer counts in sums of sizes: once for each chip that it lies on. */
static inline uint64_t snapshot_buffer_bytes(const struct snapshot_buffer *buffer)
{
	return buffer->size_bytes * (buffer->chip_count ? buffer->chip_count : 1);
}

struct snapshot_type { /* figures of one memory type on one chip */
	enum memory_type type;
	uint64_t live_buffers, live_bytes;
	uint64_t held_buffers, held_bytes;  /* uncertain ones included */
	uint64_t peak_bytes, peak_bytes_ns; /* of live bytes */
	uint64_t peak_buffers, peak_buffers_ns;
};

struct snapshot_device {
	int32_t device; /* chip as the runtime numbers it; -1: buffers whose chips are not known */
	struct chip_identity chip;
	uint32_t type_count;
	/* Those that were ever used, in order of enum memory_type; type MEMORY_TYPE_COUNT: it could not be read. */
	struct snapshot_type types[MEMORY_TYPE_COUNT + 1];
};

struct snapshot_runtime {
	const char *name, *library, *build_id;
	const struct layout_field *layout;
	size_t layout_count;
	int64_t earlier_objects; /* as in event_runtime */
};

enum unmatched_verdict {
	UNMATCHED_UNKNOWN = 1,       /* "unknown" */
	UNMATCHED_BEFORE_ATTACH = 2, /* "before-attach": the process ran before bufscope watched it */
	UNMATCHED_DOUBLE = 3,        /* "double" */
	UNMATCHED_LOST = 4,          /* "lost-records" */
	UNMATCHED_INHERITED = 5,     /* "inherited": allocated by the parent before fork */
};

struct snapshot_unmatched {
	enum unmatched_verdict verdict;
	uint64_t object;
	bool readable; /* the fields below are known */
	uint64_t address, size_bytes;
	enum memory_type type;
	const int32_t *chips;
	uint32_t chip_count;
	uint64_t time_ns;
	uint32_t thread;
	uint32_t freed_thread; /* double: who freed it before ... */
	uint64_t freed_ns;     /* ... and when; 0 otherwise */
};

#define SNAPSHOT_MAX_HOLDERS 16

/* Of the type that was asked for, on the fullest of the chips that were asked for. */
struct snapshot_holder {
	char id[48]; /* "PID.START.EXEC" */
	uint32_t pid, user;
	uint64_t buffers, bytes; /* live; sizes as they were asked for */
};

/* An allocation that failed for want of memory. */
struct snapshot_failure {
	uint64_t time_ns;
	uint32_t thread;
	bool known; /* what was asked for; otherwise only the type, or not even that (MEMORY_TYPE_COUNT) */
	enum memory_type type;
	uint64_t size_bytes, page_size_bytes;
	uint32_t chip_count;
	int32_t chips[EVENT_MAX_CHIPS];
	/* At that moment, of all running processes, or those of one user; largest first. */
	bool one_user;
	uint32_t holder_count, holders_left_out;
	struct snapshot_holder holders[SNAPSHOT_MAX_HOLDERS];
	/* The allocator's books as a census read them at that time; 0: none did. */
	uint64_t books_ns;
	uint64_t capacity_bytes, free_bytes, largest_free_bytes;
};

/* As the last census read it. Figures are of one chip: bytes per bank x banks. */
struct snapshot_allocator {
	uint32_t id;        /* in this process, for its life: in the order in which they were first seen */
	uint64_t allocator; /* address of the runtime's allocator object */
	const int32_t *chips;
	uint32_t chip_count; /* several: a mesh */
	enum memory_type type;
	uint32_t banks;
	uint64_t capacity_bytes, used_bytes, free_bytes, largest_free_bytes;
	enum books_verdict books;
	const char *why;     /* unread: a few words; otherwise "" */
	uint64_t table_only; /* live buffers without a block */
	uint64_t books_only; /* blocks without a live buffer */
};

struct snapshot_census {
	uint64_t time_ns;
	bool exact;
	const char *reason; /* when not exact: a fixed word; otherwise NULL */
	uint64_t scanned_bytes, missing_bytes;
	uint64_t books_equal, books_differ, books_unread;
	uint64_t unchecked_buffers; /* live ones whose books it did not read */
};

struct snapshot_closure { /* one close (or bulk free) that left objects held, while any is */
	uint64_t time_ns;
	uint64_t buffers, bytes; /* held now, of those; bytes over all chips */
};

struct snapshot_reason {
	const char *reason; /* fixed word, notice.h */
	const char *text;   /* for people */
};

struct snapshot_process {
	uint32_t process; /* the event's process number */
	uint32_t pid, exec_count, user;
	uint64_t start_ns;       /* when the thread group started */
	uint64_t observed_ns;    /* since when it is watched, or its table was rebuilt */
	uint64_t resynchronised; /* how often its table was rebuilt by a census */
	uint32_t parent;         /* process number; 0: none known */
	const char *parent_id;   /* "PID.START.EXEC" of the parent or NULL */
	const char *id;          /* "PID.START.EXEC" */
	const char *command;     /* argv, each NUL-terminated */
	size_t command_len;
	const char *cgroup;
	enum birth_how born;

	enum process_end end;
	int32_t exit_status, signal; /* -1 / 0 when they do not apply; both: not known how it ended */
	bool core_dumped;
	uint64_t end_ns; /* 0: running */

	bool exact;
	const struct snapshot_reason *reasons;
	size_t reason_count;

	/*
	 * Distinct buffers. Running: before_attach + allocated = freed + missed_frees + held_released + live + held.
	 * After the end live and held stay as they were just before, so they drop out of the sum and
	 * cleared (= live + held) takes their place.
	 */
	uint64_t before_attach, allocated, freed, missed_frees, held_at_close, held_released, cleared, live, held;
	uint64_t uncertain; /* of held */
	uint64_t unknown_frees, double_frees;
	uint64_t lost_records;
	uint64_t stops, stopped_ns; /* by us, so that nothing is lost (--lossless) */

	const struct snapshot_census *census; /* the last one, or NULL */
	/*
	 * By id; those of the last census. After the end only if nothing changed between it and the end.
	 * Allocators can overlap (a mesh and its parts): they must not be added up.
	 */
	const struct snapshot_allocator *allocators;
	size_t allocator_count;

	const struct snapshot_unmatched *unmatched;
	size_t unmatched_count; /* kept; unknown_frees counts all */

	uint64_t out_of_memory; /* allocations that failed */
	const struct snapshot_failure *failures;
	size_t failure_count; /* kept: the first ones */

	const struct snapshot_runtime *runtimes;
	size_t runtime_count;
	const struct snapshot_device *devices; /* by chip number; -1 last */
	size_t device_count;
	/* Live and held, largest first (size x chips), then by serial. After the end: as just before clearing. */
	const struct snapshot_buffer *buffers;
	size_t buffer_count;
	const struct snapshot_closure *closures; /* oldest first */
	size_t closure_count;
};

struct snapshot {
	uint64_t now_ns;
	bool exact;
	uint64_t lost_records;                 /* of all, those of unknown processes included */
	uint64_t stops, stopped_ns;            /* likewise */
	const struct snapshot_reason *reasons; /* that concern all processes */
	size_t reason_count;
	/* In order of birth. Only processes that used a runtime, and those the user named. */
	const struct snapshot_process *processes;
	size_t process_count;
};

void snapshot_free(struct snapshot *snapshot);

#endif
