/* SPDX-License-Identifier: BSD-2-Clause */
/* Source -> model -> outputs, in one epoll loop. Owns all three. */
#include "cmd/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/options.h"
#include "cmd/report.h"
#include "cmd/verify.h"
#include "model/model.h"
#include "model/notice.h"
#include "source/tracer.h"

#define MAX_UNMATCHED_FREES 10000 /* kept in full per process, for JSON; all are counted */

struct session {
	const struct options *options;
	struct tracer *tracer;
	struct model *model;
	struct report *report;
	struct verify *verify;
	uint64_t next_verify_ns;
	uint32_t *lossy; /* processes that lost records and whose table is to be rebuilt */
	size_t lossy_count, lossy_capacity;
	uint64_t restarted_ns;
	int signal_fd;
	int watched_fd; /* the caller's, or -1 */
	uint64_t next_interval_ns;
	bool destroy_armed;
	bool executed;
	bool held_checked; /* since arming: nothing held died unseen */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void doubt_held(struct session *session, const struct event *end);

static void note_loss(struct session *session, uint32_t process)
{
	size_t capacity = session->lossy_capacity ? 2 * session->lossy_capacity : 16;
	uint32_t *grown;

	for (size_t i = 0; i < session->lossy_count; i++) {
		if (session->lossy[i] == process)
			return;
	}
	if (session->lossy_count == session->lossy_capacity) {
		grown = realloc(session->lossy, capacity * sizeof(*grown));
		if (!grown)
			return; /* it stays inexact */
		session->lossy = grown;
		session->lossy_capacity = capacity;
	}
	session->lossy[session->lossy_count++] = process;
}

static void on_event(void *context, const struct event *event)
{
	struct session *session = context;

	if ((event->kind == EVENT_EXIT || event->kind == EVENT_EXEC) && !session->held_checked &&
	    model_held_count(session->model))
		doubt_held(session, event);
	session->executed |= event->kind == EVENT_EXEC;
	verify_event(session->verify, event);
	if (event->kind == EVENT_LOST && event->process)
		note_loss(session, event->process);
	/* The model marks the process inexact by itself; here it is only said once. */
	if (model_apply(session->model, event))
		log_error("out of memory: from here on the figures are not complete");
}

static void on_inexact(void *context, uint32_t process, const char *reason, const char *text)
{
	struct session *session = context;

	model_mark_inexact(session->model, process, reason, text);
}

static void on_notice(void *context, const struct notice *notice)
{
	struct session *session = context;

	report_notice(session->report, notice);
}

static int open_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	/* A reader of ours that goes away is an error of the write, not our end. */
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd >= 0 ? fd : -errno;
}

int session_open(const struct options *options, const int *fds, struct session **out)
{
	struct model_options model_options = {.keep_ended = true, .max_unmatched_frees = MAX_UNMATCHED_FREES};
	struct tracer_options tracer_options = {.ring_bytes = options->ring_bytes,
						.follow_children = options->follow,
						.perf_links = options->perf_links,
						.lossless = options->lossless};
	struct tracer_callbacks callbacks = {.event = on_event, .inexact = on_inexact};
	struct session *session = calloc(1, sizeof(*session));
	int err;

	if (!session) {
		log_error("out of memory");
		return -ENOMEM;
	}
	session->options = options;
	session->watched_fd = -1;
	session->signal_fd = open_signals();
	session->model = model_new(&model_options);
	session->verify = verify_new();
	if (session->signal_fd < 0 || !session->model || !session->verify) {
		err = session->signal_fd < 0 ? session->signal_fd : -ENOMEM;
		log_error("cannot begin: %s", strerror(-err));
		goto fail;
	}
	err = fds ? report_open_fds(options, fds[0], fds[1], &session->report) : report_open(options, &session->report);
	if (err)
		goto fail;
	callbacks.context = session;
	err = tracer_open(&tracer_options, &callbacks, &session->tracer);
	if (err)
		goto fail;
	model_set_listener(session->model, on_notice, session);
	if (options->interval_ns)
		session->next_interval_ns = now_ns() + options->interval_ns;
	if (options->verify_ns)
		session->next_verify_ns = now_ns() + options->verify_ns;
	*out = session;
	return 0;
fail:
	session_close(session);
	return err;
}

