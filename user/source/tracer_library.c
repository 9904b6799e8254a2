/* SPDX-License-Identifier: BSD-2-Clause */
/* Libraries in processes: observed when they are mapped; the end of held objects watched when needed. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "source/held.h"
#include "source/privilege.h"
#include "source/procfs.h"
#include "source/tracer_internal.h"

#define CLOSE_WAIT_MS 2000 /* for its probes to go, when a library is needed again just then */

/*
 * How many objects the library had made in this process when probes were in place: 0 proves that none
 * is older than they are.
 */
static int64_t earlier_objects(const struct tracked *tracked, const struct library *library, uint64_t base)
{
	/* Whoever began after the attachment was covered from its first instruction on. */
	if (library->attached_ns <= tracked->covered_ns)
		return 0;
	/* What was not mapped yet at a time when the probes were there, neither. */
	if (library->attached_ns <= tracked->seen_ns)
		return 0;
	return library_objects_made(library, (pid_t)tracked->pid, base);
}

static void emit_runtime(struct tracer *tracer, struct tracked *tracked, uint32_t runtime, const char *path,
			 int64_t earlier)
{
	const struct library *library = tracked->runtime[runtime].library;
	struct event event = {.kind = EVENT_RUNTIME, .process = tracked->process, .time_ns = tracer_now_ns()};

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
	tracer_emit(tracer, &event);
}

static void unsupported(struct tracer *tracer, const struct tracked *tracked, const struct library *library,
			const char *why)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_addf(&text, "%s: %s", library->path, why);
	tracer->callbacks.inexact(tracer->callbacks.context, tracked->process, REASON_UNSUPPORTED, strbuf_str(&text));
	strbuf_fini(&text);
}

static void cannot_attach(const struct library *library, int err)
{
	struct strbuf path = STRBUF_INIT;

	escape_terminal(&path, library->path, strlen(library->path));
	log_warning("cannot attach to %s: %s", strbuf_str(&path), strerror(-err));
	strbuf_fini(&path);
}

static bool is_observed(const struct tracked *tracked, const struct library *library, uint64_t base)
{
	for (size_t i = 0; i < tracked->runtime_count; i++) {
		if (tracked->runtime[i].library == library && (tracked->runtime[i].base == base || !base))
			return true;
	}
	return false;
}

/* The kernel puts the probes of an inode into all that maps it: those of its old contents amid other code. */
void tracer_close_overwritten(struct tracer *tracer)
{
	struct library *library;
	struct tracked *tracked;
	size_t cursor = 0;
	int err;

	for (uint32_t i = 0; i < libraries_end(tracer->libraries); i++, cursor = 0) {
		library = libraries_get(tracer->libraries, i);
		if (!library || !library->overwritten || library->state != LIBRARY_ATTACHED)
			continue;
		err = library_begin_close(library);
		if (err)
			log_warning("cannot take the probes out of a file that was overwritten: %s", strerror(-err));
		while ((tracked = tracked_next(&tracer->tracked, &cursor))) {
			if (is_observed(tracked, library, 0))
				unsupported(tracer, tracked, library, library->why);
		}
	}
}

/* Before a library is attached to: are the probes of what its file had before gone? */
static bool is_clean(struct tracer *tracer, struct library *library)
{
	struct library *old;

	tracer_close_overwritten(tracer);
	for (uint32_t i = 0; i < libraries_end(tracer->libraries); i++) {
		old = libraries_get(tracer->libraries, i);
		if (!old || !old->overwritten || !library_same_file(old, library))
			continue;
		if (old->state == LIBRARY_ATTACHED ||
		    (old->state == LIBRARY_CLOSING && !library_end_close(old, CLOSE_WAIT_MS)))
			return false;
		if (old->closed_ns > library->clean_ns)
			library->clean_ns = old->closed_ns;
	}
	return true;
}

