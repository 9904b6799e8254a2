/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A core file taken apart: segments, mapped files, threads. Everything in it is hostile: each number
 * is checked against the file, and every list has a limit.
 */
#ifndef BUFSCOPE_SOURCE_CORE_FILE_H
#define BUFSCOPE_SOURCE_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_MAX_SEGMENTS (1u << 20)
#define CORE_MAX_THREADS  65536

struct core_segment {
	uint64_t start, end; /* addresses */
	uint64_t offset;     /* in the file */
	uint64_t dumped;     /* bytes that the headers promise from start on */
	uint64_t there;      /* bytes of these that the file has */
	uint32_t flags;      /* PF_R, PF_W, PF_X */
	bool left_out;       /* nothing was promised: never written to, or excluded by the program (MADV_DONTDUMP) */
};

struct core_mapping {
	uint64_t start, end, offset;
	const char *path; /* owned by the core file */
};

struct core_thread {
	int32_t id;
	uint64_t stack_pointer;
};

struct core_file {
	int fd;
	uint64_t size;
	struct core_segment *segments; /* by address */
	size_t segment_count;
	struct core_mapping *mappings; /* by address */
	size_t mapping_count;
	char *strings; /* the note that paths point into */
	struct core_thread *threads;
	size_t thread_count;
	bool info_known;
	uint64_t flags; /* the kernel's flags of the process */
	int32_t pid, signal;
	uint32_t user;
	char command[81];
	uint64_t left_out_bytes; /* of segments that are left_out */
	uint64_t cut_bytes;      /* promised by the headers and not in the file */
};

/* Errors as core_memory_open(). Ends with core_file_close() in any case. */
int core_file_open(const char *path, struct core_file *core);
void core_file_close(struct core_file *core);

/* A descriptor of what is in the zstd file @fd, in a file without a name; or -errno. A cut stream gives what it has. */
int core_file_decompress(int fd);

#endif
