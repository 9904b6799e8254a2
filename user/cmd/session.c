/* SPDX-License-Identifier: BSD-2-Clause */
/* Source -> model -> outputs, in one epoll loop. Owns all three. */
#include "cmd/session.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "cmd/options.h"
#include "cmd/report.h"
#include "cmd/verify.h"
#include "model/model.h"
#include "model/notice.h"
#include "source/tracer.h"

#define MAX_UNMATCHED_FREES 10000         /* kept in full per process, for JSON; all are counted */
#define RESTART_NS          1000000000ull /* between two rebuilds, while records go on being lost */

struct session {
	const struct options *options;
	const struct session_callbacks *callbacks; /* while it runs */
	struct loop *loop;
	struct tracer *tracer;
	struct model *model;
	struct report *report;
	struct verify *verify;
	uint32_t *lossy; /* processes that lost records and whose table is to be rebuilt */
	size_t lossy_count, lossy_capacity;
	uint64_t restarted_ns;
	struct loop_watch source, signals, watched; /* watched: the caller's */
	struct loop_timer interval, verification, rebuild;
	uint64_t next_table_ns;
	bool (*busy)(void *context);
	void *busy_context;
	bool destroy_armed;
	bool executed;
	bool held_checked; /* since arming: nothing held died unseen */
};

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
	if (!session->rebuild.when_ns)
		loop_timer_set(session->loop, &session->rebuild, session->restarted_ns + RESTART_NS);
}

