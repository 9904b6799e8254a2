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
#include "source/procfs.h"
#include "source/reconcile.h"
#include "source/tracer_internal.h"

#define ATTEMPTS 4 /* a process that allocates all the time may need more than one look */
/* Three rounds through memory, on a slow machine. What takes longer was made to. */
#define LIMIT_NS        30000000000u
#define LIMIT_NS_A_BYTE 4       /* 4 s for each GiB */
#define INTERLUDE_NS    5000000 /* between looks at the ring meanwhile */

/* Events of one process, kept back in order. */
struct tracer_hold {
	struct event *events;
	size_t count, capacity;
	bool broken; /* out of room or memory: nothing is kept back any more */
};

/* Gives up: what was kept back is told, so that what comes now comes after it. */
static bool break_hold(struct tracer *tracer, struct tracer_hold *hold)
{
	hold->broken = true;
	for (size_t i = 0; i < hold->count; i++)
		tracer->callbacks.event(tracer->callbacks.context, &hold->events[i]);
	tracer->held_events -= hold->count;
	free(hold->events);
	hold->events = NULL;
	hold->count = hold->capacity = 0;
	return false;
}

bool tracer_hold_back(struct tracer *tracer, struct tracked *tracked, const struct event *event)
{
	struct tracer_hold *hold = tracked->hold;
	size_t capacity = hold->capacity ? 2 * hold->capacity : 256;
	struct event *grown;

	if (hold->broken)
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
	if (tracer->held_events >= TRACER_MAX_HELD)
		return break_hold(tracer, hold);
	if (hold->count == hold->capacity) {
		grown = realloc(hold->events, capacity * sizeof(*grown));
		if (!grown)
			return break_hold(tracer, hold);
		hold->events = grown;
		hold->capacity = capacity;
	}
	hold->events[hold->count++] = *event;
	tracer->held_events++;
	return true;
}

int tracer_hold_begin(struct tracer *tracer, struct tracked *tracked)
{
	if (tracked->hold)
		return 0;
	tracked->hold = calloc(1, sizeof(*tracked->hold));
	if (!tracked->hold)
		return -ENOMEM;
	tracer->holds++;
	return 0;
}

/* From here on events pass. What was kept back is the caller's to emit. */
static struct tracer_hold *take_hold(struct tracer *tracer, struct tracked *tracked)
{
	struct tracer_hold *hold = tracked->hold;

	tracked->hold = NULL;
	if (hold) {
		tracer->holds--;
		tracer->held_events -= hold->count;
	}
	return hold;
}

static void let_go(struct tracer *tracer, struct tracer_hold *hold)
{
	for (size_t i = 0; hold && i < hold->count; i++)
		tracer_emit(tracer, &hold->events[i]);
	if (hold)
		free(hold->events);
	free(hold);
}

void tracer_hold_release(struct tracer *tracer, struct tracked *tracked)
{
	let_go(tracer, take_hold(tracer, tracked));
}

static void emit_event(void *context, const struct event *event)
{
	tracer_emit(context, event);
}

/* Who is looked at, while records are taken in. */
struct looking {
	struct tracer *tracer;
	struct tracked *tracked;
	uint32_t process;
	uint64_t last_ns, limit_ns;
};

/* To go through a large process's memory takes seconds. Others must not lose records for that. */
static bool take_in_meanwhile(void *context)
{
	struct looking *looking = context;
	struct tracer *tracer = looking->tracer;
	uint64_t now_ns = tracer_now_ns();

	if (now_ns - looking->last_ns < INTERLUDE_NS)
		return true;
	if (tracer->callbacks.busy && !tracer->callbacks.busy(tracer->callbacks.context))
		return false;
	/* One batch: whoever writes faster than that is read must not keep the census from its end. */
	tracer_drain(tracer);
	looking->last_ns = tracer_now_ns();
	if (tracked_by_process(&tracer->tracked, looking->process) != looking->tracked)
		return false;
	if (now_ns > looking->limit_ns) {
		log_warning("to look through the memory of process %u takes too long: what is in it is not known",
			    looking->tracked->pid);
		looking->tracked->endless = true;
	}
	return !looking->tracked->endless && !(looking->tracked->hold && looking->tracked->hold->broken);
}