int tracer_attach_library(struct tracer *tracer, struct library *library)
{
	char path[64];
	int err;

	if (!is_clean(tracer, library)) {
		snprintf(library->why, sizeof(library->why),
			 "its file was overwritten, and the probes of before cannot be taken away");
		return -EBUSY;
	}
	/* Our own descriptor of the file: the path inside the process may lie, be gone or be elsewhere. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", library->fd);
	err = live_set_library(tracer->live, library->index, &library->plan);
	if (!err)
		err = live_attach(tracer->live, library->index, &library->plan, path, &library->attachment);
	if (err) {
		library->state = LIBRARY_UNSUPPORTED;
		snprintf(library->why, sizeof(library->why), "cannot attach: %s", strerror(-err));
		cannot_attach(library, err);
		return err;
	}
	library->state = LIBRARY_ATTACHED;
	library->attached_ns = tracer_now_ns();
	if (tracer->destroy_armed) {
		tracer->destroy_armed = false;
		tracer_arm_destroy(tracer);
	}
	return 0;
}

/* Makes @library one of the process's runtimes, attaching first if it is new. @mapping: NULL if it is not known. */
static void observe(struct tracer *tracer, struct tracked *tracked, struct library *library,
		    const struct procfs_mapping *mapping)
{
	uint64_t base = mapping && library->state != LIBRARY_UNSUPPORTED ? library_base(library, mapping) : 0;
	struct tracked_runtime *runtime;
	struct library *twin;
	bool breakpoint;
	int64_t earlier;

	if (is_observed(tracked, library, base))
		return;
	if (library->state == LIBRARY_UNSUPPORTED || library->overwritten) {
		unsupported(tracer, tracked, library, library->why);
		return;
	}
	if (tracked->runtime_count == TRACKED_MAX_RUNTIMES) {
		unsupported(tracer, tracked, library, "too many copies in one process");
		return;
	}
	/* Attached to while the old probes are there it would tell each event twice. */
	if (library->state == LIBRARY_CLOSING && !library_end_close(library, CLOSE_WAIT_MS)) {
		unsupported(tracer, tracked, library, "its probes of before cannot be taken away");
		return;
	}
	/* Of this process only: others may have it as it is in the file. */
	if (library->state == LIBRARY_PLANNED &&
	    !library_code_intact(library, (pid_t)tracked->pid, base, &breakpoint)) {
		unsupported(tracer, tracked, library, "its code was changed in memory");
		return;
	}
	if (library->state == LIBRARY_PLANNED) {
		/* A breakpoint where we have none yet: ours, if the same file was attached to by another name. */
		twin = breakpoint ? libraries_twin(tracer->libraries, library) : NULL;
		if (twin) {
			libraries_merge(tracer->libraries, library, twin);
			library = twin;
		} else if (tracer_attach_library(tracer, library)) {
			unsupported(tracer, tracked, library, library->why);
			return;
		}
	}
	if (is_observed(tracked, library, base))
		return;
	runtime = &tracked->runtime[tracked->runtime_count];
	*runtime = (struct tracked_runtime){.library = library, .base = base};
	if (mapping) {
		runtime->text_start = mapping->start;
		runtime->text_end = mapping->end;
	}
	library->used_ns = tracer_now_ns();
	earlier = earlier_objects(tracked, library, base);
	if (tracked->covered_ns < library->clean_ns && tracked->seen_ns < library->clean_ns)
		unsupported(
			tracer, tracked, library,
			"its file was overwritten in place; it may have been mapped before the old probes were gone");
	emit_runtime(tracer, tracked, (uint32_t)tracked->runtime_count++, mapping ? mapping->path : library->path,
		     earlier);
	/* Older buffers are looked for in its memory. */
	if (earlier && mapping)
		tracer_census_base(tracer, tracked, (uint32_t)tracked->runtime_count - 1, false);
}

struct scan {
	struct tracer *tracer;
	struct tracked *tracked;
	uint32_t process;
};

static int scan_mapping(void *context, const struct procfs_mapping *mapping)
{
	struct scan *scan = context;
	struct library *library;
	int err;

	err = libraries_of_mapping(scan->tracer->libraries, (pid_t)scan->tracked->pid, mapping, &library);
	if (err == -EPERM || err == -EACCES || err == -ENOMEM)
		return err;
	if (err == -ESRCH)
		return 0; /* this mapping is gone: others may still be there */
	if (err) {
		scan->tracer->callbacks.inexact(scan->tracer->callbacks.context, scan->process, REASON_UNSUPPORTED,
						"a file that it maps could not be read");
		return 0;
	}
	if (!library)
		return 0;
	/* A library has several executable mappings at times; the one with the probes counts. */
	if (library->state != LIBRARY_UNSUPPORTED &&
	    (library->exec_offset < mapping->offset ||
	     library->exec_offset - mapping->offset >= mapping->end - mapping->start))
		return 0;
	observe(scan->tracer, scan->tracked, library, mapping);
	/* A census takes in records: the process may have ended or called exec meanwhile. */
	return tracked_by_process(&scan->tracer->tracked, scan->process) == scan->tracked ? 0 : -ESRCH;
}

/* A process that began to run as another user, say: it may hold what nobody here can see. */
static void may_not_look(struct tracer *tracer, uint32_t process, int err)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_adds(&text, "the files it maps may not be looked at: ");
	if (!privilege_explain(&text, PRIVILEGE_TRACE | PRIVILEGE_OTHERS))
		strbuf_adds(&text, strerror(-err));
	tracer->callbacks.inexact(tracer->callbacks.context, process, REASON_UNSUPPORTED, strbuf_str(&text));
	strbuf_fini(&text);
}

