/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Glue of the live source: BPF side (live.h), libraries (library.h), processes and their births.
 * Owns all three. Events leave in ring order; what /proc knows is added on the way.
 */
#include "source/tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "source/decode.h"
#include "source/held.h"
#include "source/library.h"
#include "source/live.h"
#include "source/map_watch.h"
#include "source/procfs.h"
#include "source/tracked.h"

#define BATCH       65536 /* records taken in before anything else gets a turn */
#define TICK_MS     2     /* while records come */
#define IDLE_ROUNDS 10    /* ticks without a record before the reader sleeps */

/* The fixed words of OUTPUT: model/notice.h has them all; a source may not include the model. */
#define REASON_UNSUPPORTED "unsupported-library"
#define REASON_LOST        "lost-records"
#define REASON_LATE        "attached-late"

/* A file that some process mapped; not looked at yet. */
struct mapped {
	uint32_t pid;
	char *path; /* as that process sees it */
};

struct tracer {
	struct tracer_options options;
	struct tracer_callbacks callbacks;
	struct live *live;
	struct libraries *libraries;
	struct map_watch *watch;
	int epoll_fd;
	unsigned int idle_rounds;
	bool asleep;
	bool full_batch;
	bool library_seen;
	bool destroy_armed;
	uint64_t processes_full;
	struct tracked_set tracked;
	struct mapped *mapped; /* since the last look */
	size_t mapped_count, mapped_capacity;
	uint64_t mapped_lost;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void emit(struct tracer *tracer, const struct event *event)
{
	tracer->callbacks.event(tracer->callbacks.context, event);
}

/* ---- the processes that are followed ---- */

static struct tracked *add(struct tracer *tracer, uint32_t pid, uint32_t process, enum birth_how how, uint64_t born_ns)
{
	struct tracked *tracked = tracked_add(&tracer->tracked, pid, process);

	if (!tracked) {
		log_error("out of memory: process %u is not followed", pid);
		return NULL;
	}
	tracked->how = how;
	tracked->born_ns = born_ns;
	return tracked;
}

/* Tells of a new address space. Its command, user and cgroup come from /proc while it lives. */
static void emit_birth(struct tracer *tracer, struct tracked *tracked, uint32_t parent, uint32_t exec_count,
		       uint64_t start_ns)
{
	struct event event = {.kind = EVENT_BIRTH, .process = tracked->process, .time_ns = tracked->born_ns};
	struct strbuf cgroup = STRBUF_INIT, command = STRBUF_INIT;
	uint32_t user = 0;

	procfs_user((pid_t)tracked->pid, &user);
	procfs_cgroup((pid_t)tracked->pid, &cgroup);
	/*
	 * A fork has its parent's command, and may have called exec by the time /proc is read; a launched
	 * process waits to become the command that it was given.
	 */
	if ((tracked->how == BIRTH_ATTACH || tracked->how == BIRTH_EXEC) &&
	    !procfs_command((pid_t)tracked->pid, &command) && command.len) {
		strbuf_reset(&tracked->command);
		strbuf_add(&tracked->command, command.data, command.len);
	}
	event.birth = (struct event_birth){
		.how = tracked->how,
		.pid = tracked->pid,
		.exec_count = exec_count,
		.parent = parent,
		.start_ns = start_ns,
		.user = user,
		.command = strbuf_str(&tracked->command),
		.command_len = tracked->command.len,
		.cgroup = strbuf_str(&cgroup),
	};
	emit(tracer, &event);
	strbuf_fini(&command);
	strbuf_fini(&cgroup);
}

/* ---- libraries in a process ---- */

/*
 * How many objects the library had made in this process when probes were in place: 0 proves that none
 * is older than they are.
 */
static int64_t earlier_objects(const struct tracked *tracked, const struct library *library, uint64_t base)
{
	uint64_t made;

	/* Whoever began after the attachment was covered from its first instruction on. */
	if (tracked->how != BIRTH_ATTACH && library->attached_ns <= tracked->born_ns)
		return 0;
	if (!library->plan.made_counter_vaddr ||
	    procfs_read_memory((pid_t)tracked->pid, base + library->plan.made_counter_vaddr, &made, sizeof(made)))
		return -1;
	return made > INT64_MAX ? -1 : (int64_t)made;
}

static void emit_runtime(struct tracer *tracer, struct tracked *tracked, uint32_t runtime, const char *path,
			 int64_t earlier)
{
	const struct library *library = tracked->runtime[runtime].library;
	struct event event = {.kind = EVENT_RUNTIME, .process = tracked->process, .time_ns = now_ns()};

	event.runtime = (struct event_runtime){
		.runtime = runtime,
		.name = library->plan.runtime->name,
		.library = path,
		.build_id = library->build_id,
		.layout = library->plan.layout,
		.layout_count = library->plan.layout_count,
		.earlier_objects = earlier,
	};
	for (size_t i = 0; i < library->plan.probe_count; i++)
		event.runtime.bulk_free_probed |= library->plan.probes[i].role == PROBE_BULK_FREE;
	tracer->library_seen = true;
	tracked->runtime[runtime].told = true;
	emit(tracer, &event);
}

static void unsupported(struct tracer *tracer, const struct tracked *tracked, const struct library *library,
			const char *why)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_addf(&text, "%s: %s", library->path, why);
	tracer->callbacks.inexact(tracer->callbacks.context, tracked->process, REASON_UNSUPPORTED, strbuf_str(&text));
	strbuf_fini(&text);
}

