/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory of one process, running or dead, as a census reads it. A source implements it (a
 * process, a core file, a test's array); the runtimes read through it and do not know which it is.
 *
 * Everything behind it is hostile: any address may be asked for, and every answer is a copy.
 */
#ifndef BUFSCOPE_RUNTIME_MEMORY_H
#define BUFSCOPE_RUNTIME_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum memory_kind {
	MEMORY_KIND_ORDINARY = 0,
	MEMORY_KIND_HUGE = 1,    /* pages of a hugetlb file system */
	MEMORY_KIND_DEVICE = 2,  /* reading may have effects on hardware: never read */
	MEMORY_KIND_SPECIAL = 3, /* vdso, vvar and the like */
};

/* One mapping. */
struct memory_region {
	uint64_t start, end;
	bool readable, writable, executable;
	bool shared; /* MAP_SHARED: no object of a C++ heap lives there */
	enum memory_kind kind;
	const char *path; /* the file behind it as the process sees it; "" when anonymous */
	uint64_t offset;  /* in that file */
};

/* One piece of a scattered read. */
struct memory_part {
	uint64_t address;
	void *buf;
	uint32_t len;
	bool ok; /* set by read_many */
};

/* Who made what is in this memory: see census.h, "origin". */
struct memory_lineage {
	bool known;
	bool forked;         /* made by fork and no exec since: the memory began as a copy of another process's */
	bool parent_alive;   /* that process is still there, so shared_with_ancestor() can tell */
	size_t thread_count; /* but the first, which fork copies */
};

struct memory_thread {
	int32_t id;
	uint64_t stack_pointer;
};

/* Bytes that are there. */
struct memory_run {
	uint64_t start, end;
};

struct memory {
	const struct memory_ops *ops;
	bool live; /* it may change while it is read */
};

struct memory_ops {
	/* By number from 0, in order of addresses, as they were when this memory was opened. -ENOENT behind the last. */
	int (*region)(struct memory *memory, size_t index, struct memory_region *out);
	/*
	 * All of it or nothing: 0, -EFAULT (not mapped, or not in memory at this moment: nothing is
	 * faulted in to answer), -ESRCH (the process is gone).
	 */
	int (*read)(struct memory *memory, uint64_t address, void *buf, size_t len);
	/* Many small reads at once; each part says whether it was read. 0 or -ESRCH. */
	int (*read_many)(struct memory *memory, struct memory_part *parts, size_t count);
	/*
	 * The first run of bytes in [from, to) that can be read without faulting anything in. 0;
	 * -ENOENT there is none; -ESRCH. What is passed over because it exists but is not here
	 * (swapped out, not in the core) is added to *missing_bytes; untouched pages are not.
	 */
	int (*present)(struct memory *memory, uint64_t from, uint64_t to, struct memory_run *run,
		       uint64_t *missing_bytes);
	/* 0 or -errno. */
	int (*lineage)(struct memory *memory, struct memory_lineage *out);
	/* A thread that is not the first. 0; -ENOENT; -EBUSY: it runs at this moment, and cannot be asked. */
	int (*thread)(struct memory *memory, size_t index, struct memory_thread *out);
	/*
	 * Is the page at @address physically the same as the one at that address in a process this one
	 * descends from? 1, 0 (or that process is gone), -errno: cannot be told.
	 */
	int (*shared_with_ancestor)(struct memory *memory, uint64_t address);
	/*
	 * The same address in the memory of a process this one was copied from: the parent is 0, its own
	 * parent 1, up to one that began with exec. 0; -ENOENT behind the last; -ESRCH one of them is gone;
	 * -EFAULT not in memory.
	 */
	int (*ancestor_read)(struct memory *memory, size_t index, uint64_t address, void *buf, size_t len);
	void (*close)(struct memory *memory);
};

static inline int memory_read(struct memory *memory, uint64_t address, void *buf, size_t len)
{
	return memory->ops->read(memory, address, buf, len);
}

static inline void memory_close(struct memory *memory)
{
	if (memory)
		memory->ops->close(memory);
}

#endif
