/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who watches for long wants the books beside the table: what buffers really take, how large a device is.
 * They are read again some time after they changed, one process at a time, for at most 1 % of a core.
 */
#include "base/log.h"
#include "source/procfs.h"
#include "source/tracer_internal.h"

#define FIRST_NS 500000000ull   /* after the first change */
#define AGAIN_NS 10000000000ull /* between two readings of a process */
#define RETRY_NS 1000000000ull  /* it changed while it was read */
#define SHARE    100            /* so many times what a reading took goes by before the next one */
#define ATTEMPTS 3              /* then a process that never rests is taken as it is, if nothing is known yet */
#define SLOW_NS  500000000ull   /* it is not done twice to a process where it takes so long */

void tracer_books_note(struct tracer *tracer, struct tracked *tracked, const struct event *event)
{
	struct tracked_books *books = &tracked->books;

	switch (event->kind) {
	case EVENT_ALLOCATE:
	case EVENT_FREE:
	case EVENT_BULK_FREE:
	case EVENT_CLOSE:
		break;
	default:
		return;
	}
	if (books->changes++ == books->read_changes && !books->given_up) {
		uint64_t now_ns = tracer_now_ns();

		books->due_ns = books->read_ns && books->read_ns + AGAIN_NS > now_ns + FIRST_NS
					? books->read_ns + AGAIN_NS
					: now_ns + FIRST_NS;
		if (!tracer->books_next_ns || books->due_ns < tracer->books_next_ns)
			tracer->books_next_ns = books->due_ns;
	}
}

/* The one that waits longest; NULL: none is due. Sets when the next one will be. */
static struct tracked *next_due(struct tracer *tracer, uint64_t now_ns)
{
	struct tracked *tracked, *first = NULL;
	uint64_t soonest = 0;
	size_t cursor = 0;

	while ((tracked = tracked_next(&tracer->tracked, &cursor))) {
		if (!tracked->books.due_ns || tracked->hold)
			continue;
		if (!soonest || tracked->books.due_ns < soonest) {
			soonest = tracked->books.due_ns;
			first = tracked;
		}
	}
	tracer->books_next_ns = soonest;
	return first && soonest <= now_ns ? first : NULL;
}

static void give_up(struct tracked *tracked, const char *why)
{
	tracked->books.given_up = true;
	tracked->books.due_ns = 0;
	log_debug("the books of process %u are not read again: %s", tracked->pid, why);
}

/* Takes in records: @tracked may be gone afterwards. */
static void read_books_of(struct tracer *tracer, struct tracked *tracked)
{
	struct tracked_books *books = &tracked->books;
	uint64_t start_ns = tracer_now_ns(), drain_ns, changes;
	uint32_t process = tracked->process;
	enum tracer_books_result result;
	bool unsteady;

	books->due_ns = 0;
	if (procfs_memory_bytes((pid_t)tracked->pid) > TRACER_MAX_MEMORY) {
		give_up(tracked, "it has too much memory to be looked through");
		return;
	}
	changes = books->changes;
	unsteady = books->read_ns == 0 && books->attempts + 1 >= ATTEMPTS;
	drain_ns = tracer->drain_ns;
	result = tracer_read_books_of(tracer, tracked, unsteady);
	/* The records that were taken in meanwhile are not its fault. */
	tracer->books_spent_ns = tracer_now_ns() - start_ns - (tracer->drain_ns - drain_ns);
	if (tracked_by_process(&tracer->tracked, process) != tracked)
		return;
	switch (result) {
	case TRACER_BOOKS_TOLD:
		books->read_ns = tracer_now_ns();
		books->read_changes = changes;
		books->attempts = 0;
		if (books->changes != changes)
			books->due_ns = books->read_ns + AGAIN_NS;
		break;
	case TRACER_BOOKS_MOVED:
		books->attempts++;
		books->due_ns = tracer_now_ns() + (books->attempts < ATTEMPTS ? RETRY_NS : AGAIN_NS);
		break;
	case TRACER_BOOKS_NONE:
		give_up(tracked, "they cannot be");
		return;
	}
	if (tracer->books_spent_ns > SLOW_NS)
		give_up(tracked, "that takes too long");
}

void tracer_books_tick(struct tracer *tracer)
{
	uint64_t now_ns = tracer_now_ns();
	struct tracked *tracked;

	if (!tracer->books_next_ns || now_ns < tracer->books_next_ns)
		return;
	tracked = next_due(tracer, now_ns);
	if (!tracked)
		return;
	read_books_of(tracer, tracked);
	now_ns = tracer_now_ns();
	next_due(tracer, now_ns);
	if (tracer->books_next_ns && tracer->books_next_ns < now_ns + SHARE * tracer->books_spent_ns)
		tracer->books_next_ns = now_ns + SHARE * tracer->books_spent_ns;
}

int tracer_books_timeout_ms(const struct tracer *tracer)
{
	uint64_t now_ns = tracer_now_ns(), next_ns = tracer->books_next_ns;

	if (!next_ns)
		return -1;
	return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns + 999999) / 1000000);
}