int session_follow(struct session *session, pid_t pid, enum birth_how how, const char *command, size_t command_len)
{
	return tracer_follow(session->tracer, pid, how, command, command_len);
}

int session_follow_machine(struct session *session)
{
	return tracer_follow_machine(session->tracer);
}

void session_prepare(struct session *session, const char *path)
{
	tracer_prepare(session->tracer, path);
}

void session_watch(struct session *session, int fd)
{
	session->watched_fd = fd;
}

/* ---- held objects: their end is watched while there are any ---- */

struct held_list {
	struct held_object {
		uint32_t process;
		struct event_buffer buffer;
	} * objects;
	size_t count, capacity;
	bool incomplete;
};

static void collect_held(void *context, uint32_t process, const struct event_buffer *buffer)
{
	struct held_list *list = context;
	size_t capacity = list->capacity ? 2 * list->capacity : 256;
	struct held_object *grown;

	if (list->count == list->capacity) {
		grown = realloc(list->objects, capacity * sizeof(*grown));
		if (!grown) {
			list->incomplete = true;
			return;
		}
		list->objects = grown;
		list->capacity = capacity;
	}
	list->objects[list->count].process = process;
	list->objects[list->count++].buffer = *buffer;
}

/*
 * A process ends before its held objects could be looked at: which of them died before it is known to
 * nobody any more.
 */
static void doubt_held(struct session *session, const struct event *end)
{
	struct held_list list = {0};

	model_visit_held(session->model, collect_held, &list);
	for (size_t i = 0; i < list.count; i++) {
		struct event event = {.process = end->process, .time_ns = end->time_ns, .kind = EVENT_UNSURE};

		event.buffer = list.objects[i].buffer;
		if (list.objects[i].process == end->process)
			model_apply(session->model, &event);
	}
	free(list.objects);
}

/* Judges every held object by its memory; what is gone or cannot be judged is told to the model. */
static void check_held(struct session *session)
{
	struct held_list list = {0};

	model_visit_held(session->model, collect_held, &list);
	if (list.incomplete)
		log_error("out of memory: not every held buffer was looked at");
	for (size_t i = 0; i < list.count; i++) {
		const struct held_object *object = &list.objects[i];
		struct event event = {.process = object->process, .time_ns = now_ns(), .kind = EVENT_UNSURE};
		enum object_state state = tracer_check_object(session->tracer, object->process, &object->buffer);

		if (state == OBJECT_ALIVE)
			continue;
		if (state == OBJECT_GONE)
			event.kind = EVENT_RELEASE;
		event.buffer = object->buffer;
		on_event(session, &event);
	}
	free(list.objects);
}

static void watch_held(struct session *session)
{
	bool any = model_held_count(session->model) > 0;

	if (any == session->destroy_armed)
		return;
	session->destroy_armed = any;
	session->held_checked = false;
	if (!any) {
		tracer_disarm_destroy(session->tracer);
		return;
	}
	tracer_arm_destroy(session->tracer);
	/*
	 * What died between its device's close and the probe was seen by nobody. Everything recorded up to
	 * now is taken in first; then each object is looked at.
	 */
	tracer_sync(session->tracer);
	check_held(session);
	session->held_checked = true;
}

/* ---- after a loss ---- */

#define RESTART_NS 1000000000ull /* between two attempts, while records go on being lost */

/* What was lost can be read out of the process's memory; what cannot (counters, peaks) starts anew. */
static void rebuild_lossy(struct session *session)
{
	uint32_t *lossy = session->lossy;
	size_t count = session->lossy_count;

	/* A loss while they are rebuilt is noted again, in a new list. */
	session->lossy = NULL;
	session->lossy_count = session->lossy_capacity = 0;
	for (size_t i = 0; i < count; i++)
		tracer_restart(session->tracer, lossy[i]);
	free(lossy);
	session->restarted_ns = now_ns();
}

/* ---- outputs ---- */

int session_snapshot(struct session *session, int fd)
{
	struct snapshot *snapshot;
	int err;

	tracer_sync(session->tracer);
	rebuild_lossy(session);
	watch_held(session);
	/* The books beside it, as they are now. */
	verify_run(session->verify, session->tracer, session->model);
	snapshot = model_snapshot(session->model, now_ns());
	if (!snapshot) {
		log_error("out of memory: no snapshot");
		return -ENOMEM;
	}
	err = report_snapshot(session->report, snapshot, fd);
	snapshot_free(snapshot);
	return err;
}