void tracer_scan(struct tracer *tracer, struct tracked *tracked)
{
	struct scan scan = {.tracer = tracer, .tracked = tracked, .process = tracked->process};
	uint64_t begin_ns = tracer_now_ns();
	pid_t pid = (pid_t)tracked->pid;
	int err;

	/* A census takes in records: @tracked may be gone afterwards, and then it is -ESRCH. */
	err = procfs_mappings(pid, scan_mapping, &scan);
	err = procfs_refusal(pid, err);
	if (!err)
		tracked->seen_ns = begin_ns;
	if (!err || err == -ESRCH)
		return;
	if (err == -EPERM || err == -EACCES) {
		may_not_look(tracer, scan.process, err);
		return;
	}
	log_warning("cannot look for libraries in process %d: %s", pid, strerror(-err));
	tracer->callbacks.inexact(tracer->callbacks.context, scan.process, REASON_UNSUPPORTED,
				  "its mappings could not be looked at");
}

/* The record's library is not among the process's runtimes yet: its mapping was not noticed so far. */
uint32_t tracer_runtime_of(struct tracer *tracer, struct tracked *tracked, uint32_t index)
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
			tracer_scan(tracer, tracked);
	}
	/* It has ended meanwhile; the record itself proves that the library was there. */
	observe(tracer, tracked, library, NULL);
	return tracked->runtime_count ? (uint32_t)tracked->runtime_count - 1 : 0;
}

void tracer_check_probes(struct tracer *tracer)
{
	struct tracked_runtime *runtime;
	struct tracked *tracked;
	size_t cursor = 0;

	libraries_check_contents(tracer->libraries);
	tracer_close_overwritten(tracer);
	while ((tracked = tracked_next(&tracer->tracked, &cursor))) {
		for (uint32_t i = 0; i < tracked->runtime_count; i++) {
			runtime = &tracked->runtime[i];
			if (runtime->unprobed || !runtime->base || runtime->library->state != LIBRARY_ATTACHED ||
			    library_probes_in_place(runtime->library, (pid_t)tracked->pid, runtime->base))
				continue;
			runtime->unprobed = true;
			unsupported(tracer, tracked, runtime->library,
				    "its probes were taken away, by a debugger perhaps");
		}
	}
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
	for (uint32_t i = 0; i < libraries_end(tracer->libraries); i++) {
		library = libraries_get(tracer->libraries, i);
		if (!library || library->state != LIBRARY_ATTACHED || library->destroy_armed)
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
	for (uint32_t i = 0; i < libraries_end(tracer->libraries); i++) {
		library = libraries_get(tracer->libraries, i);
		if (!library || !library->destroy_armed)
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
