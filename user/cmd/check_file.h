/* SPDX-License-Identifier: BSD-2-Clause */
/* `bufscope check FILE`: can this library be traced, and with what? */
#ifndef BUFSCOPE_CMD_CHECK_FILE_H
#define BUFSCOPE_CMD_CHECK_FILE_H

#include <stdio.h>

/*
 * Prints to @out what is known of the library open as @fd (kept by the caller). @name: for people,
 * escaped here. 0 supported; -ENOTSUP no runtime's library, or one that is not understood (said on
 * @out); other -errno when it cannot be read.
 */
int check_library(int fd, const char *name, FILE *out);

#endif
