/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The live source's interface and its loop. Owns the BPF side, the libraries and the table of followed
 * processes; the other tracer_*.c files work on them. Events leave in ring order.
 */
#include "source/tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "source/chips.h"
#include "source/pressure.h"
#include "source/procfs.h"
#include "source/tracer_internal.h"

#define TICK_MS     2  /* while records come */
#define IDLE_ROUNDS 10 /* ticks without a record before the reader sleeps */

uint64_t tracer_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void tracer_emit(struct tracer *tracer, const struct event *event)
{
	struct tracked *tracked = tracer->holds ? tracked_by_process(&tracer->tracked, event->process) : NULL;

	if (event->kind == EVENT_DEVICE || event->kind == EVENT_CLOSE)
		tracer_note_device(tracer, event);
	if (!tracked || !tracked->hold || !tracer_hold_back(tracer, tracked, event))
		tracer->callbacks.event(tracer->callbacks.context, event);
}

/* @pid: whose end @fd tells; 0: what is there is found by looking. */
static int watch_fd(struct tracer *tracer, int fd, uint32_t pid)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = pid};

	return epoll_ctl(tracer->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int cannot_start(int err)
{
	log_error("cannot start tracing: %s", strerror(-err));
	return err;
}

int tracer_open(const struct tracer_options *options, const struct tracer_callbacks *callbacks, struct tracer **out)
{
	struct live_options live_options = {.ring_bytes = options->ring_bytes,
					    .perf_links = options->perf_links,
					    .lossless = options->lossless};
	struct tracer *tracer = calloc(1, sizeof(*tracer));
	int err;

	if (!tracer)
		return cannot_start(-ENOMEM);
	tracer->options = *options;
	tracer->ring_batches =
		(options->ring_bytes ? options->ring_bytes : LIVE_RING_BYTES) / WIRE_MIN_RECORD_BYTES / TRACER_BATCH +
		1;
	tracer->callbacks = *callbacks;
	tracer->libraries = libraries_new();
	tracer->chips = chips_new("");
	tracer->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (tracer->epoll_fd < 0 || !tracer->libraries || !tracer->chips) {
		err = cannot_start(tracer->epoll_fd < 0 ? -errno : -ENOMEM);
		goto fail;
	}
	err = live_open(&live_options, &tracer->live);
	if (err)
		goto fail;
	err = map_watch_open(&tracer->watch);
	if (err) {
		log_error("cannot watch for new mappings (perf events): %s", strerror(-err));
		goto fail;
	}
	err = watch_fd(tracer, live_fd(tracer->live), 0);
	if (!err)
		err = watch_fd(tracer, map_watch_fd(tracer->watch), 0);
	if (err) {
		cannot_start(err);
		goto fail;
	}
	*out = tracer;
	return 0;
fail:
	tracer_close(tracer);
	return err;
}

void tracer_close(struct tracer *tracer)
{
	if (!tracer)
		return;
	tracer_machine_free(tracer->machine);
	libraries_free(tracer->libraries);
	chips_free(tracer->chips);
	map_watch_close(tracer->watch);
	live_close(tracer->live);
	tracked_fini(&tracer->tracked);
	tracer_forget_mapped(tracer);
	free(tracer->mapped);
	if (tracer->epoll_fd >= 0)
		close(tracer->epoll_fd);
	free(tracer);
}

void tracer_abandon(struct tracer *tracer)
{
	int alive[2];
	char byte;

	/* A child holds the last references of all links until we are gone, and pays for their end. */
	if (tracer && live_method(tracer->live) == ATTACH_PERF && !pipe2(alive, O_CLOEXEC)) {
		if (fork() == 0) {
			close(alive[1]);
			close(STDIN_FILENO);
			close(STDOUT_FILENO);
			close(STDERR_FILENO);
			setsid();
			while (read(alive[0], &byte, 1) < 0 && errno == EINTR)
				;
			_exit(0);
		}
		/* The writing end stays open until this process ends. */
		close(alive[0]);
	}
	tracer_close(tracer);
}

/* A descriptor that is readable when all threads of @pid have ended; -ESRCH also for a thread's number. */
static int open_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd >= 0)
		return fd;
	return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
}

static bool has_ended(int pidfd)
{
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};

	return poll(&ended, 1, 0) > 0;
}

