/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that processes mapped, between the moment they were mapped and the look at them. */
#include <stdlib.h>
#include <string.h>

#include <sys/epoll.h>

#include "base/log.h"
#include "source/tracer_internal.h"

/*
 * On a machine that builds, thousands of files are mapped a second, and none of them matters. The first is
 * looked at when it is mapped, those that come soon after together: the library of a runtime takes
 * longer to be loaded than this, and what it does before it is attached to a census finds.
 */
#define REST_NS 50000000ull

static void on_mapped(void *context, const struct map_watch_mapping *mapping)
{
	struct tracer *tracer = context;
	size_t capacity = tracer->mapped_capacity ? 2 * tracer->mapped_capacity : 64;
	struct mapped *grown;
	char *copy;

	tracer->mapped_read++;
	if (!mapping->file.inode) /* the vdso */
		return;
	if (tracer->machine && tracer_machine_passes(tracer, &mapping->file))
		return;
	copy = strdup(mapping->path);
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
	tracer->mapped[tracer->mapped_count++] =
		(struct mapped){.pid = mapping->pid, .file = mapping->file, .path = copy};
}

void tracer_collect_mapped(struct tracer *tracer)
{
	tracer->mapped_lost += map_watch_read(tracer->watch, on_mapped, tracer);
}

void tracer_forget_mapped(struct tracer *tracer)
{
	for (size_t i = 0; i < tracer->mapped_count; i++)
		free(tracer->mapped[i].path);
	tracer->mapped_count = 0;
}

/*
 * A process ends before its mappings were looked at. If it mapped a runtime's library, its buffers were
 * not seen, which must be said; only the path is left to tell.
 */
void tracer_judge_unseen(struct tracer *tracer, const struct tracked *tracked)
{
	struct library *library;

	if (tracked->runtime_count || tracked->how == BIRTH_ATTACH)
		return;
	tracer_collect_mapped(tracer);
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

/* A rest begins where there was something to be read, and ends where there was nothing. */
static void rest(struct tracer *tracer)
{
	bool resting = tracer->mapped_read > 0;
	struct epoll_event event = {.events = resting ? 0 : EPOLLIN};

	tracer->mapped_read = 0;
	tracer->rest_until_ns = resting ? tracer_now_ns() + REST_NS : 0;
	if (resting != tracer->resting &&
	    !epoll_ctl(tracer->epoll_fd, EPOLL_CTL_MOD, map_watch_fd(tracer->watch), &event))
		tracer->resting = resting;
}

bool tracer_rests(const struct tracer *tracer)
{
	return tracer->rest_until_ns > tracer_now_ns();
}

void tracer_look_at_mappings(struct tracer *tracer)
{
	struct tracked *tracked;
	size_t cursor = 0;
	bool gone = false;

	tracer_collect_mapped(tracer);
	if (tracer->machine)
		rest(tracer);
	if (tracer->mapped_lost) {
		log_debug("%llu records of new mappings were dropped: looking at every process",
			  (unsigned long long)tracer->mapped_lost);
		tracer->mapped_lost = 0;
		while ((tracked = tracked_next(&tracer->tracked, &cursor)))
			tracked->due = tracer->due = true;
		if (tracer->machine)
			tracer_machine_hasten(tracer);
		tracer_look_at_due(tracer);
	}
	if (!tracer->mapped_count)
		return;
	/* What the ring says of forks and execs up to here comes first. */
	tracer_drain(tracer);
	for (size_t i = 0; i < tracer->mapped_count; i++) {
		/* A start of a process maps dozens of files: look once. */
		if (!i || tracer->mapped[i].pid != tracer->mapped[i - 1].pid) {
			tracked = tracked_by_pid(&tracer->tracked, tracer->mapped[i].pid);
			if (tracked)
				tracer_scan(tracer, tracked);
			gone = !tracked && tracer->machine &&
			       !tracer_machine_look(tracer, (pid_t)tracer->mapped[i].pid);
		}
		if (gone)
			tracer_machine_missed(tracer, &tracer->mapped[i]);
	}
	tracer_forget_mapped(tracer);
}