static int attach_library(struct tracer *tracer, struct library *library)
{
	char path[64];
	int err;

	/* Our own descriptor of the file: the path inside the process may lie, be gone or be elsewhere. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", library->fd);
	err = live_set_library(tracer->live, library->index, &library->plan);
	if (!err)
		err = live_attach(tracer->live, library->index, &library->plan, path, &library->attachment);
	if (err) {
		library->state = LIBRARY_UNSUPPORTED;
		log_warning("cannot attach to %s: %s", library->path, strerror(-err));
		return err;
	}
	library->state = LIBRARY_ATTACHED;
	library->attached_ns = now_ns();
	if (tracer->destroy_armed) {
		tracer->destroy_armed = false;
		tracer_arm_destroy(tracer);
	}
	return 0;
}

/* Makes @library one of the process's runtimes, attaching first if it is new. */
static void observe(struct tracer *tracer, struct tracked *tracked, struct library *library, const char *path,
		    uint64_t base)
{
	struct library *twin;
	bool breakpoint;

	for (size_t i = 0; i < tracked->runtime_count; i++) {
		if (tracked->runtime[i].library == library && (tracked->runtime[i].base == base || !base))
			return;
	}
	if (library->state == LIBRARY_UNSUPPORTED) {
		unsupported(tracer, tracked, library, "not supported");
		return;
	}
	if (tracked->runtime_count == TRACKED_MAX_RUNTIMES) {
		unsupported(tracer, tracked, library, "too many copies in one process");
		return;
	}
	if (library->state == LIBRARY_PLANNED &&
	    !library_code_intact(library, (pid_t)tracked->pid, base, &breakpoint)) {
		library->state = LIBRARY_UNSUPPORTED;
		log_warning("the library in process %u was changed in memory: not attached", tracked->pid);
		unsupported(tracer, tracked, library, "its code was changed in memory");
		return;
	}
	if (library->state == LIBRARY_PLANNED) {
		/* A breakpoint where we have none yet: ours, if the same file was attached to by another name. */
		twin = breakpoint ? libraries_twin(tracer->libraries, library) : NULL;
		if (twin)
			library = twin;
		else if (attach_library(tracer, library)) {
			unsupported(tracer, tracked, library, "cannot attach");
			return;
		}
	}
	tracked->runtime[tracked->runtime_count].library = library;
	tracked->runtime[tracked->runtime_count].base = base;
	emit_runtime(tracer, tracked, tracked->runtime_count++, path, earlier_objects(tracked, library, base));
}

struct scan {
	struct tracer *tracer;
	struct tracked *tracked;
};

static int scan_mapping(void *context, const struct procfs_mapping *mapping)
{
	struct scan *scan = context;
	struct library *library;
	int err;

	err = libraries_of_mapping(scan->tracer->libraries, (pid_t)scan->tracked->pid, mapping, &library);
	if (err)
		return err == -ENOMEM ? err : 0; /* this mapping is gone: others may still be there */
	if (!library)
		return 0;
	/* A library has several executable mappings at times; the one with the probes counts. */
	if (library->state != LIBRARY_UNSUPPORTED &&
	    (library->exec_offset < mapping->offset ||
	     library->exec_offset - mapping->offset >= mapping->end - mapping->start))
		return 0;
	observe(scan->tracer, scan->tracked, library, mapping->path,
		library->state == LIBRARY_UNSUPPORTED ? 0 : library_base(library, mapping));
	return 0;
}

static void scan_process(struct tracer *tracer, struct tracked *tracked)
{
	struct scan scan = {.tracer = tracer, .tracked = tracked};
	int err;

	err = procfs_mappings((pid_t)tracked->pid, scan_mapping, &scan);
	if (err && err != -ESRCH)
		log_warning("cannot look for libraries in process %u: %s", tracked->pid, strerror(-err));
}

/* The record's library is not among the process's runtimes yet: its mapping was not noticed so far. */
static uint32_t runtime_of(struct tracer *tracer, struct tracked *tracked, uint32_t index)
{
	struct library *library = libraries_get(tracer->libraries, index);

	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < tracked->runtime_count; i++) {
			if (tracked->runtime[i].library != library)
				continue;
			if (!tracked->runtime[i].told)
				emit_runtime(tracer, tracked, i, library->path, 0);
			return i;
		}
		if (!round)
			scan_process(tracer, tracked);
	}
	/* It has ended meanwhile; the record itself proves that the library was there. */
	observe(tracer, tracked, library, library->path, 0);
	return tracked->runtime_count ? (uint32_t)tracked->runtime_count - 1 : 0;
}

