/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory of a process that died, from its core file (runtime/memory.h): ELF as the kernel and
 * debuggers write it, also cut off, also compressed with zstd as systemd-coredump keeps it. What
 * the file does not hold is missing, and counted.
 */
#ifndef BUFSCOPE_SOURCE_CORE_MEMORY_H
#define BUFSCOPE_SOURCE_CORE_MEMORY_H

#include "runtime/memory.h"

/*
 * 0; -ENOEXEC no core file; -ENOTSUP of another machine or word size; -EINVAL broken; -ENODATA it has no
 * list of mapped files; -EFBIG decompressed it would be larger than allowed; -ENOMEM; errors of open and
 * read. Ends with memory_close().
 */
int core_memory_open(const char *path, struct memory **out);

/* Facts for people and for the report. */
struct core_facts {
	int32_t pid;
	int32_t signal;
	uint32_t user;
	const char *command;     /* as the kernel cut it: 80 bytes; owned by the memory */
	uint64_t left_out_bytes; /* never written to, or excluded by the program: not counted as missing */
	uint64_t cut_bytes;      /* promised by the headers and not in the file */
};
void core_memory_facts(const struct memory *memory, struct core_facts *out);

/* Where the files are that the process had mapped. */
struct core_files {
	struct memory *memory;
	const char *sysroot; /* a folder that stands for /, or NULL */
};

/*
 * A survey_open_fn; @context: struct core_files. Opens the file of that name, below @sysroot if there is
 * one. -ENOENT also when the build-id in the core, where it was dumped, is another: a file that was
 * replaced since would be read with the wrong layout.
 */
int core_memory_open_file(void *context, const struct memory_region *region);

#endif
