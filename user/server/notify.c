// SPDX-License-Identifier: BSD-2-Clause
/* systemd's notify protocol; see notify.h and sd_notify(3). */
#include "server/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

void notify_manager(const char *state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len)
		return;
	if (len >= sizeof(address.sun_path)) {
		log_warning("NOTIFY_SOCKET is too long: the service manager is not told \"%s\"", state);
		return;
	}
	memcpy(address.sun_path, path, len);
	if (*path == '@')
		*address.sun_path = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warning("cannot tell the service manager \"%s\": %s", state, strerror(errno));
	if (fd >= 0)
		close(fd);
}
