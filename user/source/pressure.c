/* SPDX-License-Identifier: BSD-2-Clause */
/* Marks, the collector's sign of life, and continuing who was stopped. */
#include "source/pressure.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "source/guard.h"

#define MAX_RESERVE (1u << 20) /* bytes for records of process life: thousands of ends */

struct pressure {
	struct wire_pressure *shared;
	int stopped_fd;
	struct pressure_marks marks;
	uint8_t *positions; /* the ring's first two pages: where its reader and its writers are */
	size_t page;
	pid_t guard;
	uint64_t stops, released, released_ns; /* of @shared, as far as they were looked at */
	bool alone;                            /* said that the guard is gone */
};

uint64_t pressure_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct pressure_marks pressure_marks(size_t ring_bytes)
{
	size_t reserve = ring_bytes / 8 < MAX_RESERVE ? ring_bytes / 8 : MAX_RESERVE;

	return (struct pressure_marks){
		.wake = ring_bytes / 4,
		.stop = ring_bytes / 2,
		.resume = ring_bytes / 8,
		.object = ring_bytes - reserve,
	};
}

/* ---- stops by others ---- */

#define SIGNAL_BIT(signal) (1ull << ((signal)-1))

static uint64_t signal_set(const char *status, const char *field)
{
	const char *at = strstr(status, field);

	return at ? strtoull(at + strlen(field), NULL, 16) : 0;
}

bool pressure_other_stop(const char *status)
{
	/* Ours are the threads' own, never among those of the process. */
	uint64_t pending = signal_set(status, "\nShdPnd:");
	uint64_t dealt_with = signal_set(status, "\nSigCgt:") | signal_set(status, "\nSigBlk:");
	uint64_t by_terminal = SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU);

	return pending & (SIGNAL_BIT(SIGSTOP) | (by_terminal & ~dealt_with));
}

static bool wanted_stopped(uint32_t pid)
{
	char path[32], status[4096];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, status, sizeof(status) - 1);
	close(fd);
	status[len > 0 ? len : 0] = 0;
	return pressure_other_stop(status);
}

void pressure_continue_all(int stopped_fd, pressure_visitor visit, void *context)
{
	uint32_t pids[WIRE_MAX_PROCESSES], count = 0;
	uint64_t since_ns;

	/* Each one once: it may be stopped again before this thread runs on. */
	while (count < WIRE_MAX_PROCESSES &&
	       !bpf_map_get_next_key(stopped_fd, count ? &pids[count - 1] : NULL, &pids[count]))
		count++;
	for (uint32_t i = 0; i < count; i++) {
		/* The entry goes first: a stop that comes after it makes a new one. */
		if (bpf_map_lookup_and_delete_elem(stopped_fd, &pids[i], &since_ns))
			continue;
		/*
		 * It cannot have died and its pid be in use again: its end takes the entry out. Between the look
		 * and the signal somebody may still ask for a stop, which is undone then.
		 */
		if (!wanted_stopped(pids[i]))
			kill((pid_t)pids[i], SIGCONT);
		visit(context, pids[i], 1, pressure_now_ns() - since_ns);
	}
}

/* ---- the collector's side ---- */

/* SIGCONT needs it for processes of other users; without it they could be stopped and not continued. */
static bool may_signal_all(void)
{
	char status[4096];
	ssize_t len;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	len = fd >= 0 ? read(fd, status, sizeof(status) - 1) : 0;
	if (fd >= 0)
		close(fd);
	status[len > 0 ? len : 0] = 0;
	return signal_set(status, "\nCapEff:") & 1ull << 5; /* CAP_KILL */
}

int pressure_open(struct wire_pressure *shared, int ring_fd, int stopped_fd, const struct pressure_marks *marks,
		  struct pressure **out)
{
	struct pressure *pressure;

