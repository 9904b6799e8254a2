/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The decoded event: all that a source (live BPF, capture file, census) tells the model, and the
 * only thing the two share. No wire format, no runtime's name, no kernel type here.
 *
 * Times are CLOCK_BOOTTIME in nanoseconds. Pointers in an event belong to the source and are valid
 * only during the call that delivers it.
 */
#ifndef BUFSCOPE_EVENT_H
#define BUFSCOPE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Device memory types. Values are stable (capture files, sort order of every output). */
enum memory_type {
	MEMORY_DRAM = 0,
	MEMORY_L1 = 1,
	MEMORY_L1_SMALL = 2,
	MEMORY_TRACE = 3,
	MEMORY_TYPE_COUNT = 4,
};

/* The name in every output: "DRAM", "L1", "L1_SMALL", "TRACE"; "unknown" for anything else. */
const char *memory_type_name(enum memory_type type);

/* A mesh has at most this many chips in one process; more are counted as cut off. */
#define EVENT_MAX_CHIPS 64

enum event_kind {
	EVENT_BIRTH = 1,   /* an address space that is followed begins: attach, launch, fork or exec */
	EVENT_RUNTIME = 2, /* a device runtime's library is being observed in a process */
	EVENT_DEVICE = 3,  /* a device object, and the chips it stands for, became known */
	EVENT_ALLOCATE = 4,
	EVENT_FREE = 5,
	EVENT_CLOSE = 6,     /* a device object was closed (its pointer may be reused afterwards) */
	EVENT_BULK_FREE = 7, /* an allocator gave back all its memory at once; its objects still exist */
	EVENT_RELEASE = 8,   /* an object was destroyed without a free (after its device was closed) */
	EVENT_EXEC = 9,      /* the address space of @process ends; an EVENT_BIRTH with the new one follows */
	EVENT_EXIT = 10,     /* the last thread of the process is gone */
	EVENT_LOST = 11,     /* records of this process (or of an unknown one) were lost before this point */
	EVENT_UNSURE = 12,   /* it could not be decided whether a held object still exists */
	EVENT_BOOKS = 13,    /* the runtime's own books of one allocator and memory type, as just read */
	EVENT_CENSUS = 14,   /* a census ended: all EVENT_BOOKS of it came before */
	EVENT_RESTART =
		15, /* the table of @process is rebuilt: what a census found follows, as allocations at time 0 */
	EVENT_OUT_OF_MEMORY = 16, /* an allocation failed: the runtime had no room for it */
	EVENT_STOP = 17, /* @process was stopped by us for a while, so that nothing is lost, and goes on or died */
	EVENT_CHIP = 18, /* which chip of the machine one of the runtime's numbers stands for, in this process */
};

/*
 * How a process came to be followed. After FORK the table starts empty and complete; after EXEC and
 * LAUNCH too. ATTACH: it was running already, so older buffers may exist.
 */
enum birth_how {
	BIRTH_ATTACH = 1,
	BIRTH_LAUNCH = 2, /* started by us, before its first instruction */
	BIRTH_FORK = 3,
	BIRTH_EXEC = 4,
};

struct event_birth {
	enum birth_how how;
	uint32_t pid; /* in the initial pid namespace */
	uint32_t exec_count;
	uint32_t parent;     /* process number of the parent or of the address space before exec; 0: none known */
	uint64_t start_ns;   /* when the thread group started */
	uint32_t user;       /* real uid */
	const char *command; /* argv, each argument NUL-terminated; may be empty */
	size_t command_len;
	const char *cgroup; /* path in the hierarchy, or "" */
};

/* One field of a layout as it was learnt from the library, for people and for JSON. */
struct layout_field {
	const char *name; /* e.g. "buffer.size" */
	int64_t value;    /* bytes unless the name says otherwise; negative: dereference */
};

struct event_runtime {
	uint32_t runtime;     /* index of this library in the process, from 0 */
	const char *name;     /* "tt-metal" */
	const char *library;  /* path as the process sees it */
	const char *build_id; /* hex, or "" */
	const struct layout_field *layout;
	size_t layout_count;
	/*
	 * Whether buffers can exist that were allocated before probes were in place: 0 none (proven),
	 * otherwise how many buffer objects had been made by then; -1 when it could not be read.
	 */
	int64_t earlier_objects;
	/* Whether BULK_FREE events come; if not, CLOSE itself makes buffers held. */
	bool bulk_free_probed;
};

struct event_device {
	uint64_t device_object;
	bool readable; /* false: it could not be read; chip_count is 0 */
	bool is_mesh;
	uint32_t chip_count;
	uint32_t cut_off;               /* chips beyond EVENT_MAX_CHIPS */
	int32_t chips[EVENT_MAX_CHIPS]; /* as the runtime numbers them */
};