/*
 * Will a process that has just been entered into the map never be heard of? It may have been past its exit's
 * tracepoint by then. If a probe was hit since, or the entry is gone again, records tell of it up to its end.
 */
static bool is_too_late(struct tracer *tracer, pid_t pid, uint32_t process, int pidfd)
{
	struct wire_process entry;

	/* A named one has a descriptor that tells of its end: of that one a word must be said. */
	if (!has_ended(pidfd) && (!tracer->machine || !procfs_is_ending(pid)))
		return false;
	return !live_lookup(tracer->live, (uint32_t)pid, &entry) && entry.process == process && !entry.dead &&
	       !entry.sequence;
}

static int follow(struct tracer *tracer, pid_t pid, const struct event_birth *birth, uint32_t children)
{
	enum birth_how how = birth->how;
	struct tracked *tracked;
	struct procfs_stat st;
	uint32_t process;
	int pidfd, err;

	err = procfs_stat(pid, &st);
	if (err)
		return err;
	if (st.kernel_thread)
		return -EINVAL;
	if (tracked_by_pid(&tracer->tracked, (uint32_t)pid))
		return 0;
	err = how == BIRTH_ATTACH ? procfs_may_look(pid) : 0;
	if (err)
		return err;
	pidfd = open_pidfd(pid);
	if (pidfd < 0)
		return pidfd;
	err = live_follow(tracer->live, (uint32_t)pid, st.start_ns, children, &process);
	if (err == -EEXIST) {
		/* The record that tells of it is in the ring, or was lost; then the next one makes up for it. */
		tracer_take_in(tracer);
		err = 0;
		goto close;
	}
	if (err)
		goto close;
	err = is_too_late(tracer, pid, process, pidfd) ? -ESRCH : 0;
	/* Those that nobody named are too many for a descriptor each, and none of them is on its way out. */
	if (!err && !tracer->machine)
		err = watch_fd(tracer, pidfd, (uint32_t)pid);
	if (err)
		goto forget;
	tracked = tracer_add(tracer, (uint32_t)pid, process, how, tracer_now_ns());
	if (!tracked) {
		err = -ENOMEM;
		goto forget;
	}
	if (tracer->machine) {
		tracked->covered_ns = st.start_ns;
		close(pidfd);
	} else {
		tracked->pidfd = pidfd;
	}
	/* It may end before its command line is read. */
	if (how == BIRTH_ATTACH)
		strbuf_add(&tracked->command, st.name, strlen(st.name) + 1);
	if (how == BIRTH_LAUNCH)
		strbuf_add(&tracked->command, birth->command, birth->command_len);
	tracer_emit_birth(tracer, tracked, 0, 0, st.start_ns);
	if (how == BIRTH_ATTACH)
		tracer_scan(tracer, tracked);
	return 0;
forget:
	live_forget(tracer->live, (uint32_t)pid);
close:
	close(pidfd);
	return err;
}

int tracer_follow(struct tracer *tracer, pid_t pid, enum birth_how how, const char *command, size_t command_len)
{
	struct event_birth birth = {.how = how, .command = command, .command_len = command_len};

	return follow(tracer, pid, &birth, tracer->options.follow_children ? WIRE_FOLLOW_ALWAYS : 0);
}

int tracer_follow_found(struct tracer *tracer, pid_t pid)
{
	struct event_birth birth = {.how = BIRTH_ATTACH};

	return follow(tracer, pid, &birth, tracer->options.follow_children ? WIRE_FOLLOW_UNTIL_EXEC : 0);
}

void tracer_unfollow(struct tracer *tracer, uint32_t process)
{
	struct event end = {.kind = EVENT_EXIT, .exit.status = -1};
	struct tracked *tracked;
	uint32_t pid;

	tracer_drain_all(tracer);
	tracked = tracked_by_process(&tracer->tracked, process);
	if (!tracked || tracked->runtime_count)
		return;
	pid = tracked->pid;
	live_forget(tracer->live, pid);
	/* What it did up to here; it may be another process by now, of exec or of a library that it mapped. */
	tracer_drain_all(tracer);
	tracked = tracked_by_pid(&tracer->tracked, pid);
	if (!tracked || tracked->runtime_count)
		return;
	end.process = tracked->process;
	end.time_ns = tracer_now_ns();
	tracer_emit(tracer, &end);
	tracer_drop(tracer, tracked);
}