/* ---- records ---- */

static void report_lost(struct tracer *tracer, struct tracked *tracked, const struct wire_lost *total, uint64_t time_ns)
{
	struct event event = {.kind = EVENT_LOST, .process = tracked->process, .time_ns = time_ns};

	event.lost.allocations = total->allocations - tracked->lost.allocations;
	event.lost.frees = total->frees - tracked->lost.frees;
	event.lost.others = total->others - tracked->lost.others;
	tracked->lost = *total;
	if (event.lost.allocations || event.lost.frees || event.lost.others)
		emit(tracer, &event);
}

static void lookup_lost(struct tracer *tracer, struct tracked *tracked, uint64_t time_ns)
{
	struct wire_process process;

	if (!live_lookup(tracer->live, tracked->pid, &process))
		report_lost(tracer, tracked, &process.lost, time_ns);
}

static void begin_exec(struct tracer *tracer, struct tracked *tracked, uint32_t next, uint32_t exec_count,
		       uint64_t start_ns, uint64_t time_ns)
{
	struct event event = {.kind = EVENT_EXEC, .process = tracked->process, .time_ns = time_ns};
	uint32_t previous = tracked->process;

	emit(tracer, &event);
	if (tracked_renumber(&tracer->tracked, tracked, next)) {
		log_error("out of memory: process %u is not followed any more", tracked->pid);
		tracked_drop(&tracer->tracked, tracked);
		return;
	}
	tracked->how = BIRTH_EXEC;
	tracked->born_ns = time_ns;
	tracked->runtime_count = 0;
	emit_birth(tracer, tracked, previous, exec_count, start_ns);
	scan_process(tracer, tracked);
}

static void begin_fork(struct tracer *tracer, const struct decoded *decoded)
{
	const struct event_birth *birth = &decoded->event.birth;
	struct tracked *parent = tracked_by_process(&tracer->tracked, birth->parent), *child, *old;

	old = tracked_by_pid(&tracer->tracked, birth->pid);
	if (old) /* its end was lost, and the pid is in use again */
		tracked_drop(&tracer->tracked, old);
	child = add(tracer, birth->pid, decoded->head.process, BIRTH_FORK, decoded->head.time_ns);
	if (!child)
		return;
	if (parent)
		strbuf_add(&child->command, strbuf_str(&parent->command), parent->command.len);
	emit_birth(tracer, child, birth->parent, 0, birth->start_ns);
	/* The parent's mappings are the child's, probes included. */
	for (size_t i = 0; parent && i < parent->runtime_count; i++) {
		child->runtime[child->runtime_count] = parent->runtime[i];
		child->runtime[child->runtime_count++].told = false;
	}
}

/* ---- files that were mapped and not looked at yet ---- */

static void on_mapped(void *context, uint32_t pid, const char *path)
{
	struct tracer *tracer = context;
	size_t capacity = tracer->mapped_capacity ? 2 * tracer->mapped_capacity : 64;
	struct mapped *grown;
	char *copy = strdup(path);

	if (copy && tracer->mapped_count == tracer->mapped_capacity) {
		grown = realloc(tracer->mapped, capacity * sizeof(*grown));
		if (!grown) {
			free(copy);
			copy = NULL;
		} else {
			tracer->mapped = grown;
			tracer->mapped_capacity = capacity;
		}
	}
	if (!copy) { /* as if the kernel had dropped it: every process is looked at then */
		tracer->mapped_lost++;
		return;
	}
	tracer->mapped[tracer->mapped_count].pid = pid;
	tracer->mapped[tracer->mapped_count++].path = copy;
}

