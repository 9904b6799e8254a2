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

int notify_open(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len)
		return -1;
	if (len >= sizeof(address.sun_path)) {
		log_warning("NOTIFY_SOCKET is too long: the service manager is told nothing");
		return -1;
	}
	memcpy(address.sun_path, path, len);
	if (*path == '@')
		*address.sun_path = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    !connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)))
		return fd;
	log_warning("cannot reach the service manager: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

void notify_manager(int fd, const char *state)
{
	if (fd >= 0 && send(fd, state, strlen(state), MSG_NOSIGNAL) < 0)
		log_warning("cannot tell the service manager \"%s\": %s", state, strerror(errno));
}

uint64_t notify_watchdog_ns(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!usec || (pid && *pid && atoi(pid) != getpid()))
		return 0;
	return strtoull(usec, NULL, 10) * 1000 / 2;
}
