/* SPDX-License-Identifier: BSD-2-Clause */
/* A forked child in a session of its own, so that no terminal and no group signal reaches it. */
#include "source/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "source/pressure.h"

#define BEAT_MS 250

static void close_all_but(int a, int b)
{
	int low = a < b ? a : b, high = a < b ? b : a;

	if (low > 0)
		close_range(0, (unsigned int)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned int)low + 1, (unsigned int)high - 1, 0);
	close_range((unsigned int)high + 1, ~0u, 0);
}

static void count(void *context, uint32_t pid, uint64_t times, uint64_t stopped_ns)
{
	struct wire_pressure *shared = context;

	(void)pid;
	__atomic_fetch_add(&shared->released_ns, stopped_ns, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&shared->released, times, __ATOMIC_SEQ_CST);
}

static void watch(struct wire_pressure *shared, int stopped_fd, int collector)
{
	struct pollfd fd = {.fd = collector, .events = POLLIN};
	uint64_t now, last;

	do {
		now = pressure_now_ns();
		last = __atomic_load_n(&shared->collector_ns, __ATOMIC_SEQ_CST);
		__atomic_store_n(&shared->guard_ns, now, __ATOMIC_SEQ_CST);
		/* The BPF side judges in the same way and stops nobody any more. */
		if ((int64_t)(now - last) >= WIRE_ALIVE_NS)
			pressure_continue_all(stopped_fd, count, shared);
	} while (poll(&fd, 1, BEAT_MS) <= 0);
	/* The collector is dead. What is about to stop somebody has not seen this yet: wait for it. */
	__atomic_store_n(&shared->off, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&shared->stopping, __ATOMIC_SEQ_CST)) {
		pressure_continue_all(stopped_fd, count, shared);
		sched_yield();
	}
	pressure_continue_all(stopped_fd, count, shared);
}

static void __attribute__((noreturn)) guard(struct wire_pressure *shared, int stopped_fd, int collector)
{
	sigset_t all;

	/* The collector ends it by SIGTERM: SIGKILL is refused to that once it is confined. */
	sigfillset(&all);
	sigdelset(&all, SIGTERM);
	signal(SIGTERM, SIG_DFL);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	/* Another name: whoever kills the collector by its name is to leave the guard alive. */
	prctl(PR_SET_NAME, "tracer-guard");
	if (chdir("/"))
		_exit(1);
	__atomic_store_n(&shared->guard_ns, pressure_now_ns(), __ATOMIC_SEQ_CST);
	close_all_but(stopped_fd, collector);
	watch(shared, stopped_fd, collector);
	_exit(0);
}

pid_t guard_start(struct wire_pressure *shared, int stopped_fd)
{
	int collector, ready[2], err;
	pid_t pid;
	char byte;

	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	collector = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid = collector >= 0 ? fork() : -1;
	if (pid == 0)
		guard(shared, stopped_fd, collector);
	err = errno;
	close(ready[1]);
	/* End of file: the guard has closed what is not its own, so it is out of the group and watches. */
	while (pid > 0 && read(ready[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(ready[0]);
	if (collector >= 0)
		close(collector);
	return pid < 0 ? -err : pid;
}