void tracer_prepare(struct tracer *tracer, const char *path)
{
	struct library *library;

	if (libraries_of_file(tracer->libraries, path, &library) || !library || library->state != LIBRARY_PLANNED)
		return;
	tracer_attach_library(tracer, library);
	library->used_ns = tracer_now_ns();
}

int tracer_fd(const struct tracer *tracer)
{
	return tracer->epoll_fd;
}

static int sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

int tracer_timeout_ms(const struct tracer *tracer)
{
	if (tracer->asleep)
		return sooner(live_pressure(tracer->live) ? PRESSURE_BEAT_MS : -1,
			      tracer->machine
				      ? sooner(tracer_machine_timeout_ms(tracer), tracer_books_timeout_ms(tracer))
				      : -1);
	return tracer->full_batch ? 0 : TICK_MS;
}

void tracer_dispatch(struct tracer *tracer)
{
	bool rests = tracer_rests(tracer);
	uint64_t records = tracer->records;
	struct epoll_event events[8];
	int ready;

	/* Clears the readiness of the ring's descriptor; what woke us is found by looking, but for ends. */
	ready = epoll_wait(tracer->epoll_fd, events, 8, 0);
	/* Mappings first: a process whose end is in the ring is judged by what it mapped. */
	if (!rests)
		tracer_collect_mapped(tracer);
	tracer_drain(tracer);
	tracer_look_at_due(tracer);
	tracer_look_at_chips(tracer);
	if (!rests)
		tracer_look_at_mappings(tracer);
	for (int i = 0; i < ready; i++) {
		if (events[i].data.u32)
			tracer_end_named(tracer, events[i].data.u32);
	}
	if (tracer->machine) {
		tracer_machine_tick(tracer);
		tracer_books_tick(tracer);
	}
	/* Also those that came during a census, which may have left something to be done. */
	if (tracer->records != records || tracer->due) {
		tracer->idle_rounds = 0;
		tracer->asleep = false;
		return;
	}
	/* Who is stopped waits for the ring to be emptied, perhaps of a record that is being written. */
	if (++tracer->idle_rounds < IDLE_ROUNDS ||
	    (live_pressure(tracer->live) && pressure_holds(live_pressure(tracer->live))))
		return;
	tracer->idle_rounds = IDLE_ROUNDS;
	live_set_waiting(tracer->live, true);
	tracer->asleep = true;
	/* A record that came just before the flag woke nobody. */
	if (tracer_drain(tracer)) {
		tracer->asleep = false;
		tracer->idle_rounds = 0;
	}
}

void tracer_take_in(struct tracer *tracer)
{
	uint64_t time_ns = tracer_now_ns();
	struct tracked *tracked;
	size_t cursor = 0;

	tracer_drain_all(tracer);
	tracer_look_at_due(tracer);
	tracer_look_at_chips(tracer);
	while ((tracked = tracked_next(&tracer->tracked, &cursor)))
		tracer_lookup_lost(tracer, tracked, time_ns);
	tracer_check_probes(tracer);
}

void tracer_sync(struct tracer *tracer)
{
	/* What was mapped before this call, too: a census of it may have to be taken. */
	tracer_look_at_mappings(tracer);
	if (tracer->machine)
		tracer_machine_catch_up(tracer);
	/* Last, so that all that is known is of one moment. */
	tracer_take_in(tracer);
}

void tracer_let_go(struct tracer *tracer)
{
	if (live_pressure(tracer->live))
		pressure_off(live_pressure(tracer->live));
}

void tracer_cost(const struct tracer *tracer, struct tracer_cost *out)
{
	*out = (struct tracer_cost){.records = tracer->records, .drain_ns = tracer->drain_ns};
	out->probes_known = !live_probe_cost(tracer->live, &out->probe_hits, &out->probe_ns);
}

size_t tracer_process_count(const struct tracer *tracer)
{
	return tracer->tracked.count;
}

bool tracer_library_seen(const struct tracer *tracer)
{
	return tracer->library_seen;
}

bool tracer_follows(const struct tracer *tracer, pid_t pid)
{
	return tracked_by_pid(&tracer->tracked, (uint32_t)pid) != NULL;
}
