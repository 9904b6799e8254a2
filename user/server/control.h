/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket's server side: connections, limits, and who is asking (docs/protocol.md). What is
 * asked is somebody else's business. Each answer is made by a child process, forked at the moment that
 * it is about: it reads this process's memory as it was then, writes to the client as slowly as that
 * one reads, and ends. So no client can delay the loop, and nothing of an answer is held here.
 */
#ifndef BUFSCOPE_SERVER_CONTROL_H
#define BUFSCOPE_SERVER_CONTROL_H

#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

#include "server/peer.h"

struct control;
struct loop;

#define CONTROL_MAX_MESSAGE 256

struct control_request {
	struct peer peer;
	const char *command;
	const json_t *options; /* an object */
	int file;              /* what begin() opened for the child to write to, or -1 */
	void *state;           /* of this connection, kept from request to request: take()'s */
};

enum control_taken {
	CONTROL_LEFT = 0,  /* a child is to answer */
	CONTROL_DONE = 1,  /* the answer is that it is done, or was refused */
	CONTROL_LATER = 2, /* the answer is to come by control_wake(), or when the next request is there */
};

struct control_answer {
	FILE *out; /* UTF-8, as long as one likes */
	int exit_status;
	char message[CONTROL_MAX_MESSAGE]; /* one line, or "" */
};

struct control_callbacks {
	/*
	 * In the server, before begin(): may answer itself, by status and message alone. A connection that it
	 * gave a state has no limit of idle time.
	 */
	enum control_taken (*take)(void *context, struct control_request *request, struct control_answer *answer);
	/* A connection with a state is closed: gives that up. */
	void (*closed)(void *context, struct control_request *request);
	/* In the server, before the fork. May open request->file; then finish() will be called. 0 or -errno. */
	int (*begin)(void *context, struct control_request *request);
	/* In the child. It may do to its copy of our memory what it likes. */
	void (*answer)(void *context, const struct control_request *request, struct control_answer *answer);
	/*
	 * In the server, when the child has written the request's file and ended with exit status 0: takes
	 * the file over (sets it to -1). What it says in @answer, which has no stream, is told to the client.
	 */
	void (*finish)(void *context, struct control_request *request, struct control_answer *answer);
	void *context;
};

/* @group: whose members see all, PEER_NO_GROUP: nobody. 0 or -errno, logged. */
int control_open(struct loop *loop, const char *path, uint32_t group, const struct control_callbacks *callbacks,
		 struct control **out);
/* What the connection with that state waits for (CONTROL_LATER) has come; nothing if it does not wait. */
void control_wake(struct control *control, const void *state);
/* A child of this process may have ended (SIGCHLD). */
void control_reap(struct control *control);
/* Ends answers half way and takes the socket away. */
void control_close(struct control *control);

#endif
