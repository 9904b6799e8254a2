// SPDX-License-Identifier: BSD-2-Clause
/* Who is at the other end of a local socket; see peer.h. */
#include "server/peer.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/socket.h>

uint32_t peer_group(const char *name)
{
	const struct group *group = getgrnam(name);

	return group ? group->gr_gid : PEER_NO_GROUP;
}

/* 1 or 0; -errno. */
static int is_member(int fd, uint32_t group)
{
	socklen_t len = 0;
	gid_t *groups;
	int found = 0;

	/* With no room it tells how much is needed; a peer's groups never change. */
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len))
		return 0;
	if (errno != ERANGE)
		return -errno;
	groups = malloc(len);
	if (!groups)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
		found = -errno;
	for (size_t i = 0; !found && i < len / sizeof(*groups); i++)
		found = groups[i] == group;
	free(groups);
	return found;
}

int peer_identify(int fd, uint32_t group, struct peer *out)
{
	struct ucred credentials;
	socklen_t len = sizeof(credentials);
	int member = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len))
		return -errno;
	if (group != PEER_NO_GROUP && credentials.uid && credentials.gid != group) {
		member = is_member(fd, group);
		if (member < 0)
			return member;
	}
	out->user = credentials.uid;
	out->pid = credentials.pid;
	out->sees_all = !credentials.uid || member || (group != PEER_NO_GROUP && credentials.gid == group);
	return 0;
}