static void repeat_table(struct session *session)
{
	struct snapshot *snapshot = model_snapshot(session->model, now_ns());

	if (snapshot)
		report_interval(session->report, snapshot);
	snapshot_free(snapshot);
	while (session->next_interval_ns <= now_ns())
		session->next_interval_ns += session->options->interval_ns;
}

static void say_verified(const struct session *session)
{
	uint64_t rounds, different;

	if (!session->options->verify_ns)
		return;
	verify_counts(session->verify, &rounds, &different);
	log_info("table and books were compared %llu times: %llu times they differed", (unsigned long long)rounds,
		 (unsigned long long)different);
}

int session_finish(struct session *session)
{
	struct snapshot *snapshot;
	int err;

	tracer_sync(session->tracer);
	tracer_let_go(session->tracer);
	rebuild_lossy(session);
	if (tracer_process_count(session->tracer))
		verify_run(session->verify, session->tracer, session->model);
	say_verified(session);
	snapshot = model_snapshot(session->model, now_ns());
	if (!snapshot) {
		log_error("out of memory: no report");
		return -ENOMEM;
	}
	err = report_final(session->report, snapshot);
	snapshot_free(snapshot);
	return err;
}

/* ---- the loop ---- */

static void read_signals(struct session *session, const struct session_callbacks *callbacks)
{
	struct signalfd_siginfo info;

	while (read(session->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			session_snapshot(session, -1);
		else if (callbacks->signal)
			callbacks->signal(callbacks->context, session, &info);
	}
}

/* The sooner of the source's tick and the next repeated task. */
static int timeout_ms(const struct session *session)
{
	int timeout = tracer_timeout_ms(session->tracer);
	const uint64_t tasks[] = {session->next_interval_ns, session->next_verify_ns,
				  session->lossy_count ? session->restarted_ns + RESTART_NS : 0};
	uint64_t now, left;

	for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++) {
		if (!tasks[i])
			continue;
		now = now_ns();
		left = tasks[i] > now ? (tasks[i] - now + 999999) / 1000000 : 0;
		if (timeout < 0 || left < (uint64_t)timeout)
			timeout = (int)(left < 3600000 ? left : 3600000);
	}
	return timeout;
}

static void verify_now(struct session *session)
{
	verify_run(session->verify, session->tracer, session->model);
	session->next_verify_ns = now_ns() + session->options->verify_ns;
}

void session_run(struct session *session, const struct session_callbacks *callbacks)
{
	struct pollfd fds[3] = {
		{.fd = tracer_fd(session->tracer), .events = POLLIN},
		{.fd = session->signal_fd, .events = POLLIN},
		{.events = POLLIN},
	};

	do {
		fds[2].fd = session->watched_fd;
		if (poll(fds, 3, timeout_ms(session)) < 0 && errno != EINTR) {
			log_error("poll: %s", strerror(errno));
			return;
		}
		tracer_dispatch(session->tracer);
		watch_held(session);
		if (fds[1].revents)
			read_signals(session, callbacks);
		if (fds[2].revents && session->watched_fd >= 0 && callbacks->readable)
			callbacks->readable(callbacks->context, session);
		if (session->next_interval_ns && now_ns() >= session->next_interval_ns)
			repeat_table(session);
		if (session->lossy_count && now_ns() >= session->restarted_ns + RESTART_NS)
			rebuild_lossy(session);
		if (session->next_verify_ns && now_ns() >= session->next_verify_ns)
			verify_now(session);
		report_flush(session->report);
	} while (!callbacks->done(callbacks->context, session));
}

size_t session_process_count(const struct session *session)
{
	return tracer_process_count(session->tracer);
}

bool session_follows(const struct session *session, pid_t pid)
{
	return tracer_follows(session->tracer, pid);
}

bool session_executed(const struct session *session)
{
	return session->executed;
}

bool session_library_seen(const struct session *session)
{
	return tracer_library_seen(session->tracer);
}

void session_close(struct session *session)
{
	if (!session)
		return;
	report_close(session->report);
	tracer_abandon(session->tracer);
	model_free(session->model);
	verify_free(session->verify);
	free(session->lossy);
	if (session->signal_fd >= 0)
		close(session->signal_fd);
	free(session);
}
