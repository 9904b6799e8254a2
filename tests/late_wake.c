/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the program it is preloaded into late, as a busy machine does: while somebody holds a lock (flock) on
 * the file that LATE_WAKE names, it stops
 *
 *   - when epoll_wait() has something to return: it then sees all that came meanwhile at once;
 *   - at LATE_WAKE_AT=poll instead: before poll() looks at one descriptor without waiting;
 *   - at LATE_WAKE_AT=map_files instead: before it opens what a process has mapped.
 *
 * Each time it stops it adds a byte to that file. epoll_wait() with a time-out of 0 never stops.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <unistd.h>

static int gate = -1;
static bool at_poll, at_map_files;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("LATE_WAKE"), *at = getenv("LATE_WAKE_AT");

	if (path)
		gate = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	at_poll = at && !strcmp(at, "poll");
	at_map_files = at && !strcmp(at, "map_files");
	unsetenv("LD_PRELOAD");
}

static void pass(void)
{
	if (flock(gate, LOCK_SH | LOCK_NB)) {
		if (errno != EWOULDBLOCK || write(gate, "x", 1) != 1 || flock(gate, LOCK_SH))
			_exit(98);
	}
	flock(gate, LOCK_UN);
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	static __typeof__(&poll) real;

	if (!real)
		real = (__typeof__(&poll))dlsym(RTLD_NEXT, "poll");
	if (gate >= 0 && at_poll && count == 1 && timeout == 0)
		pass();
	return real(fds, count, timeout);
}

int open(const char *path, int flags, ...)
{
	static __typeof__(&open) real;
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (!real)
		real = (__typeof__(&open))dlsym(RTLD_NEXT, "open");
	if (gate >= 0 && at_map_files && strstr(path, "/map_files/"))
		pass();
	return real(path, flags, mode);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
	static __typeof__(&epoll_wait) real;
	struct pollfd ready = {.fd = epoll, .events = POLLIN};

	if (!real)
		real = (__typeof__(&epoll_wait))dlsym(RTLD_NEXT, "epoll_wait");
	if (gate < 0 || at_poll || at_map_files || timeout == 0)
		return real(epoll, events, max, timeout);
	if (poll(&ready, 1, timeout) < 0)
		return -1;
	pass();
	return real(epoll, events, max, 0);
}
