/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files that followed processes map: which of them are a device runtime's library, the plan for
 * each, and what is attached to it. A file is looked at once, however many processes map it.
 */
#ifndef BUFSCOPE_SOURCE_LIBRARY_H
#define BUFSCOPE_SOURCE_LIBRARY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "runtime/census.h"
#include "runtime/runtime.h"
#include "source/live.h"

enum library_state {
	LIBRARY_PLANNED = 2, /* to be attached */
	LIBRARY_ATTACHED = 3,
	LIBRARY_UNSUPPORTED = 4, /* a runtime's library that is not observed; it was said why */
	LIBRARY_CLOSING = 5,     /* its attachments are being closed */
};

struct library {
	enum library_state state;
	uint32_t index; /* in cookies and wire records; valid from PLANNED on */
	int fd;         /* keeps the inode from being reused; -1 when it is not supported */
	char *path;     /* as the first process shows it */
	char build_id[65];
	char why[128]; /* UNSUPPORTED: the reason, for people */
	struct library_plan plan;
	struct census_plan books;
	int books_error;                  /* 0: the books can be read */
	uint64_t exec_vaddr, exec_offset; /* one place of the file's executable segment, for load bases */
	struct live_attachment attachment;
	uint64_t attached_ns;
	uint64_t used_ns; /* when a followed process was last known to map it */
	struct live_attachment destroy;
	bool destroy_armed;
	pthread_t closer; /* CLOSING */
	uint64_t closed_ns;
	bool overwritten;  /* its file, in place: what is attached is at offsets of what is no more */
	uint64_t clean_ns; /* the probes of what was there before it were gone; 0: there were none */
};

struct libraries;

struct libraries *libraries_new(void);
/* Closes everything; attachments too. */
void libraries_free(struct libraries *libraries);

struct procfs_mapping;

/*
 * The library behind a mapping of @pid, looked at now if it is new. *out is NULL for files that are no
 * runtime's. 0, -ESRCH (the mapping is gone), -EPERM or -EACCES, -ENOMEM, errors of reading it.
 */
int libraries_of_mapping(struct libraries *libraries, pid_t pid, const struct procfs_mapping *mapping,
			 struct library **out);

/* The same for a file that may not be mapped yet. 0, -errno of opening or reading it, -ENOMEM. */
int libraries_of_file(struct libraries *libraries, const char *path, struct library **out);

/* By index; NULL if there is none. Indices below libraries_end() may be free. */
struct library *libraries_get(const struct libraries *libraries, uint32_t index);
uint32_t libraries_end(const struct libraries *libraries);

/* Where the library is loaded in a process, from one of its executable mappings. */
uint64_t library_base(const struct library *library, const struct procfs_mapping *mapping);

/*
 * Does the code at the probes look as in the file? True also where another tracer's breakpoint is.
 * @breakpoint is set when there is one at the first probe.
 */
bool library_code_intact(const struct library *library, pid_t pid, uint64_t base, bool *breakpoint);

/*
 * Are the probes of an attached library still in the process's code? False only when the file's own bytes
 * are back at one of them, as after a debugger that had its breakpoint there first took it away.
 */
bool library_probes_in_place(const struct library *library, pid_t pid, uint64_t base);

/* How many objects the library has made in this process, by its own counter. -1: it cannot be told. */
int64_t library_objects_made(const struct library *library, pid_t pid, uint64_t base);

/* An attached library of the same inode number, size and build-id on another device: the same file seen through another overlay. */
struct library *libraries_twin(const struct libraries *libraries, const struct library *library);
/* From now on the file of @library stands for @twin. @library, which is not attached, is freed. */
void libraries_merge(struct libraries *libraries, struct library *library, struct library *twin);

/*
 * Closes the attachments on a thread of their own: the kernel waits there for all CPUs, and for whoever
 * sleeps in a probe. 0 or -errno; then nothing was closed.
 */
int library_begin_close(struct library *library);
/* Waits up to @wait_ms for the end of that. True: it is LIBRARY_PLANNED again; UNSUPPORTED, if overwritten. */
bool library_end_close(struct library *library, unsigned int wait_ms);

/* Looks which files were overwritten in place; of those that are mapped again it is noticed then. */
void libraries_check_contents(struct libraries *libraries);
/* Are they of the same file, whatever is in it? */
bool library_same_file(const struct library *a, const struct library *b);

/* Forgets a library that nothing refers to any more and that is not attached. */
void libraries_remove(struct libraries *libraries, struct library *library);
/* Was its last name deleted? */
bool library_is_deleted(const struct library *library);

#endif