static void collect_mapped(struct tracer *tracer)
{
	tracer->mapped_lost += map_watch_read(tracer->watch, on_mapped, tracer);
}

static void forget_mapped(struct tracer *tracer)
{
	for (size_t i = 0; i < tracer->mapped_count; i++)
		free(tracer->mapped[i].path);
	tracer->mapped_count = 0;
}

/*
 * A process ends before its mappings were looked at. If it mapped a runtime's library, its buffers were
 * not seen, which must be said; only the path is left to tell.
 */
static void judge_unseen(struct tracer *tracer, const struct tracked *tracked)
{
	struct library *library;

	if (tracked->runtime_count || tracked->how == BIRTH_ATTACH)
		return;
	collect_mapped(tracer);
	for (size_t i = 0; i < tracer->mapped_count; i++) {
		if (tracer->mapped[i].pid != tracked->pid ||
		    libraries_of_file(tracer->libraries, tracer->mapped[i].path, &library) || !library)
			continue;
		/* Attached to before the process began: then its records would have named the library. */
		if (library->state == LIBRARY_ATTACHED && library->attached_ns <= tracked->born_ns)
			continue;
		tracer->callbacks.inexact(tracer->callbacks.context, tracked->process, REASON_LATE,
					  "it ended before its library could be attached to");
		return;
	}
}

static void end_process(struct tracer *tracer, struct tracked *tracked, struct event *event,
			const struct wire_lost *lost)
{
	report_lost(tracer, tracked, lost, event->time_ns);
	judge_unseen(tracer, tracked);
	event->process = tracked->process;
	emit(tracer, event);
	tracked_drop(&tracer->tracked, tracked);
}

/* A record of a process number whose birth was lost: the map still knows it, or nobody does. */
static struct tracked *adopt(struct tracer *tracer, const struct wire_head *head)
{
	struct wire_process process = {.process = head->process};
	struct tracked *tracked = tracked_by_pid(&tracer->tracked, head->pid);

	if (live_lookup(tracer->live, head->pid, &process) || process.process != head->process)
		process = (struct wire_process){.process = head->process};
	if (tracked && process.exec_count) {
		begin_exec(tracer, tracked, head->process, process.exec_count, process.start_ns, head->time_ns);
		return tracked;
	}
	if (tracked)
		tracked_drop(&tracer->tracked, tracked);
	tracked = add(tracer, head->pid, head->process, BIRTH_FORK, head->time_ns);
	if (!tracked)
		return NULL;
	emit_birth(tracer, tracked, process.previous, process.exec_count, process.start_ns);
	tracer->callbacks.inexact(tracer->callbacks.context, head->process, REASON_LOST,
				  "the record of its start was lost");
	return tracked;
}

static const struct library_plan *plan_of(void *context, uint32_t index)
{
	struct tracer *tracer = context;
	struct library *library = libraries_get(tracer->libraries, index);

	return library ? &library->plan : NULL;
}

static void on_record(void *context, const void *record, size_t len)
{
	struct tracer *tracer = context;
	struct tracked *tracked;
	struct decoded decoded;

	if (decode_record(record, len, plan_of, tracer, &decoded)) {
		log_warning("an unknown record of %zu bytes was left out", len);
		return;
	}
	if (decoded.head.kind == WIRE_FORK) {
		begin_fork(tracer, &decoded);
		return;
	}
	tracked = tracked_by_process(&tracer->tracked, decoded.head.process);
	if (!tracked)
		tracked = adopt(tracer, &decoded.head);
	if (!tracked)
		return;
	if (decoded.head.flags & WIRE_LOST_BEFORE)
		lookup_lost(tracer, tracked, decoded.head.time_ns);
	switch (decoded.head.kind) {
	case WIRE_EXEC:
		begin_exec(tracer, tracked, decoded.exec_next, decoded.exec_count, decoded.start_ns,
			   decoded.head.time_ns);
		return;
	case WIRE_EXIT:
		end_process(tracer, tracked, &decoded.event, &decoded.lost);
		return;
	case WIRE_OBJECT:
		if (!decoded.event.kind)
			return;
		decoded.event.buffer.runtime = runtime_of(tracer, tracked, decoded.head.library);
		break;
	default:
		break;
	}
	emit(tracer, &decoded.event);
}

