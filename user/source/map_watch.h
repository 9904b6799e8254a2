/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tells when any process on the machine maps an executable file, by perf's MMAP2 records: no
 * tracefs, no polling, the mapping's own process is not slowed.
 */
#ifndef BUFSCOPE_SOURCE_MAP_WATCH_H
#define BUFSCOPE_SOURCE_MAP_WATCH_H

#include <stdint.h>

struct map_watch;

/* A file as the kernel names it in mappings. It differs from stat(2)'s on some file systems (overlay, btrfs). */
struct map_file {
	uint32_t major, minor;
	uint64_t inode, generation; /* generation 0: not known */
};

struct map_watch_mapping {
	uint32_t pid;
	struct map_file file;
	const char *path; /* as that process sees it */
};

/* 0, -EPERM, -EMFILE, -ENOMEM. */
int map_watch_open(struct map_watch **out);
void map_watch_close(struct map_watch *watch);

/* Readable (epoll) when there is something to read. */
int map_watch_fd(const struct map_watch *watch);

/*
 * Calls @mapped once per record. Returns how many records the kernel had to drop since the last call:
 * the caller then looks at every process it follows.
 */
typedef void (*map_watch_visitor)(void *context, const struct map_watch_mapping *mapping);
uint64_t map_watch_read(struct map_watch *watch, map_watch_visitor mapped, void *context);

#endif