#define CHIP_BOARD_LEN 32
#define CHIP_PCI_LEN   24
#define CHIP_NAME_LEN  (CHIP_BOARD_LEN + CHIP_PCI_LEN)

/*
 * A chip as the driver knows it: the same for every process, however its runtime or its container numbers
 * it. Letters are limited to those of names and addresses; nothing in it needs to be escaped.
 */
struct chip_identity {
	bool known;            /* false: all that is known is the runtime's number, of one process; the rest is 0 */
	uint64_t unique_id;    /* 0: the driver does not tell */
	uint32_t major, minor; /* of its device node */
	char board[CHIP_BOARD_LEN]; /* "n300"; "": the driver does not tell */
	char pci[CHIP_PCI_LEN];     /* "0000:01:00.0"; always there when known */
};

/*
 * Are these one chip? Both must be known: numbers of two processes prove nothing. An address of the PCI bus
 * has one chip at a time; a unique id can refute that it is still the same one.
 */
bool chip_same(const struct chip_identity *a, const struct chip_identity *b);
/* "n300 0000:01:00.0", for people; NULL when the chip is not known. @name has CHIP_NAME_LEN bytes. */
const char *chip_name(const struct chip_identity *chip, char *name);

struct event_chip {
	int32_t chip;
	struct chip_identity identity; /* known */
};

enum buffer_fault {
	BUFFER_FAULT_NONE = 0,
	BUFFER_FAULT_UNREADABLE = 1,  /* the object's memory could not be read; only @object is valid */
	BUFFER_FAULT_IMPLAUSIBLE = 2, /* the bytes do not make a buffer of the known layout; only @object is valid */
};

/*
 * ALLOCATE, FREE; RELEASE, UNSURE: only @object. OUT_OF_MEMORY: what was asked for, without an address; with a
 * fault only @type is known, if that.
 */
struct event_buffer {
	uint64_t object; /* address of the runtime's object in the process: its identity while alive */
	uint64_t device_object;
	uint64_t allocator;  /* address of the allocator that owns it */
	uint64_t address;    /* on the device, per bank */
	uint64_t size_bytes; /* asked for, on each chip */
	uint64_t page_size_bytes;
	enum memory_type type;
	enum buffer_fault fault;
	uint32_t runtime;         /* index as in event_runtime */
	uint64_t footprint_bytes; /* really taken on each chip (bytes per bank x banks); 0: not known */
};

/* One allocated block of the books. */
struct event_block {
	uint64_t address;         /* on the device, as a buffer of it says */
	uint64_t footprint_bytes; /* bytes per bank x banks */
};

enum books_state {
	BOOKS_READ = 1,
	BOOKS_UNREAD = 2, /* changing, damaged or not in memory: @why */
};

/*
 * The books of one allocator and memory type. A mesh, its parts and its chips have allocators of their
 * own. Figures are of one chip: bytes per bank x banks.
 */
struct event_books {
	uint64_t allocator;
	uint64_t device_object; /* that it serves; 0: not known */
	enum memory_type type;
	enum books_state state;
	const char *why; /* when unread: a few words, static */
	uint32_t banks;
	uint64_t capacity_bytes, used_bytes, free_bytes, largest_free_bytes;
	const struct event_block *blocks; /* by address */
	size_t block_count;
};

struct event_census {
	bool exact;         /* everything was read, every block has one owner */
	const char *reason; /* when not exact: a fixed word */
	uint64_t scanned_bytes, missing_bytes;
	uint32_t runtime; /* whose objects and books: index as in event_runtime */
	bool books_only;  /* the buffers it found were not told as allocations: it only compares */
};

struct event_exit {
	int32_t status; /* exit status, or -1 when it died of a signal */
	int32_t signal; /* or 0 */
	bool core_dumped;
};

/* Records lost, per kind of record. */
struct event_lost {
	uint64_t allocations;
	uint64_t frees;
	uint64_t others;
};

struct event_stop {
	uint64_t times;
	uint64_t stopped_ns; /* added up */
};

struct event {
	enum event_kind kind;
	uint32_t process; /* number of a (process, exec) pair; never reused in one run; 0 in LOST, STOP: unknown */
	uint32_t thread;  /* tid in the initial namespace, 0 if not known */
	uint64_t time_ns;
	union {
		struct event_birth birth;
		struct event_runtime runtime;
		struct event_device device;
		struct event_chip chip;
		struct event_buffer buffer; /* ALLOCATE FREE RELEASE UNSURE OUT_OF_MEMORY */
		uint64_t device_object;     /* CLOSE */
		uint64_t allocator;         /* BULK_FREE */
		struct event_exit exit;
		struct event_lost lost;
		struct event_stop stop;
		struct event_books books;
		struct event_census census;
	};
};

#endif
