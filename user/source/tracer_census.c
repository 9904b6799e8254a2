/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Censuses of followed processes: what is older than the probes becomes part of the table (reconcile.h
 * decides), and the runtime's books are put beside it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "source/census_events.h"
#include "source/process_memory.h"
#include "source/reconcile.h"
#include "source/tracer_internal.h"

#define ATTEMPTS    4        /* a process that allocates all the time may need more than one look */
#define MAX_WAITING 1000000u /* events kept back while a census is taken */

/* Events of one process, kept back in order. */
struct tracer_hold {
	uint32_t process;
	struct event *events;
	size_t count, capacity;
	bool broken; /* out of room or memory: what was kept back is complete up to here only */
};

bool tracer_hold_back(struct tracer_hold *hold, const struct event *event)
{
	size_t capacity = hold->capacity ? 2 * hold->capacity : 256;
	struct event *grown;

	if (event->process != hold->process || hold->broken)
		return false;
	switch (event->kind) {
	case EVENT_ALLOCATE:
	case EVENT_FREE:
	case EVENT_RELEASE:
	case EVENT_DEVICE:
	case EVENT_CLOSE:
	case EVENT_BULK_FREE:
		break;
	default:
		return false;
	}
	if (hold->count == hold->capacity) {
		grown = hold->count < MAX_WAITING ? realloc(hold->events, capacity * sizeof(*grown)) : NULL;
		if (!grown) {
			hold->broken = true;
			return false;
		}
		hold->events = grown;
		hold->capacity = capacity;
	}
	hold->events[hold->count++] = *event;
	return true;
}

bool tracer_hold_is_of(const struct tracer_hold *hold, uint32_t process)
{
	return hold->process == process;
}

/* Lets go of what was kept back; from here on events pass. */
void tracer_hold_release(struct tracer *tracer)
{
	struct tracer_hold *hold = tracer->hold;

	tracer->hold = NULL;
	for (size_t i = 0; hold && i < hold->count; i++)
		tracer_emit(tracer, &hold->events[i]);
	if (hold)
		hold->count = 0;
}

static void drain_all(struct tracer *tracer)
{
	do {
		tracer_drain(tracer);
	} while (tracer->full_batch);
}

static void emit_event(void *context, const struct event *event)
{
	tracer_emit(context, event);
}

static int take(const struct tracked *tracked, uint32_t runtime, struct census *census)
{
	const struct tracked_runtime *at = &tracked->runtime[runtime];
	struct census_input input = {
		.library = &at->library->plan,
		.plan = &at->library->books,
		.base = at->base,
		.text_start = at->text_start,
		.text_end = at->text_end,
	};
	int err;

	memset(census, 0, sizeof(*census));
	if (at->library->books_error)
		return at->library->books_error;
	if (!at->base)
		return -ESRCH;
	err = process_memory_open((pid_t)tracked->pid, &input.memory);
	if (err)
		return err;
	err = at->library->plan.runtime->census(&input, census);
	memory_close(input.memory);
	return err;
}

/* ---- the base: what is older than the probes ---- */

static void emit_census(struct tracer *tracer, const struct census *census, const struct census_subject *subject,
			const char *reason, bool books_only)
{
	if (census->origin != CENSUS_ORIGIN_INHERITED && census_emit_books(census, subject, emit_event, tracer))
		reason = "out-of-memory";
	census_emit_end(census, subject, reason, books_only, emit_event, tracer);
}

/* Takes censuses until one is certain, keeping back what happens meanwhile. 0, or why there is none. */
static int take_while_held(struct tracer *tracer, const struct tracked *tracked, uint32_t runtime,
			   struct census *census, struct reconcile *reconcile, const char **reason)
{
	uint32_t process = tracked->process;
	int err;

	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		err = take(tracked, runtime, census);
		drain_all(tracer);
		/* It may have ended or called exec: then @tracked is another's or gone. */
		if (tracked_by_process(&tracer->tracked, process) != tracked)
			return -ESRCH;
		if (err)
			return err;
		if (tracer->hold->broken)
			return -ENOBUFS;
		err = reconcile_init(reconcile, tracer->hold->events, tracer->hold->count);
		if (err)
			return err;
		*reason = reconcile_judge(reconcile, census);
		if (!*reason || attempt == ATTEMPTS - 1)
			return 0;
		reconcile_fini(reconcile);
		census_fini(census);
	}
	return 0;
}

void tracer_census_base(struct tracer *tracer, struct tracked *tracked, uint32_t runtime, bool restart)
{
	struct tracer_hold hold = {.process = tracked->process};
	struct census_subject subject = {.process = tracked->process, .runtime = runtime};
	struct event event = {.kind = EVENT_RESTART, .process = tracked->process, .time_ns = tracer_now_ns()};
	struct reconcile reconcile = {0};
	const char *reason = NULL;
	struct census census = {0};
	uint32_t pid = tracked->pid;
	int err;

	/* Found while a record is being taken in: what was recorded before it is not known to be complete. */
	if (tracer->hold || tracer->draining) {
		log_debug("no census of process %u: it was found too late", pid);
		return;
	}
	tracer->hold = &hold;
	err = take_while_held(tracer, tracked, runtime, &census, &reconcile, &reason);
	tracer->hold = NULL;
	/* @tracked may be gone from here on. */
	subject.time_ns = tracer_now_ns();
	if (err) {
		log_debug("no census of process %u: %s", pid, strerror(-err));
	} else {
		if (restart)
			tracer_emit(tracer, &event);
		if (census.origin != CENSUS_ORIGIN_INHERITED) {
			census_emit_devices(&census, &subject, emit_event, tracer);
			if (reconcile_emit(&reconcile, &census, &subject, emit_event, tracer))
				reason = "out-of-memory";
		}
	}
	tracer->hold = &hold;
	tracer_hold_release(tracer);
	if (!err)
		emit_census(tracer, &census, &subject, reason, false);
	reconcile_fini(&reconcile);
	census_fini(&census);
	free(hold.events);
}

/* ---- the books beside the table ---- */

void tracer_read_books(struct tracer *tracer)
{
	struct census_subject subject;
	struct tracked *tracked;
	struct census census;
	const char *reason;
	size_t cursor = 0;

	while ((tracked = tracked_next(&tracer->tracked, &cursor))) {
		for (uint32_t i = 0; i < tracked->runtime_count; i++) {
			if (!tracked->runtime[i].told || take(tracked, i, &census))
				continue;
			subject = (struct census_subject){tracked->process, i, tracer_now_ns()};
			census_is_exact(&census, &reason);
			emit_census(tracer, &census, &subject, reason, true);
			census_fini(&census);
		}
	}
}

void tracer_restart(struct tracer *tracer, uint32_t process)
{
	struct tracked *tracked = tracked_by_process(&tracer->tracked, process);

	/* Several copies of a runtime in one process have one table: it cannot be rebuilt from one of them. */
	if (tracked && tracked->runtime_count == 1)
		tracer_census_base(tracer, tracked, 0, true);
}
