/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One tracing session of `run`, `attach` or `serve`: source, model and outputs, and the loop that moves
 * events from the first to the last. The only place where the three meet. A service has no outputs.
 */
#ifndef BUFSCOPE_CMD_SESSION_H
#define BUFSCOPE_CMD_SESSION_H

#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include "cmd/cmd.h"
#include "event.h"
#include "model/model.h"

struct loop;
struct options;
struct session;
struct tracer_cost;

/*
 * Opens the outputs and the tracer. Signals that a session handles are blocked from here on, so that a
 * signal meant for it never ends it half way; a command is forked before or with its own mask.
 * @fds: descriptors of the report and the event stream (-1: none) instead of the options' files; or NULL.
 * 0 or -errno, logged.
 */
int session_open(const struct options *options, const int *fds, struct session **out);

/* As tracer_follow(). Failures are not logged. */
int session_follow(struct session *session, pid_t pid, enum birth_how how, const char *command, size_t command_len);

/* As tracer_unfollow(). */
void session_unfollow(struct session *session, uint32_t process);

/* As tracer_follow_machine(). */
int session_follow_machine(struct session *session);

/* As tracer_prepare(). */
void session_prepare(struct session *session, const char *path);

struct session_callbacks {
	/* Called after each round; true ends session_run(). */
	bool (*done)(void *context, struct session *session);
	/* A signal other than SIGUSR1 arrived. */
	void (*signal)(void *context, struct session *session, const struct signalfd_siginfo *info);
	/* The model has taken in an event. May be NULL. */
	void (*event)(void *context, const struct event *event);
	/* A descriptor of the caller's (session_watch()) is readable. */
	void (*readable)(void *context, struct session *session);
	void *context;
};

/* 0 or -errno, logged. */
int session_watch(struct session *session, int fd);
void session_run(struct session *session, const struct session_callbacks *callbacks);

size_t session_process_count(const struct session *session);
bool session_follows(const struct session *session, pid_t pid);
bool session_library_seen(const struct session *session);
bool session_executed(const struct session *session); /* any followed process called exec */

/* For what else has to be waited for. */
struct loop *session_loop(struct session *session);
/* What is known; session_settle() makes it that of this very moment: all that was recorded is taken in. */
struct model *session_model(const struct session *session);
void session_settle(struct session *session);

void session_cost(const struct session *session, struct tracer_cost *out);
/* For a service, which has no outputs; as model_set_listener(). */
void session_listen(struct session *session, model_listener listener, void *context);

/* As tracer_callbacks.busy. */
void session_when_busy(struct session *session, bool (*busy)(void *context), void *context);
/* A signal that ends us waits to be read: what takes long should not. */
bool session_end_is_pending(void);

/* Writes the snapshot of this moment to the next numbered file, or to @fd if that is not negative. */
int session_snapshot(struct session *session, int fd);

/*
 * Takes in what is left and writes the report. The exit status of what was asked of the session: failed if
 * an output did, CMD_EXIT_GATE if a gate of the options is broken. Logged.
 */
enum cmd_exit session_finish(struct session *session);

/* Detaches. Never makes a user wait. */
void session_close(struct session *session);

#endif
