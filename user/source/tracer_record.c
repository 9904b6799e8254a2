/* SPDX-License-Identifier: BSD-2-Clause */
/* Records become events: births, ends and losses of processes, and what their probes tell. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "source/decode.h"
#include "source/pressure.h"
#include "source/procfs.h"
#include "source/tracer_internal.h"

struct tracked *tracer_add(struct tracer *tracer, uint32_t pid, uint32_t process, enum birth_how how, uint64_t born_ns)
{
	struct tracked *tracked = tracked_add(&tracer->tracked, pid, process);

	if (!tracked)
		return NULL;
	tracked->how = how;
	tracked->born_ns = born_ns;
	tracked->covered_ns = how == BIRTH_ATTACH ? 0 : born_ns;
	return tracked;
}

static struct tracked *add_child(struct tracer *tracer, const struct wire_head *head)
{
	struct tracked *child = tracer_add(tracer, head->pid, head->process, BIRTH_FORK, head->time_ns);

	if (!child)
		log_error("out of memory: process %u is not followed", head->pid);
	return child;
}

void tracer_drop(struct tracer *tracer, struct tracked *tracked)
{
	tracer_hold_release(tracer, tracked);
	tracked_drop(&tracer->tracked, tracked);
}

/* Tells of a new address space. Its command, user and cgroup come from /proc while it lives. */
void tracer_emit_birth(struct tracer *tracer, struct tracked *tracked, uint32_t parent, uint32_t exec_count,
		       uint64_t start_ns)
{
	struct event event = {.kind = EVENT_BIRTH, .process = tracked->process, .time_ns = tracked->born_ns};
	struct strbuf cgroup = STRBUF_INIT, command = STRBUF_INIT;

	procfs_user((pid_t)tracked->pid, &tracked->user);
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
		/* A process has the same start however it was found. */
		.start_ns = procfs_start_ns(start_ns),
		.user = tracked->user,
		.command = strbuf_str(&tracked->command),
		.command_len = tracked->command.len,
		.cgroup = strbuf_str(&cgroup),
	};
	tracer_emit(tracer, &event);
	strbuf_fini(&command);
	strbuf_fini(&cgroup);
}

static void report_lost(struct tracer *tracer, struct tracked *tracked, const struct wire_lost *total, uint64_t time_ns)
{
	struct event event = {.kind = EVENT_LOST, .process = tracked->process, .time_ns = time_ns};

	event.lost.allocations = total->allocations - tracked->lost.allocations;
	event.lost.frees = total->frees - tracked->lost.frees;
	event.lost.others = total->others - tracked->lost.others;
	tracked->lost = *total;
	if (event.lost.allocations || event.lost.frees || event.lost.others)
		tracer_emit(tracer, &event);
}

void tracer_lookup_lost(struct tracer *tracer, struct tracked *tracked, uint64_t time_ns)
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

	tracer_hold_release(tracer, tracked); /* what was kept back comes before the end */
	tracer_emit(tracer, &event);
	if (tracked_renumber(&tracer->tracked, tracked, next)) {
		log_error("out of memory: process %u is not followed any more", tracked->pid);
		tracer_drop(tracer, tracked);
		return;
	}
	tracked->how = BIRTH_EXEC;
	tracked->born_ns = tracked->covered_ns = time_ns;
	tracked->runtime_count = 0;
	tracked->chips_asked = 0;
	tracked->books = (struct tracked_books){0};
	tracked->endless = false;
	tracer_emit_birth(tracer, tracked, previous, exec_count, start_ns);
	tracer_scan(tracer, tracked);
}

static void begin_fork(struct tracer *tracer, const struct decoded *decoded)
{
	const struct event_birth *birth = &decoded->event.birth;
	struct tracked *parent = tracked_by_process(&tracer->tracked, birth->parent), *child, *old;

	old = tracked_by_pid(&tracer->tracked, birth->pid);
	if (old) /* its end was lost, and the pid is in use again */
		tracer_drop(tracer, old);
	child = add_child(tracer, &decoded->head);
	if (!child)
		return;
	if (parent) {
		strbuf_add(&child->command, strbuf_str(&parent->command), parent->command.len);
		child->user = parent->user;
	}
	tracer_emit_birth(tracer, child, birth->parent, 0, birth->start_ns);
	/* The parent's mappings are the child's, probes included. */
	for (size_t i = 0; parent && i < parent->runtime_count; i++) {
		child->runtime[child->runtime_count] = parent->runtime[i];
		child->runtime[child->runtime_count++].told = false;
	}
}

static void report_stop(struct tracer *tracer, const struct tracked *tracked, uint64_t times, uint64_t stopped_ns)
{
	struct event event = {.kind = EVENT_STOP, .process = tracked ? tracked->process : 0};

	event.time_ns = tracer_now_ns();
	event.stop.times = times;
	event.stop.stopped_ns = stopped_ns;
	tracer_emit(tracer, &event);
}

/* A process that nobody had followed has hit a probe. */
static void begin_adopted(struct tracer *tracer, const struct decoded *decoded)
{
	const struct wire_head *head = &decoded->head;
	const struct library *library = libraries_get(tracer->libraries, head->library);
	struct tracked *tracked, *old;

	if (tracked_by_process(&tracer->tracked, head->process))
		return;
	old = tracked_by_pid(&tracer->tracked, head->pid);
	if (old) /* its end was lost, and the pid is in use again */
		tracer_drop(tracer, old);
	tracked = tracer_add(tracer, head->pid, head->process, BIRTH_ATTACH, head->time_ns);
	if (!tracked) {
		log_error("out of memory: process %u is not followed", head->pid);
		return;
	}
	tracked->covered_ns = decoded->start_ns;
	tracked->user = decoded->user;
	strbuf_add(&tracked->command, decoded->name, strlen(decoded->name) + 1);
	tracer_emit_birth(tracer, tracked, 0, 0, decoded->start_ns);
	/* It may have buffers that are older than the probes: then a census decides, before anything is said. */
	if ((!library || library->attached_ns > tracked->covered_ns) && tracer_hold_begin(tracer, tracked))
		log_error("out of memory: older buffers of process %u are not looked for", tracked->pid);
	tracked->due = tracer->due = true;
}

