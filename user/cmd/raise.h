/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `run` by a plain user: the command is theirs and stays so; only the tracer is raised, through sudo.
 * Two processes of bufscope then talk over a socket, which is the tracer's stdin: the user's side
 * opens the files (with the user's rights) and hands them over, and says when a snapshot is wanted.
 */
#ifndef BUFSCOPE_CMD_RAISE_H
#define BUFSCOPE_CMD_RAISE_H

#include <stdbool.h>

struct options;

/* Has this process nothing of what tracing needs? Then run goes through sudo. */
bool raise_needed(void);

/* The user's side: starts the command, waits for it, returns the exit status of `run`. */
int raise_run(const struct options *options);

/* One message from the user's side to the tracer, with descriptors. */
enum raise_message {
	RAISE_OUTPUTS = 'O',  /* first: the report's descriptor, and the event stream's if there is one */
	RAISE_READY = 'R',    /* from the tracer: the command may start */
	RAISE_SNAPSHOT = 'S', /* write one now, to the descriptor that comes with it if there is one */
};

#define RAISE_MAX_FDS 2

/* The tracer's side. 0; -EPIPE when the other side is gone; -errno. Unused @fds are -1. */
int raise_receive(int socket, enum raise_message *message, int fds[RAISE_MAX_FDS]);
int raise_send(int socket, enum raise_message message, const int *fds, int count);

#endif
