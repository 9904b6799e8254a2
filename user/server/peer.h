/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is at the other end of a local socket, by the kernel's word, and what they may see. */
#ifndef BUFSCOPE_SERVER_PEER_H
#define BUFSCOPE_SERVER_PEER_H

#include <stdbool.h>
#include <stdint.h>

#define PEER_NO_GROUP UINT32_MAX

struct peer {
	uint32_t user;
	int32_t pid; /* of who connected, as we number processes */
	bool sees_all;
};

/* The id of a group whose members see all, or PEER_NO_GROUP. May ask a directory service: not while serving. */
uint32_t peer_group(const char *name);
/* 0 or -errno. */
int peer_identify(int fd, uint32_t group, struct peer *out);

#endif