static void end_process(struct tracer *tracer, struct tracked *tracked, struct decoded *decoded)
{
	struct event *event = &decoded->event;

	tracer_hold_release(tracer, tracked);
	report_lost(tracer, tracked, &decoded->lost, event->time_ns);
	if (decoded->stopped_ns)
		report_stop(tracer, tracked, 1, decoded->stopped_ns);
	tracer_judge_unseen(tracer, tracked);
	event->process = tracked->process;
	tracer_emit(tracer, event);
	tracer_drop(tracer, tracked);
}

void tracer_end_named(struct tracer *tracer, uint32_t pid)
{
	struct tracked *tracked = tracked_by_pid(&tracer->tracked, pid);
	struct decoded end = {.event = {.kind = EVENT_EXIT, .time_ns = tracer_now_ns(), .exit.status = -1}};
	uint32_t process;

	if (!tracked || tracked->pidfd < 0)
		return;
	process = tracked->process;
	/* The kernel tells by the ring first. */
	tracer_take_in(tracer);
	tracked = tracked_by_process(&tracer->tracked, process);
	if (!tracked || tracked->pid != pid)
		return;
	tracer->callbacks.inexact(tracer->callbacks.context, process, REASON_LOST,
				  "it was ending when it was attached to, and how was not seen");
	live_forget(tracer->live, pid);
	end.lost = tracked->lost;
	end_process(tracer, tracked, &end);
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
		tracer_drop(tracer, tracked);
	tracked = add_child(tracer, head);
	if (!tracked)
		return NULL;
	tracer_emit_birth(tracer, tracked, process.previous, process.exec_count, process.start_ns);
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
	if (decoded.head.kind == WIRE_ADOPT) {
		begin_adopted(tracer, &decoded);
		return;
	}
	tracked = tracked_by_process(&tracer->tracked, decoded.head.process);
	/* Nothing of it was lost, so nobody was ever told of it: it was let go when it was ending (tracer_follow()). */
	if (!tracked && decoded.head.kind == WIRE_EXIT && !decoded.lost.allocations && !decoded.lost.frees &&
	    !decoded.lost.others)
		return;
	if (!tracked)
		tracked = adopt(tracer, &decoded.head);
	if (!tracked)
		return;
	if (decoded.head.flags & WIRE_LOST_BEFORE)
		/* As of now: the counters are ahead of this record, and what they count may be up to now. */
		tracer_lookup_lost(tracer, tracked, tracer_now_ns());
	switch (decoded.head.kind) {
	case WIRE_EXEC:
		begin_exec(tracer, tracked, decoded.exec_next, decoded.exec_count, decoded.start_ns,
			   decoded.head.time_ns);
		return;
	case WIRE_EXIT:
		end_process(tracer, tracked, &decoded);
		return;
	case WIRE_OBJECT:
		if (!decoded.event.kind)
			return;
		decoded.event.buffer.runtime = tracer_runtime_of(tracer, tracked, decoded.head.library);
		break;
	default:
		break;
	}
	if (tracer->machine)
		tracer_books_note(tracer, tracked, &decoded.event);
	tracer_emit(tracer, &decoded.event);
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

static void on_released(void *context, uint32_t pid, uint64_t times, uint64_t stopped_ns)
{
	struct tracer *tracer = context;

	report_stop(tracer, pid ? tracked_by_pid(&tracer->tracked, pid) : NULL, times, stopped_ns);
}

void tracer_drain_all(struct tracer *tracer)
{
	/* Whoever writes faster than this is read must not keep us here. */
	for (size_t i = 0; i < tracer->ring_batches; i++) {
		tracer_drain(tracer);
		if (!tracer->full_batch)
			return;
		if (tracer->callbacks.busy)
			tracer->callbacks.busy(tracer->callbacks.context);
	}
}

int tracer_drain(struct tracer *tracer)
{
	struct pressure *pressure = live_pressure(tracer->live);
	char text[96];
	uint64_t begun_ns;
	int n;

	if (pressure)
		pressure_beat(pressure);
	tracer->draining = true;
	begun_ns = tracer_now_ns();
	n = live_drain(tracer->live, on_record, tracer, TRACER_BATCH);
	tracer->draining = false;
	if (n < 0) {
		log_warning("reading the ring failed: %s", strerror(-n));
		return 0;
	}
	tracer->records += (uint64_t)n;
	tracer->drain_ns += tracer_now_ns() - begun_ns;
	tracer->full_batch = n == TRACER_BATCH;
	if (pressure)
		pressure_release(pressure, on_released, tracer);
	/* Only when the ring is empty: a dead process's last records are in it. */
	if (!tracer->full_batch)
		live_sweep_dead(tracer->live, on_dead, tracer);
	if (live_processes_full(tracer->live) != tracer->processes_full) {
		tracer->processes_full = live_processes_full(tracer->live);
		snprintf(text, sizeof(text), "%llu processes were not followed: more than %d at once",
			 (unsigned long long)tracer->processes_full, WIRE_MAX_PROCESSES);
		tracer->callbacks.inexact(tracer->callbacks.context, 0, "process-limit", text);
	}
	return n;
}