static uint64_t time_limit(const struct tracked *tracked)
{
	return tracer_now_ns() + LIMIT_NS + procfs_memory_bytes((pid_t)tracked->pid) * LIMIT_NS_A_BYTE;
}

/* With @tracer records are taken in meanwhile: then @tracked may be gone afterwards, and it is -ESRCH. */
static int take(struct tracer *tracer, struct tracked *tracked, uint32_t runtime, struct census *census)
{
	const struct tracked_runtime *at = &tracked->runtime[runtime];
	struct looking looking = {tracer, tracked, tracked->process, tracer_now_ns(), time_limit(tracked)};
	/* Copies: with the last process that uses it a library may be let go. */
	struct library_plan plan = at->library->plan;
	struct census_plan books = at->library->books;
	struct census_input input = {
		.library = &plan,
		.plan = &books,
		.base = at->base,
		.text_start = at->text_start,
		.text_end = at->text_end,
		.interlude = tracer ? take_in_meanwhile : NULL,
		.context = &looking,
	};
	int err;

	memset(census, 0, sizeof(*census));
	if (at->library->books_error)
		return at->library->books_error;
	if (!at->base)
		return -ESRCH;
	if (tracked->endless)
		return -ETIMEDOUT;
	err = process_memory_open((pid_t)tracked->pid, &input.memory);
	if (err)
		return err;
	err = plan.runtime->census(&input, census);
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
static int take_while_held(struct tracer *tracer, struct tracked *tracked, uint32_t runtime, struct census *census,
			   struct reconcile *reconcile, const char **reason)
{
	uint32_t process = tracked->process;
	int err;

	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		err = take(tracer, tracked, runtime, census);
		tracer_drain_all(tracer);
		/* It may have ended or called exec: then @tracked is another's or gone. */
		if (tracked_by_process(&tracer->tracked, process) != tracked)
			return -ESRCH;
		if (err)
			return err;
		if (tracked->hold->broken)
			return -ENOBUFS;
		err = reconcile_init(reconcile, tracked->hold->events, tracked->hold->count);
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
	struct census_subject subject = {.process = tracked->process, .runtime = runtime};
	struct event event = {.kind = EVENT_RESTART, .process = tracked->process, .time_ns = tracer_now_ns()};
	struct reconcile reconcile = {0};
	const char *reason = NULL;
	struct census census = {0};
	struct tracer_hold *hold;
	struct wire_lost lost;
	uint32_t pid = tracked->pid;
	int err;

	if (tracer_hold_begin(tracer, tracked)) {
		log_error("out of memory: no census of process %u", pid);
		return;
	}
	/* Found while a record of it is being taken in, its first of this library. */
	if (tracer->draining) {
		tracked->runtime[runtime].census_due = true;
		tracked->due = tracer->due = true;
		return;
	}
	tracer_lookup_lost(tracer, tracked, tracer_now_ns());
	lost = tracked->lost;
	err = take_while_held(tracer, tracked, runtime, &census, &reconcile, &reason);
	/* It may have ended; then it has been let go, with what was kept back. */
	if (tracked_by_process(&tracer->tracked, subject.process) != tracked) {
		log_debug("no census of process %u: it ended meanwhile", pid);
		goto out;
	}
	/* What was lost meanwhile may be missing from what was kept back. */
	tracer_lookup_lost(tracer, tracked, tracer_now_ns());
	if (!reason && memcmp(&lost, &tracked->lost, sizeof(lost)) != 0)
		reason = "changing";
	hold = take_hold(tracer, tracked);
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
	let_go(tracer, hold);
	if (!err)
		emit_census(tracer, &census, &subject, reason, false);
out:
	reconcile_fini(&reconcile);
	census_fini(&census);
}

static void look_at_due(struct tracer *tracer, struct tracked *tracked)
{
	uint32_t process = tracked->process;

	tracked->due = false;
	tracer_scan(tracer, tracked);
	for (uint32_t i = 0; i < TRACKED_MAX_RUNTIMES; i++) {
		/* A census takes in records: the process may have ended or called exec meanwhile. */
		if (tracked_by_process(&tracer->tracked, process) != tracked)
			return;
		if (i >= tracked->runtime_count || !tracked->runtime[i].census_due)
			continue;
		tracked->runtime[i].census_due = false;
		tracer_census_base(tracer, tracked, i, false);
	}
	if (tracked_by_process(&tracer->tracked, process) == tracked)
		tracer_hold_release(tracer, tracked);
}

void tracer_look_at_due(struct tracer *tracer)
{
	struct tracked *tracked;
	size_t cursor = 0;

	while (tracer->due) {
		tracer->due = false;
		/* Each look may change the set: from the start again. */
		for (cursor = 0; (tracked = tracked_next(&tracer->tracked, &cursor));) {
			if (tracked->due) {
				tracer->due = true;
				look_at_due(tracer, tracked);
				break;
			}
		}
	}
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
			if (!tracked->runtime[i].told || take(NULL, tracked, i, &census))
				continue;
			subject = (struct census_subject){tracked->process, i, tracer_now_ns()};
			census_is_exact(&census, &reason);
			emit_census(tracer, &census, &subject, reason, true);
			census_fini(&census);
		}
	}
}