static void on_dead(void *context, uint32_t pid, const struct wire_process *process)
{
	struct tracer *tracer = context;
	struct wire_exit record = {
		.head = {.kind = WIRE_EXIT, .pid = pid, .process = process->process, .time_ns = process->exit_ns},
		.exit_code = process->exit_code,
		.lost = process->lost,
	};

	on_record(tracer, &record, sizeof(record));
}

static int drain(struct tracer *tracer)
{
	int n = live_drain(tracer->live, on_record, tracer, BATCH);
	char text[96];

	if (n < 0) {
		log_warning("reading the ring failed: %s", strerror(-n));
		return 0;
	}
	tracer->full_batch = n == BATCH;
	/* Only when the ring is empty: a dead process's last records are in it. */
	if (!tracer->full_batch)
		live_sweep_dead(tracer->live, on_dead, tracer);
	if (live_processes_full(tracer->live) != tracer->processes_full) {
		tracer->processes_full = live_processes_full(tracer->live);
		snprintf(text, sizeof(text), "%llu child processes were not followed: more than %d at once",
			 (unsigned long long)tracer->processes_full, WIRE_MAX_PROCESSES);
		tracer->callbacks.inexact(tracer->callbacks.context, 0, "process-limit", text);
	}
	return n;
}

/* ---- new mappings ---- */

static void look_at_mappings(struct tracer *tracer)
{
	struct tracked *tracked;
	size_t cursor = 0;

	collect_mapped(tracer);
	if (tracer->mapped_lost) {
		log_debug("%llu records of new mappings were dropped: looking at every process",
			  (unsigned long long)tracer->mapped_lost);
		tracer->mapped_lost = 0;
		while ((tracked = tracked_next(&tracer->tracked, &cursor)))
			scan_process(tracer, tracked);
	}
	if (!tracer->mapped_count)
		return;
	/* What the ring says of forks and execs up to here comes first. */
	drain(tracer);
	for (size_t i = 0; i < tracer->mapped_count; i++) {
		/* A start of a process maps dozens of files: look once. */
		if (i && tracer->mapped[i].pid == tracer->mapped[i - 1].pid)
			continue;
		tracked = tracked_by_pid(&tracer->tracked, tracer->mapped[i].pid);
		if (tracked)
			scan_process(tracer, tracked);
	}
	forget_mapped(tracer);
}

/* ---- the interface ---- */

