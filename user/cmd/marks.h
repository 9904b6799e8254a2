/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moments that somebody gave a name, for as long as the service runs. Each is a file in memory that the
 * process which answered the request has written (model/moment.h); here are only names and descriptors.
 * Who may see all shares one set of names; any other user has their own.
 */
#ifndef BUFSCOPE_CMD_MARKS_H
#define BUFSCOPE_CMD_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/query.h"
#include "server/peer.h"

#define MARKS_MAX            32
#define MARKS_MAX_BYTES      (256ull << 20)
#define MARKS_MAX_USER       8 /* of one user who may not see all */
#define MARKS_MAX_USER_BYTES (32ull << 20)

struct mark {
	char name[QUERY_MAX_NAME + 1];
	struct peer owner; /* user: only where it may not see all */
	int fd;
	uint64_t bytes;
	uint64_t time_ns; /* CLOCK_BOOTTIME */
};

struct marks {
	struct mark list[MARKS_MAX]; /* oldest first */
	size_t count;
};

/* A file to write the moment of a new mark to. A descriptor or -errno. */
int marks_new_file(void);
/*
 * Takes over @fd. One of the same name is replaced; the oldest give way where a limit is passed: *dropped
 * says how many. 0; -EFBIG: it is larger than one user's marks may be together (and @fd is closed).
 */
int marks_add(struct marks *marks, const struct peer *owner, const char *name, int fd, unsigned int *dropped);
const struct mark *marks_find(const struct marks *marks, const struct peer *asker, const char *name);
bool marks_visible(const struct mark *mark, const struct peer *asker);
void marks_fini(struct marks *marks);

/* The bytes of a mark. NULL: no memory. */
const void *marks_map(const struct mark *mark);
void marks_unmap(const struct mark *mark, const void *data);

#endif