enum tracer_books_result tracer_read_books_of(struct tracer *tracer, struct tracked *tracked, bool unsteady)
{
	enum tracer_books_result result = TRACER_BOOKS_NONE;
	uint32_t process = tracked->process;

	tracer_drain_all(tracer);
	for (uint32_t i = 0; tracked_by_process(&tracer->tracked, process) == tracked && i < tracked->runtime_count;
	     i++) {
		struct census_subject subject = {.process = process, .runtime = i};
		uint64_t changes = tracked->books.changes;
		struct census census;
		const char *reason;
		int err;

		if (!tracked->runtime[i].told)
			continue;
		err = take(tracer, tracked, i, &census);
		if (err && tracked_by_process(&tracer->tracked, process) != tracked)
			break; /* it ended meanwhile */
		/* A copy whose books nobody can read stays so; out of descriptors, say, does not. */
		if (err && err != tracked->runtime[i].library->books_error)
			result = TRACER_BOOKS_MOVED;
		if (err)
			continue;
		tracer_drain_all(tracer);
		if (tracked_by_process(&tracer->tracked, process) != tracked) {
			/* it ended meanwhile */
		} else if (tracked->books.changes != changes && !unsteady) {
			result = TRACER_BOOKS_MOVED;
		} else {
			subject.time_ns = tracer_now_ns();
			census_is_exact(&census, &reason);
			emit_census(tracer, &census, &subject, reason, true);
			result = result == TRACER_BOOKS_MOVED ? result : TRACER_BOOKS_TOLD;
		}
		census_fini(&census);
	}
	return result;
}

void tracer_restart(struct tracer *tracer, uint32_t process)
{
	struct tracked *tracked = tracked_by_process(&tracer->tracked, process);

	/* Several copies of a runtime in one process have one table: it cannot be rebuilt from one of them. */
	if (!tracked || tracked->runtime_count != 1)
		return;
	/* Others must not lose records because one process does, and is large. */
	if (tracer->machine && procfs_memory_bytes((pid_t)tracked->pid) > TRACER_MAX_MEMORY)
		return;
	tracer_census_base(tracer, tracked, 0, true);
}
