/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Those who ask the service to keep what it learns about a process and its descendants, until they take the
 * report or go: `bufscope run` and `attach` of a plain user. One to a connection; all of it is bounded, and
 * given up with the connection. docs/protocol.md has the requests: follow, wait, report.
 */
#ifndef BUFSCOPE_CMD_FOLLOWERS_H
#define BUFSCOPE_CMD_FOLLOWERS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/control.h"

struct event;
struct follower;
struct followers;
struct session;

/* NULL: no memory. @control is told of what is waited for. */
struct followers *followers_new(struct session *session, struct control *control);
/* After the control socket was closed, which gives them all up. */
void followers_free(struct followers *followers);

/* "follow" and "wait" are answered here. The follower is the request's state. */
enum control_taken followers_take(struct followers *followers, struct control_request *request,
				  struct control_answer *answer);
void followers_closed(struct followers *followers, struct control_request *request);

/* The model has taken in an event. */
void followers_event(struct followers *followers, const struct event *event);

/* Does @process (of the model) belong to it? */
bool follower_has(const struct follower *follower, uint32_t process);
/* Processes that ended and were not kept, as there were too many. */
uint64_t follower_left_out(const struct follower *follower);

#endif
