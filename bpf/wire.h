/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Records of the ring buffer, map values and limits: all that the BPF programs and the collector
 * share. Fixed-width fields only, explicit padding, sizes asserted at the end. docs/wire.md tells
 * the story; a change here changes both sides at once, as they are built together.
 *
 * The includer provides __u8 .. __u64 (linux/types.h or vmlinux.h).
 */
#ifndef BUFSCOPE_WIRE_H
#define BUFSCOPE_WIRE_H

#define WIRE_WINDOW_BYTES  80           /* bytes copied from an object */
#define WIRE_MAX_CHIPS     64           /* chips of one mesh */
#define WIRE_MAX_HOPS      4            /* pointers followed from a mesh to its array of chips */
#define WIRE_MAX_LIBRARIES 256          /* different library files observed in one run */
#define WIRE_MAX_PROCESSES 8192         /* followed at the same time */
#define WIRE_KNOWN_DEVICES 8            /* a power of two */
#define WIRE_ALIVE_NS      3000000000ll /* who has not been heard of for longer is dead or hangs */
#define WIRE_STACK_WORDS   256          /* of the stack, searched for an object */

enum wire_kind {
	WIRE_OBJECT = 1, /* struct wire_object: a probe whose argument is an object */
	WIRE_CALL = 2,   /* struct wire_call: a probe of which only the argument matters */
	WIRE_DEVICE = 3, /* struct wire_device: precedes the first record that refers to a device object */
	WIRE_FORK = 4,   /* struct wire_fork */
	WIRE_EXEC = 5,   /* struct wire_exec */
	WIRE_EXIT = 6,   /* struct wire_exit */
	WIRE_ADOPT = 7,  /* struct wire_adopt: precedes all records of a process that nobody had followed so far */
};

/* wire_head.flags */
#define WIRE_LOST_BEFORE 1 /* records of this process were lost since its last record: see wire_process */
#define WIRE_UNREADABLE  2 /* the memory to be copied was not there; the copy is zero */
#define WIRE_NOT_FOUND   4 /* a failed allocation: no object on the stack is surely the one; only its type is known */

struct wire_head {
	__u64 time_ns; /* CLOCK_BOOTTIME */
	__u32 process; /* number of the (process, exec) pair */
	__u32 pid;     /* thread group, in the initial pid namespace */
	__u32 thread;
	__u32 sequence; /* counts the process's records, the lost ones included */
	__u8 kind;
	__u8 role;     /* enum probe_role, from the cookie */
	__u16 library; /* index, from the cookie */
	__u32 flags;
};

struct wire_object {
	struct wire_head head;
	__u64 object;
	__u8 window[WIRE_WINDOW_BYTES];
};

struct wire_call {
	struct wire_head head;
	__u64 argument;
};

struct wire_device {
	struct wire_head head;
	__u64 object;
	__u32 is_mesh;
	__u32 chip_count;
	__u32 cut_off; /* chips beyond WIRE_MAX_CHIPS */
	__u32 padding;
	__s32 chips[WIRE_MAX_CHIPS];
};

struct wire_fork { /* head.process and head.pid are the child's */
	struct wire_head head;
	__u64 start_ns;
	__u32 parent; /* process number */
	__u32 parent_pid;
};

struct wire_adopt { /* head.library is the one it hit */
	struct wire_head head;
	__u64 start_ns;
	__u32 user; /* real uid, in the initial namespace */
	__u32 padding;
	char name[16]; /* the kernel's, of the group leader; ends in NUL */
};

struct wire_exec { /* head.process is the number that ends */
	struct wire_head head;
	__u64 start_ns;
	__u32 next; /* the number that begins */
	__u32 exec_count;
};

struct wire_lost {
	__u64 allocations, frees, others;
};

struct wire_exit {
	struct wire_head head;
	struct wire_lost lost; /* since the pid is followed: exec does not reset it */
	__u64 stopped_ns;      /* it was killed while back-pressure had it stopped: for how long */
	__u32 exit_code;       /* as wait(2) gives it */
	__u32 padding;
};

enum wire_follow {
	WIRE_FOLLOW_UNTIL_EXEC = 1, /* found on a machine that is followed: what it becomes may use no device */
	WIRE_FOLLOW_ALWAYS = 2,     /* somebody named it */
};

