/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starts the command of `bufscope run`: forked and held back before its exec, so that it can be
 * followed from its first instruction on, then let go.
 */
#ifndef BUFSCOPE_CMD_LAUNCH_H
#define BUFSCOPE_CMD_LAUNCH_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct launch {
	pid_t pid;
	int go_fd;    /* -1 once let go */
	int error_fd; /* the child's word on a failed exec */
};

/*
 * Forks. @run_as: a user name whose ids, groups and HOME the command gets; NULL: ours.
 * Signals are as they were when the program started (launch_remember_signals()). 0 or -errno, logged.
 */
int launch_start(char *const argv[], const char *run_as, struct launch *out);

/*
 * Lets the command run. 0, or the errno of a failed exec as a negative number; the child is gone then.
 */
int launch_go(struct launch *launch);

/* Says why launch_go() failed. The child's exit status is then 127 (not found) or 126, as a shell's. */
void launch_explain(const char *command, int err);

/* The file that execvp() would try first among those that access(2) allows in @mode; false: none. */
bool launch_find(const char *command, int mode, char path[PATH_MAX]);

/* Takes the ids, groups, HOME and USER of a user, for good. 0 or -errno. */
int launch_become(const char *user);

/* Gives up: the command was not started and never will be. */
void launch_cancel(struct launch *launch);

#endif
