/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request to the service at a time, without waiting for it: the keyboard is never blocked by a service
 * that takes its time. What goes wrong is a line in why, not in the log: that would go across the screen.
 */
#ifndef BUFSCOPE_CMD_TOP_LINK_H
#define BUFSCOPE_CMD_TOP_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/strbuf.h"
#include "cmd/client.h"
#include "server/protocol.h"

struct top_link {
	const char *path; /* client_socket() */
	int fd;           /* becomes readable; -1: nothing is asked */
	uint64_t asked_ns;
	uint64_t begun_ns; /* the first of the answer came; 0: nothing yet */
	struct protocol_reader reader;
	struct strbuf text; /* the answer so far */
	char why[CLIENT_WHY];
};

void top_link_init(struct top_link *link, const char *path);
/* Sends @request, which stays the caller's. 0, or -errno and why. */
int top_link_ask(struct top_link *link, json_t *request);
/* When fd is readable. 1: text is the whole answer. 0: not yet. -errno: why; nothing is asked any more. */
int top_link_read(struct top_link *link);
/* The answer is not wanted any more. */
void top_link_stop(struct top_link *link);
void top_link_fini(struct top_link *link);

#endif
