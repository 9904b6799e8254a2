/* SPDX-License-Identifier: BSD-2-Clause */
/* The process that makes one answer. Inside of control. */
#ifndef BUFSCOPE_SERVER_CONTROL_CHILD_H
#define BUFSCOPE_SERVER_CONTROL_CHILD_H

#include <sys/types.h>

struct control_callbacks;
struct control_request;

/* How it exits. */
enum control_child_exit {
	CONTROL_CHILD_WHOLE = 0,   /* the client has its end frame */
	CONTROL_CHILD_CUT_OFF = 1, /* it has none */
	CONTROL_CHILD_FILE = 2,    /* the request's file is written: the server has the last word */
};

/* To be called in a new child of @server. */
void control_child(pid_t server, int fd, const struct control_callbacks *callbacks,
		   const struct control_request *request) __attribute__((noreturn));

#endif
