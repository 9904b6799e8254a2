/* SPDX-License-Identifier: BSD-2-Clause */
/* A listening local socket that has one owner: what a server that was killed left behind is replaced, a living one is not. */
#ifndef BUFSCOPE_SERVER_ENDPOINT_H
#define BUFSCOPE_SERVER_ENDPOINT_H

#include <sys/un.h>

struct endpoint {
	int fd;      /* listening, does not block */
	int lock_fd; /* of PATH.lock */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* Makes the socket, connectable by everyone, and its folder if only that is missing. 0 or -errno, logged. */
int endpoint_open(const char *path, struct endpoint *out);
/* Takes the socket away. */
void endpoint_close(struct endpoint *endpoint);

#endif