	if (!may_signal_all()) {
		log_error("--lossless needs CAP_KILL too, to continue what it stops");
		return -EPERM;
	}
	pressure = calloc(1, sizeof(*pressure));
	if (!pressure)
		return -ENOMEM;
	pressure->shared = shared;
	pressure->stopped_fd = stopped_fd;
	pressure->marks = *marks;
	pressure->page = (size_t)sysconf(_SC_PAGESIZE);
	pressure->positions = mmap(NULL, 2 * pressure->page, PROT_READ, MAP_SHARED, ring_fd, 0);
	pressure_beat(pressure);
	pressure->guard = pressure->positions != MAP_FAILED ? guard_start(shared, stopped_fd) : -errno;
	if (pressure->guard < 0) {
		log_error("--lossless: cannot start its guard process: %s", strerror(-pressure->guard));
		pressure_close(pressure);
		return -EAGAIN;
	}
	*out = pressure;
	return 0;
}

static void ignore(void *context, uint32_t pid, uint64_t times, uint64_t stopped_ns)
{
	(void)context, (void)pid, (void)times, (void)stopped_ns;
}

void pressure_off(struct pressure *pressure)
{
	struct wire_pressure *shared = pressure->shared;

	if (pressure->guard <= 0 || shared->off)
		return;
	__atomic_store_n(&shared->off, 1, __ATOMIC_SEQ_CST);
	/* As in the guard: what is about to stop somebody has not seen this yet. */
	while (__atomic_load_n(&shared->stopping, __ATOMIC_SEQ_CST))
		sched_yield();
	pressure_continue_all(pressure->stopped_fd, ignore, NULL);
	kill(pressure->guard, SIGTERM);
	waitpid(pressure->guard, NULL, 0);
}

void pressure_close(struct pressure *pressure)
{
	if (!pressure)
		return;
	pressure_off(pressure);
	if (pressure->positions != MAP_FAILED)
		munmap(pressure->positions, 2 * pressure->page);
	free(pressure);
}

void pressure_beat(struct pressure *pressure)
{
	uint64_t now = pressure_now_ns(), guard_ns = __atomic_load_n(&pressure->shared->guard_ns, __ATOMIC_SEQ_CST);

	__atomic_store_n(&pressure->shared->collector_ns, now, __ATOMIC_SEQ_CST);
	if (pressure->guard <= 0 || pressure->alone || pressure->shared->off ||
	    (int64_t)(now - guard_ns) < WIRE_ALIVE_NS)
		return;
	pressure->alone = true;
	log_warning("--lossless: its guard, process %d, is gone or does not run; nothing is stopped without it, and "
		    "records may be lost",
		    pressure->guard);
}

static uint64_t fill(const struct pressure *pressure)
{
	uint64_t reader = __atomic_load_n((const unsigned long *)pressure->positions, __ATOMIC_ACQUIRE);
	uint64_t writers =
		__atomic_load_n((const unsigned long *)(pressure->positions + pressure->page), __ATOMIC_ACQUIRE);

	return writers - reader;
}

static void tell_guards_work(struct pressure *pressure, pressure_visitor visit, void *context)
{
	uint64_t released = __atomic_load_n(&pressure->shared->released, __ATOMIC_SEQ_CST);
	uint64_t released_ns = __atomic_load_n(&pressure->shared->released_ns, __ATOMIC_SEQ_CST);

	if (released == pressure->released)
		return;
	log_warning("bufscope did not run for some seconds: its guard continued what --lossless had stopped");
	visit(context, 0, released - pressure->released, released_ns - pressure->released_ns);
	pressure->released = released;
	pressure->released_ns = released_ns;
}

void pressure_release(struct pressure *pressure, pressure_visitor visit, void *context)
{
	uint64_t stops;

	tell_guards_work(pressure, visit, context);
	stops = __atomic_load_n(&pressure->shared->stops, __ATOMIC_SEQ_CST);
	/* Above the mark each of them would write one more record and stop again. */
	if (stops == pressure->stops || fill(pressure) > pressure->marks.resume)
		return;
	pressure->stops = stops;
	pressure_continue_all(pressure->stopped_fd, visit, context);
}

bool pressure_holds(const struct pressure *pressure)
{
	return __atomic_load_n(&pressure->shared->stops, __ATOMIC_SEQ_CST) != pressure->stops;
}