static int watch_fd(struct tracer *tracer, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(tracer->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int tracer_open(const struct tracer_options *options, const struct tracer_callbacks *callbacks, struct tracer **out)
{
	struct live_options live_options = {.ring_bytes = options->ring_bytes};
	struct tracer *tracer = calloc(1, sizeof(*tracer));
	int err;

	if (!tracer)
		return -ENOMEM;
	tracer->options = *options;
	tracer->callbacks = *callbacks;
	tracer->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	tracer->libraries = libraries_new();
	if (tracer->epoll_fd < 0 || !tracer->libraries) {
		err = -ENOMEM;
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
	err = watch_fd(tracer, live_fd(tracer->live));
	if (!err)
		err = watch_fd(tracer, map_watch_fd(tracer->watch));
	if (err)
		goto fail;
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
	libraries_free(tracer->libraries);
	map_watch_close(tracer->watch);
	live_close(tracer->live);
	tracked_fini(&tracer->tracked);
	forget_mapped(tracer);
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

int tracer_follow(struct tracer *tracer, pid_t pid, enum birth_how how, const char *command, size_t command_len)
{
	struct tracked *tracked;
	struct procfs_stat st;
	uint32_t process;
	int err;

	err = procfs_stat(pid, &st);
	if (err)
		return err;
	if (st.kernel_thread)
		return -EINVAL;
	if (tracked_by_pid(&tracer->tracked, (uint32_t)pid))
		return 0;
	err = live_follow(tracer->live, (uint32_t)pid, st.start_ns, tracer->options.follow_children, &process);
	if (err)
		return err;
	tracked = add(tracer, (uint32_t)pid, process, how, now_ns());
	if (!tracked)
		return -ENOMEM;
	if (how == BIRTH_LAUNCH)
		strbuf_add(&tracked->command, command, command_len);
	emit_birth(tracer, tracked, 0, 0, st.start_ns);
	if (how == BIRTH_ATTACH)
		scan_process(tracer, tracked);
	/* It may have ended before the map had it: then nobody would ever say so. */
	err = procfs_stat(pid, &st);
	if (err || st.zombie) {
		tracer_sync(tracer);
		tracked = tracked_by_process(&tracer->tracked, process);
		if (tracked && err) {
			live_forget(tracer->live, (uint32_t)pid);
			tracked_drop(&tracer->tracked, tracked);
			return -ESRCH;
		}
	}
	return 0;
}

void tracer_prepare(struct tracer *tracer, const char *path)
{
	struct library *library;

	if (libraries_of_file(tracer->libraries, path, &library) || !library || library->state != LIBRARY_PLANNED)
		return;
	attach_library(tracer, library);
}

int tracer_fd(const struct tracer *tracer)
{
	return tracer->epoll_fd;
}

int tracer_timeout_ms(const struct tracer *tracer)
{
	if (tracer->asleep)
		return -1;
	return tracer->full_batch ? 0 : TICK_MS;
}

void tracer_dispatch(struct tracer *tracer)
{
	struct epoll_event events[4];
	int n;

	/* Clears the readiness of the ring's descriptor; what woke us is found by looking. */
	epoll_wait(tracer->epoll_fd, events, 4, 0);
	/* Mappings first: a process whose end is in the ring is judged by what it mapped. */
	collect_mapped(tracer);
	n = drain(tracer);
	look_at_mappings(tracer);
	if (n) {
		tracer->idle_rounds = 0;
		tracer->asleep = false;
		return;
	}
	if (++tracer->idle_rounds < IDLE_ROUNDS)
		return;
	tracer->idle_rounds = IDLE_ROUNDS;
	live_set_waiting(tracer->live, true);
	tracer->asleep = true;
	/* A record that came just before the flag woke nobody. */
	if (drain(tracer)) {
		tracer->asleep = false;
		tracer->idle_rounds = 0;
	}
}

void tracer_sync(struct tracer *tracer)
{
	uint64_t time_ns = now_ns();
	struct tracked *tracked;
	size_t cursor = 0;

	do {
		drain(tracer);
	} while (tracer->full_batch);
	while ((tracked = tracked_next(&tracer->tracked, &cursor)))
		lookup_lost(tracer, tracked, time_ns);
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

/* ---- held objects ---- */

void tracer_arm_destroy(struct tracer *tracer)
{
	struct library *library;
	char path[64];
	int err;

	if (tracer->destroy_armed)
		return;
	tracer->destroy_armed = true;
	for (uint32_t i = 0; (library = libraries_get(tracer->libraries, i)); i++) {
		if (library->state != LIBRARY_ATTACHED || library->destroy_armed)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", library->fd);
		err = live_attach_destroy(tracer->live, i, &library->plan, path, &library->destroy);
		if (err)
			log_warning("cannot watch the end of held objects: %s", strerror(-err));
		library->destroy_armed = !err;
	}
}

static void *close_attachment(void *argument)
{
	live_attachment_close(argument);
	free(argument);
	return NULL;
}

void tracer_disarm_destroy(struct tracer *tracer)
{
	struct live_attachment *attachment;
	struct library *library;
	pthread_t thread;

	if (!tracer->destroy_armed)
		return;
	tracer->destroy_armed = false;
	for (uint32_t i = 0; (library = libraries_get(tracer->libraries, i)); i++) {
		if (!library->destroy_armed)
			continue;
		attachment = malloc(sizeof(*attachment));
		if (!attachment)
			continue; /* stays armed: it costs hits, not truth */
		*attachment = library->destroy;
		memset(&library->destroy, 0, sizeof(library->destroy));
		library->destroy_armed = false;
		/* The kernel waits for all CPUs, up to 0.1 s a probe: not on the thread that drains. */
		if (pthread_create(&thread, NULL, close_attachment, attachment))
			close_attachment(attachment);
		else
			pthread_detach(thread);
	}
}

enum object_state tracer_check_object(struct tracer *tracer, uint32_t process, const struct event_buffer *expected)
{
	struct tracked *tracked = tracked_by_process(&tracer->tracked, process);

	if (!tracked)
		return OBJECT_GONE;
	if (expected->runtime >= tracked->runtime_count || !tracked->runtime[expected->runtime].library->destroy_armed)
		return OBJECT_UNSURE;
	return held_check((pid_t)tracked->pid, &tracked->runtime[expected->runtime].library->plan, expected);
}