/* Value of the map of followed processes, by pid. */
struct wire_process {
	__u64 start_ns;
	__u32 process;
	__u32 previous; /* the number before exec, or the parent's after fork */
	__u32 exec_count;
	__u32 sequence;
	__u32 follow; /* enum wire_follow: children are followed too */
	__u32 dead;   /* it has ended but the ring had no room to say so: exit_code and exit_ns hold */
	__u32 exit_code;
	__u32 lost_pending; /* the next record carries WIRE_LOST_BEFORE */
	__u64 exit_ns;
	struct wire_lost lost;
	__u64 known_devices[WIRE_KNOWN_DEVICES];
};

/*
 * Back-pressure: memory that the BPF side, the collector and its guard share (docs/wire.md). Nobody is
 * stopped unless both of them were heard of lately. Times are CLOCK_MONOTONIC.
 */
struct wire_pressure {
	__u64 collector_ns; /* when it last looked at the ring */
	__u64 guard_ns;
	__u64 stops;       /* entries ever made in the map of stopped processes */
	__u64 released;    /* processes that the guard let go on, as the collector did not */
	__u64 released_ns; /* for how long they had been stopped, added up */
	__u32 off;         /* for good */
	__u32 stopping;    /* programs that are between looking at @off and their entry in the map */
};

/* Value of the map of libraries, by index: runtime.h's object_read and device_walk. */
struct wire_library {
	__u64 chip_vtable;
	__u64 mesh_vtable;
	__u16 indirect;
	__u16 pointer_offset;
	__u16 window_offset;
	__u16 window_len;
	__u16 device_at; /* a multiple of 8 */
	__u16 chip_id_offset;
	__u16 hop_count;
	__u16 hop[WIRE_MAX_HOPS];
	__u16 array_offset;
	__u16 stride;
	__u16 tagged;
	/*
	 * To know an object that is being allocated. In the window: the four bytes of its type, a byte that is
	 * 0 then, and the 8 bytes each that say how much was asked for. In the object: a pointer to itself.
	 */
	__u16 type_at;
	__u16 status_at;
	__u16 size_at; /* multiples of 8 */
	__u16 page_size_at;
	__s16 self_at; /* -1: it has none */
	__u16 padding;
};

/*
 * A probe's cookie: bits 0-3 role, 4-7 argument (0 or 1; for a failed allocation a register's number), 8-23 library, 24-63 vaddr of the probed
 * instruction (so that the load base is known at each hit).
 */
#define WIRE_COOKIE(role, argument, library, vaddr) \
	((__u64)(role) | (__u64)(argument) << 4 | (__u64)(library) << 8 | (__u64)(vaddr) << 24)
#define WIRE_COOKIE_ROLE(cookie)     ((__u32)(cookie)&0xf)
#define WIRE_COOKIE_ARGUMENT(cookie) ((__u32)((cookie) >> 4) & 0xf)
#define WIRE_COOKIE_LIBRARY(cookie)  ((__u32)((cookie) >> 8) & 0xffff)
#define WIRE_COOKIE_VADDR(cookie)    ((__u64)(cookie) >> 24)
#define WIRE_COOKIE_MAX_VADDR        ((1ULL << 40) - 1)

_Static_assert(sizeof(struct wire_head) == 32, "wire_head");
#define WIRE_MIN_RECORD_BYTES (32 + 8) /* in the ring, with the ring's own header */
_Static_assert(sizeof(struct wire_object) == 120, "wire_object");
_Static_assert(sizeof(struct wire_call) == 40, "wire_call");
_Static_assert(sizeof(struct wire_device) == 312, "wire_device");
_Static_assert(sizeof(struct wire_fork) == 48, "wire_fork");
_Static_assert(sizeof(struct wire_adopt) == 64, "wire_adopt");
_Static_assert(sizeof(struct wire_exec) == 48, "wire_exec");
_Static_assert(sizeof(struct wire_exit) == 72, "wire_exit");
_Static_assert(sizeof(struct wire_process) == 136, "wire_process");
_Static_assert(sizeof(struct wire_pressure) == 48, "wire_pressure");
_Static_assert(sizeof(struct wire_library) == 56, "wire_library");

#endif