static void on_event(void *context, const struct event *event)
{
	struct session *session = context;

	if ((event->kind == EVENT_EXIT || event->kind == EVENT_EXEC) && !session->held_checked &&
	    model_held_count(session->model))
		doubt_held(session, event);
	session->executed |= event->kind == EVENT_EXEC;
	/* A service compares nothing, so what it noted would only grow. */
	if (session->report)
		verify_event(session->verify, event);
	if (event->kind == EVENT_LOST && event->process)
		note_loss(session, event->process);
	/* The model marks the process inexact by itself; here it is only said once. */
	if (model_apply(session->model, event))
		log_error("out of memory: from here on the figures are not complete");
	if (session->callbacks && session->callbacks->event)
		session->callbacks->event(session->callbacks->context, event);
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

int session_follow(struct session *session, pid_t pid, enum birth_how how, const char *command, size_t command_len)
{
	return tracer_follow(session->tracer, pid, how, command, command_len);
}

void session_unfollow(struct session *session, uint32_t process)
{
	tracer_unfollow(session->tracer, process);
}

int session_follow_machine(struct session *session)
{
	return tracer_follow_machine(session->tracer);
}

void session_prepare(struct session *session, const char *path)
{
	tracer_prepare(session->tracer, path);
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
		struct event event = {.process = object->process, .time_ns = loop_now_ns(), .kind = EVENT_UNSURE};
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

/* What was lost can be read out of the process's memory; what cannot (counters, peaks) starts anew. */
static void rebuild_lossy(void *context)
{
	struct session *session = context;
	uint32_t *lossy = session->lossy;
	size_t count = session->lossy_count;

	/* A loss while they are rebuilt is noted again, in a new list. */
	session->lossy = NULL;
	session->lossy_count = session->lossy_capacity = 0;
	loop_timer_clear(session->loop, &session->rebuild);
	for (size_t i = 0; i < count; i++)
		tracer_restart(session->tracer, lossy[i]);
	free(lossy);
	session->restarted_ns = loop_now_ns();
	if (session->lossy_count)
		loop_timer_set(session->loop, &session->rebuild, session->restarted_ns + RESTART_NS);
}

/* ---- outputs ---- */

struct loop *session_loop(struct session *session)
{
	return session->loop;
}

struct model *session_model(const struct session *session)
{
	return session->model;
}

void session_settle(struct session *session)
{
	tracer_sync(session->tracer);
	/* Who asks a service may be anybody, as often as they like: no more rebuilds for that. */
	if (!session->options->service || loop_now_ns() >= session->restarted_ns + RESTART_NS)
		rebuild_lossy(session);
	watch_held(session);
}

void session_cost(const struct session *session, struct tracer_cost *out)
{
	tracer_cost(session->tracer, out);
}

void session_listen(struct session *session, model_listener listener, void *context)
{
	model_set_listener(session->model, listener, context);
}

bool session_end_is_pending(void)
{
	sigset_t pending;

	return !sigpending(&pending) &&
	       (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) || sigismember(&pending, SIGQUIT));
}

void session_when_busy(struct session *session, bool (*busy)(void *context), void *context)
{
	session->busy = busy;
	session->busy_context = context;
}

int session_snapshot(struct session *session, int fd)
{
	struct snapshot *snapshot;
	int err;

	session_settle(session);
	/* The books beside it, as they are now. */
	verify_run(session->verify, session->tracer, session->model);
	snapshot = model_snapshot(session->model, loop_now_ns());
	if (!snapshot) {
		log_error("out of memory: no snapshot");
		return -ENOMEM;
	}
	err = report_snapshot(session->report, snapshot, fd);
	snapshot_free(snapshot);
	return err;
}

static void repeat_table(void *context)
{
	struct session *session = context;
	uint64_t now = loop_now_ns(), every = session->options->interval_ns;
	struct snapshot *snapshot = model_snapshot(session->model, now);

	if (snapshot)
		report_interval(session->report, snapshot);
	snapshot_free(snapshot);
	session->next_table_ns += (1 + (now - session->next_table_ns) / every) * every;
	loop_timer_set(session->loop, &session->interval, session->next_table_ns);
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

enum cmd_exit session_finish(struct session *session)
{
	enum cmd_exit status = CMD_EXIT_DONE;
	struct snapshot *snapshot;
	char why[256];

	tracer_sync(session->tracer);
	tracer_let_go(session->tracer);
	rebuild_lossy(session);
	if (tracer_process_count(session->tracer))
		verify_run(session->verify, session->tracer, session->model);
	say_verified(session);
	snapshot = model_snapshot(session->model, loop_now_ns());
	if (!snapshot) {
		log_error("out of memory: no report");
		return CMD_EXIT_FAILED;
	}
	if (report_final(session->report, snapshot))
		status = CMD_EXIT_FAILED;
	if (!gate_holds(&session->options->gate, snapshot, why, sizeof(why))) {
		log_error("%s", why);
		status = CMD_EXIT_GATE;
	}
	snapshot_free(snapshot);
	return status;
}

/* ---- the loop ---- */

static void read_signals(void *context, uint32_t events)
{
	struct session *session = context;
	const struct session_callbacks *callbacks = session->callbacks;
	struct signalfd_siginfo info;

	(void)events;
	while (read(session->signals.fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGUSR1 && session->report)
			session_snapshot(session, -1);
		else if (callbacks->signal)
			callbacks->signal(callbacks->context, session, &info);
	}
}

static void verify_now(void *context)
{
	struct session *session = context;

	verify_run(session->verify, session->tracer, session->model);
	loop_timer_set(session->loop, &session->verification, loop_now_ns() + session->options->verify_ns);
}

static void on_readable(void *context, uint32_t events)
{
	struct session *session = context;

	(void)events;
	session->callbacks->readable(session->callbacks->context, session);
}

int session_watch(struct session *session, int fd)
{
	int err;

	session->watched = (struct loop_watch){.fd = fd, .ready = on_readable, .context = session};
	err = loop_add(session->loop, &session->watched, EPOLLIN);
	if (err)
		log_error("epoll: %s", strerror(-err));
	return err;
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

static int open_loop(struct session *session)
{
	int err;

	session->loop = loop_new();
	session->signals.fd = open_signals();
	if (!session->loop || session->signals.fd < 0) {
		err = session->loop ? session->signals.fd : -ENOMEM;
		log_error("cannot begin: %s", strerror(-err));
		return err;
	}
	session->signals.ready = read_signals;
	session->interval.expired = repeat_table;
	session->verification.expired = verify_now;
	session->rebuild.expired = rebuild_lossy;
	session->signals.context = session;
	session->interval.context = session->verification.context = session->rebuild.context = session;
	err = loop_add(session->loop, &session->signals, EPOLLIN);
	if (err)
		log_error("epoll: %s", strerror(-err));
	return err;
}

static bool on_busy(void *context)
{
	struct session *session = context;

	return !session->busy || session->busy(session->busy_context);
}

static int open_tracer(struct session *session)
{
	struct tracer_options options = {.ring_bytes = session->options->ring_bytes,
					 .follow_children = session->options->follow,
					 .perf_links = session->options->perf_links,
					 .lossless = session->options->lossless};
	struct tracer_callbacks callbacks = {.event = on_event,
					     .inexact = on_inexact,
					     .busy = on_busy,
					     .context = session};
	int err;

	err = tracer_open(&options, &callbacks, &session->tracer);
	if (err)
		return err;
	/* It is dispatched in every round: a record is only what ends the waiting. */
	session->source.fd = tracer_fd(session->tracer);
	err = loop_add(session->loop, &session->source, EPOLLIN);
	if (err)
		log_error("epoll: %s", strerror(-err));
	return err;
}

int session_open(const struct options *options, const int *fds, struct session **out)
{
	struct model_options model_options = {.keep_ended = !options->service,
					      .max_unmatched_frees = MAX_UNMATCHED_FREES};
	struct session *session = calloc(1, sizeof(*session));
	int err;

	if (!session) {
		log_error("out of memory");
		return -ENOMEM;
	}
	session->options = options;
	session->signals.fd = -1;
	err = open_loop(session);
	if (err)
		goto fail;
	session->model = model_new(&model_options);
	session->verify = verify_new();
	if (!session->model || !session->verify) {
		err = -ENOMEM;
		log_error("out of memory");
		goto fail;
	}
	if (!options->service) {
		err = fds ? report_open_fds(options, fds[0], fds[1], &session->report)
			  : report_open(options, &session->report);
		if (err)
			goto fail;
		model_set_listener(session->model, on_notice, session);
	}
	err = open_tracer(session);
	if (err)
		goto fail;
	session->next_table_ns = loop_now_ns() + options->interval_ns;
	if (options->interval_ns)
		loop_timer_set(session->loop, &session->interval, session->next_table_ns);
	if (options->verify_ns)
		loop_timer_set(session->loop, &session->verification, loop_now_ns() + options->verify_ns);
	*out = session;
	return 0;
fail:
	session_close(session);
	return err;
}

void session_run(struct session *session, const struct session_callbacks *callbacks)
{
	int err;

	session->callbacks = callbacks;
	do {
		err = loop_round(session->loop, tracer_timeout_ms(session->tracer));
		if (err) {
			log_error("epoll: %s", strerror(-err));
			return;
		}
		tracer_dispatch(session->tracer);
		watch_held(session);
		if (session->report)
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
	if (session->signals.fd >= 0)
		close(session->signals.fd);
	loop_free(session->loop);
	free(session);
}
