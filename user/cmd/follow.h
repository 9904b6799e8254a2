/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `bufscope run` and `attach` by a plain user where the service runs: it is asked to keep what it learns of
 * the processes, and for the report at the end. Nothing is raised then, and no probe is added.
 */
#ifndef BUFSCOPE_CMD_FOLLOW_H
#define BUFSCOPE_CMD_FOLLOW_H

#include <stdbool.h>

struct options;

/*
 * As the whole of a subcommand; *status is its exit status. False: the service is not there, does not want to,
 * or cannot do what the options ask for. Nothing has happened then, and only -v tells.
 */
bool follow_run(const struct options *options, int *status);
bool follow_attach(const struct options *options, int *status);

#endif
