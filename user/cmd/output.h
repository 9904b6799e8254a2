/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that reports go to. */
#ifndef BUFSCOPE_CMD_OUTPUT_H
#define BUFSCOPE_CMD_OUTPUT_H

#include <stddef.h>

/* For writing, made or emptied. NULL: stderr, "-": stdout; a copy, so that closing is the same for all. -errno, logged. */
int output_open(const char *path);
/* All of it, however long the reader takes. 0 or -errno. */
int output_write(int fd, const char *data, size_t len);

#endif
