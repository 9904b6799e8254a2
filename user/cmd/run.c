/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope run: start a command, watch it and its descendants, pass on its exit status. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "cmd/cmd.h"
#include "cmd/confine.h"
#include "cmd/follow.h"
#include "cmd/launch.h"
#include "cmd/linked.h"
#include "cmd/options.h"
#include "cmd/raise.h"
#include "cmd/session.h"

struct run {
	const struct options *options;
	pid_t pid;
	bool ended; /* the command */
	int status; /* of wait(2), once ended */
	unsigned int terminations;
	bool stop;
};

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void prepare(void *context, const char *path)
{
	session_prepare(context, path);
}

static bool done(void *context, struct session *session)
{
	const struct run *run = context;

	return run->stop || (run->ended && (!run->options->wait || !session_process_count(session)));
}

static void reap(struct run *run)
{
	int status;

	while (waitpid(run->pid, &status, WNOHANG) == run->pid) {
		run->ended = true;
		run->status = status;
	}
}

static void on_signal(void *context, struct session *session, const struct signalfd_siginfo *info)
{
	struct run *run = context;

	(void)session;
	if (info->ssi_signo == SIGCHLD) {
		if (!run->ended)
			reap(run);
		return;
	}
	/* What the terminal sent, the command got as well. */
	if ((info->ssi_signo == SIGINT || info->ssi_signo == SIGQUIT) && info->ssi_code > 0)
		return;
	/* What was sent to us alone is meant for the command; sent again, or after its end, for us. */
	if (run->ended || run->terminations++)
		run->stop = true;
	else
		kill(run->pid, (int)info->ssi_signo);
}

static void join_command(const struct options *options, struct strbuf *out)
{
	for (size_t i = 0; i < options->command_count; i++)
		strbuf_add(out, options->command[i], strlen(options->command[i]) + 1);
}

/*
 * The tracer's side of a raised run: the command is a waiting child of the user's side, which also
 * opened the outputs and passes on the exit status.
 */
static bool adopted_done(void *context, struct session *session)
{
	const struct run *run = context;

	if (run->stop || !session_process_count(session))
		return true;
	return !run->options->wait && !session_follows(session, run->pid);
}

static void adopted_signal(void *context, struct session *session, const struct signalfd_siginfo *info)
{
	struct run *run = context;

	(void)session;
	/* Ctrl-C is for the command; what is sent to us alone ends the tracing, and the command goes on. */
	if (info->ssi_signo != SIGCHLD && info->ssi_code <= 0)
		run->stop = true;
}

static void adopted_message(void *context, struct session *session)
{
	int fds[RAISE_MAX_FDS];
	enum raise_message message;
	struct run *run = context;

	if (raise_receive(STDIN_FILENO, &message, fds)) {
		run->stop = true;
		return;
	}
	if (message == RAISE_SNAPSHOT)
		session_snapshot(session, fds[0]);
	for (int i = 0; i < RAISE_MAX_FDS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

static int adopt_and_trace(const struct options *options)
{
	struct run run = {.options = options, .pid = options->adopt};
	struct session_callbacks callbacks = {.done = adopted_done,
					      .signal = adopted_signal,
					      .readable = adopted_message,
					      .context = &run};
	struct strbuf command = STRBUF_INIT;
	struct session *session = NULL;
	enum raise_message message;
	int fds[RAISE_MAX_FDS], err, status = CMD_EXIT_NOT_STARTED;

	if (raise_receive(STDIN_FILENO, &message, fds) || message != RAISE_OUTPUTS || fds[0] < 0) {
		log_error("--adopt is for bufscope's own use");
		return CMD_EXIT_NOT_STARTED;
	}
	join_command(options, &command);
	if (session_open(options, fds, &session))
		goto out;
	err = session_follow(session, run.pid, BIRTH_LAUNCH, strbuf_str(&command), command.len);
	if (err) {
		log_error("cannot follow the command: %s", strerror(-err));
		goto out;
	}
	if (confine(options, CONFINE_TRACER))
		goto out;
	for (size_t i = 0; i < options->prepare_count; i++)
		session_prepare(session, options->prepare[i]);
	if (session_watch(session, STDIN_FILENO))
		goto out;
	if (raise_send(STDIN_FILENO, RAISE_READY, NULL, 0))
		goto out;
	session_run(session, &callbacks);
	/* A command that could not be executed has nothing to report; the user's side says why. */
	status = session_executed(session) ? session_finish(session) : CMD_EXIT_DONE;
out:
	session_close(session);
	strbuf_fini(&command);
	return status;
}

static int run_and_trace(const struct options *options)
{
	struct run run = {.options = options};
	struct session_callbacks callbacks = {.done = done, .signal = on_signal, .context = &run};
	struct strbuf command = STRBUF_INIT;
	struct session *session = NULL;
	struct launch launch;
	int err, status = CMD_EXIT_NOT_STARTED;

	if (launch_start(options->command, options->run_as, &launch))
		return CMD_EXIT_NOT_STARTED;
	run.pid = launch.pid;
	join_command(options, &command);
	if (session_open(options, NULL, &session)) {
		launch_cancel(&launch);
		goto out;
	}
	linked_visit(options->command[0], options->run_as, prepare, session);
	err = session_follow(session, launch.pid, BIRTH_LAUNCH, strbuf_str(&command), command.len);
	if (err) {
		log_error("cannot follow the command: %s", strerror(-err));
		launch_cancel(&launch);
		goto out;
	}
	/* After all that is executed here: the command, and its loader that was asked for libraries. */
	if (confine(options, CONFINE_TRACER)) {
		launch_cancel(&launch);
		goto out;
	}
	err = launch_go(&launch);
	if (err) {
		launch_explain(options->command[0], err);
		waitpid(launch.pid, &run.status, 0);
		status = exit_status(run.status);
		goto out;
	}
	session_run(session, &callbacks);
	if (!run.ended)
		reap(&run);
	if (!run.ended)
		log_info("not waiting any longer; the command goes on as process %d", launch.pid);
	/* A report that could not be written is said, and the command's own status stays. */
	if (session_finish(session) == CMD_EXIT_GATE)
		status = CMD_EXIT_GATE;
	else
		status = run.ended ? exit_status(run.status) : CMD_EXIT_DONE;
out:
	session_close(session);
	strbuf_fini(&command);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct options options;
	int status;

	options_parse_run(argc, argv, &options);
	log_set_level(options.verbose ? LOG_LEVEL_DEBUG : options.quiet ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO);
	if (options.adopt)
		return adopt_and_trace(&options);
	if (!raise_needed())
		return run_and_trace(&options);
	return follow_run(&options, &status) ? status : raise_run(&options);
}
