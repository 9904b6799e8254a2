/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the program it is preloaded into late: what has woken it is not looked at while somebody holds a
 * lock (flock) on the file that LATE_WAKE names. When the lock is gone it sees all that came meanwhile at
 * once, as on a machine that is busy. epoll_wait() with a time-out of 0 does not wait, here neither.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <unistd.h>

static int gate = -1;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("LATE_WAKE");

	if (path)
		gate = open(path, O_RDONLY | O_CLOEXEC);
	unsetenv("LD_PRELOAD");
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
	static __typeof__(&epoll_wait) real;
	struct pollfd ready = {.fd = epoll, .events = POLLIN};

	if (!real)
		real = (__typeof__(&epoll_wait))dlsym(RTLD_NEXT, "epoll_wait");
	if (gate < 0 || timeout == 0)
		return real(epoll, events, max, timeout);
	if (poll(&ready, 1, timeout) < 0)
		return -1;
	if (flock(gate, LOCK_SH) || flock(gate, LOCK_UN))
		_exit(98);
	return real(epoll, events, max, 0);
}
