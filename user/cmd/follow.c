/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's side of following; see follow.h. docs/protocol.md has the requests: follow, wait, report. */
#include "cmd/follow.h"

#include <errno.h>
#include <langinfo.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/launch.h"
#include "cmd/linked.h"
#include "cmd/options.h"
#include "cmd/output.h"
#include "server/protocol.h"
#include "source/library.h"

#define MAX_COMMAND 4096  /* bytes of it in a request, which has a limit */
#define ANSWER_MS   10000 /* for the service to say that it follows */
#define REPORT_MS   60000 /* for the first of a report: it may have to wait for its turn */

struct following {
	const struct options *options;
	const char *path; /* of the socket */
	int socket, signal_fd, output;
	struct launch launch; /* pid 0: of attach, which started nothing */
	bool waiting;         /* the service owes us the word that all have ended */
	bool all_ended;
	bool service_gone;
	bool ended; /* the command; true if there is none */
	bool stop;  /* nothing is waited for any longer */
	int status; /* of wait(2), once ended */
	unsigned int snapshots, terminations;
};

/* ---- requests ---- */

/* 0 or -errno; @options is released. */
static int request(struct following *following, const char *command, json_t *options)
{
	json_t *message = client_new_request(command);

	if (!options || json_object_set_new(message, "options", options)) {
		json_decref(message);
		return -ENOMEM;
	}
	return protocol_send(following->socket, message, -1);
}

static int write_output(void *context, const char *text, size_t len)
{
	const struct following *following = context;
	int err = output_write(following->output, text, len);

	if (err)
		log_error("cannot write the report: %s", strerror(-err));
	return err;
}

/* Once: what was lost is the rest of the report, not the command. */
static void lose_service(struct following *following, int err)
{
	if (following->service_gone)
		return;
	following->service_gone = true;
	if (err == -ETIMEDOUT)
		log_error("the bufscope service at %s does not answer: there will be no report", following->path);
	else if (err == -EPROTO)
		log_error("what answers at %s is no bufscope service: there will be no report", following->path);
	else
		log_error("the bufscope service at %s has ended: there will be no report", following->path);
}

/* Signals wait meanwhile, so a service that hangs must not be waited for. */
static int answer(const struct following *following, client_writer write, void *context, struct client_end *end)
{
	struct pollfd answered = {.fd = following->socket, .events = POLLIN};

	*end = (struct client_end){.exit_status = CMD_EXIT_FAILED};
	if (poll(&answered, 1, REPORT_MS) <= 0)
		return -ETIMEDOUT;
	return client_answer(following->socket, write, context, end);
}

/* The word that all have ended. It also comes when something else was asked meanwhile. */
static void take_word(struct following *following)
{
	struct client_end end;
	int err = answer(following, NULL, NULL, &end);

	following->waiting = false;
	if (err || end.exit_status)
		lose_service(following, err);
}

static void wait_for_all(struct following *following)
{
	int err = request(following, "wait", json_object());

	if (err)
		lose_service(following, err);
	following->waiting = !err;
}

static json_t *report_options(const struct following *following)
{
	const struct options *options = following->options;
	const char *term = getenv("TERM");
	json_t *out =
		json_pack("{s:s, s:I, s:b, s:b}", "format", options->format == FORMAT_JSON ? "json" : "text", "buffers",
			  options->buffers == OPTIONS_ALL_BUFFERS ? (json_int_t)-1 : (json_int_t)options->buffers,
			  "utf8", !strcmp(nl_langinfo(CODESET), "UTF-8"), "fail_if_any", options->gate.if_any);
	struct winsize size;

	if (options->gate.has_above)
		json_object_set_new(out, "fail_above", json_integer((json_int_t)options->gate.above_bytes));
	if (isatty(following->output)) {
		json_object_set_new(out, "colour", json_boolean(options->color && term && strcmp(term, "dumb")));
		if (!ioctl(following->output, TIOCGWINSZ, &size))
			json_object_set_new(out, "width", json_integer(size.ws_col));
	}
	return out;
}

/* Writes what is known at this moment to following->output. An exit status. */
static int report(struct following *following)
{
	struct client_end end;
	int err = 0;

	if (!following->service_gone)
		err = request(following, "report", report_options(following));
	if (!err && following->waiting)
		take_word(following);
	if (following->service_gone || err) {
		lose_service(following, err);
		return CMD_EXIT_FAILED;
	}
	err = answer(following, write_output, following, &end);
	if (err && !end.writer_failed)
		lose_service(following, err);
	if (!err)
		client_say(&end);
	return err ? CMD_EXIT_FAILED : end.exit_status;
}

/* ---- signals ---- */

/* Beside the report, numbered, or where it goes. */
static void snapshot(struct following *following)
{
	const char *output = following->options->output;
	struct options ungated = *following->options;
	const struct options *options = following->options;
	struct strbuf path = STRBUF_INIT;
	int report_fd = following->output, fd = -1;

	if (output && strcmp(output, "-")) {
		strbuf_addf(&path, "%s.%u", output, ++following->snapshots);
		fd = output_open(strbuf_str(&path));
		strbuf_fini(&path);
		if (fd < 0)
			return;
		following->output = fd;
	}
	ungated.gate = (struct gate){0}; /* it is about the end */
	following->options = &ungated;
	report(following);
	following->options = options;
	following->output = report_fd;
	if (fd >= 0)
		close(fd);
	if (!following->service_gone && !following->all_ended)
		wait_for_all(following);
}

/* As in run.c: the first is meant for the command; another one, or one after its end, for us. */
static void terminate(struct following *following, const struct signalfd_siginfo *info)
{
	/* What the terminal sent, the command got as well. */
	if (following->launch.pid && (info->ssi_signo == SIGINT || info->ssi_signo == SIGQUIT) && info->ssi_code > 0)
		return;
	if (!following->ended && !following->terminations++) {
		kill(following->launch.pid, (int)info->ssi_signo);
		return;
	}
	following->stop = true;
	/* The terminal has shown "^C" at the start of the line where the report will begin. */
	if (info->ssi_code > 0 && isatty(STDERR_FILENO))
		fputc('\n', stderr);
}

static void reap(struct following *following)
{
	int status;

	if (!following->ended && waitpid(following->launch.pid, &status, WNOHANG) == following->launch.pid) {
		following->ended = true;
		following->status = status;
	}
}

static void on_signals(struct following *following)
{
	struct signalfd_siginfo info;

	while (read(following->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			snapshot(following);
		else if (info.ssi_signo != SIGCHLD)
			terminate(following, &info);
	}
}

/* ---- the course ---- */

static bool is_over(const struct following *following)
{
	if (following->stop)
		return true;
	if (!following->ended)
		return false;
	return following->all_ended || following->service_gone || (following->launch.pid && !following->options->wait);
}

static void loop(struct following *following)
{
	struct pollfd fds[2] = {{.events = POLLIN}, {.fd = following->signal_fd, .events = POLLIN}};

	while (!is_over(following)) {
		fds[0].fd = following->waiting ? following->socket : -1;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].fd >= 0 && fds[0].revents) {
			take_word(following);
			following->all_ended = !following->service_gone;
		}
		if (fds[1].revents)
			on_signals(following);
		reap(following);
	}
}

/* Why the options ask for more than the service can do; NULL: they do not. */
static const char *beyond(const struct options *options)
{
	if (options->no_service)
		return "--no-service was given";
	if (options->events)
		return "it does not serve --events";
	if (options->interval_ns)
		return "it does not serve --interval";
	if (options->lossless)
		return "it does not serve --lossless";
	if (options->ring_bytes)
		return "it does not serve --ring-size";
	if (options->perf_links)
		return "it does not serve --perf-links";
	if (options->verify_ns)
		return "it does not serve --verify";
	if (!options->follow)
		return "it does not serve --no-follow";
	if (options->run_as)
		return "it does not serve --run-as";
	if (options->name || options->all)
		return "it serves -p alone";
	return NULL;
}

/* False: it was said why, with -v. */
static bool begin(struct following *following, const struct options *options)
{
	const char *why = beyond(options);
	char unreachable[CLIENT_WHY];

	*following = (struct following){.options = options, .output = -1, .signal_fd = -1};
	following->path = client_socket(NULL);
	following->socket =
		why ? -1 : client_connect(following->path, 0, ANSWER_MS / 1000, unreachable, sizeof(unreachable));
	if (following->socket < 0)
		log_debug("not through the service: %s", why ? why : unreachable);
	return following->socket >= 0;
}

/* @pids and @command (or NULL) are released. */
static bool ask_to_follow(struct following *following, json_t *pids, json_t *command, json_t *libraries)
{
	json_t *options = json_pack("{s:o, s:i, s:o*, s:o*}", "pids", pids, "client_pid", getpid(), "arguments",
				    command, "libraries", libraries);
	struct client_end end = {0};
	int err = request(following, "follow", options);
	struct pollfd answered = {.fd = following->socket, .events = POLLIN};

	/* The command waits as well. */
	if (poll(&answered, 1, ANSWER_MS) <= 0)
		err = -ETIMEDOUT;
	/* Who refuses the connection says so and closes: that is still to be read. */
	if (!err || err == -EPIPE || err == -ECONNRESET)
		err = client_answer(following->socket, NULL, NULL, &end);
	if (err || end.exit_status) {
		log_debug("not through the service: %s", err ? strerror(-err) : end.message);
		return false;
	}
	log_debug("through the service at %s", following->path);
	return true;
}

static int block_signals(void)
{
	const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGCHLD};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* A service or a reader that goes away is an error of the write, not our end. */
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void end(struct following *following)
{
	close(following->socket);
	if (following->output >= 0)
		close(following->output);
	if (following->signal_fd >= 0)
		close(following->signal_fd);
}

/* ---- run ---- */

static json_t *command_of(const struct options *options)
{
	json_t *list = json_array();
	size_t bytes = 0;

	for (size_t i = 0; i < options->command_count; i++) {
		bytes += strlen(options->command[i]) + 1;
		if (bytes > MAX_COMMAND)
			break;
		/* What is no UTF-8 is left out: it is read again after exec. */
		json_array_append_new(list, json_string(options->command[i]));
	}
	return list;
}

struct linked {
	struct libraries *libraries;
	json_t *paths;
};

static void add_library(void *context, const char *path)
{
	struct linked *linked = context;
	struct library *library;

	if (!libraries_of_file(linked->libraries, path, &library) && library)
		json_array_append_new(linked->paths, json_string(path));
}

/* A device runtime that the command is linked with: it is to be attached to before the command allocates. */
static json_t *libraries_of(const char *command)
{
	struct linked linked = {.libraries = libraries_new(), .paths = json_array()};

	if (linked.libraries)
		linked_visit(command, NULL, add_library, &linked);
	libraries_free(linked.libraries);
	return linked.paths;
}

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* What the report says counts only where a gate was asked for. */
static int finish_run(struct following *following)
{
	const struct gate *gate = &following->options->gate;
	int said = report(following);

	if (!following->ended)
		log_info("not waiting any longer; the command goes on as process %d", following->launch.pid);
	if ((gate->if_any || gate->has_above) && said == CMD_EXIT_FAILED)
		log_error("%s cannot be confirmed: there is no report",
			  gate->if_any ? "--fail-if-any" : "--fail-above");
	if ((gate->if_any || gate->has_above) && said)
		return CMD_EXIT_GATE;
	return following->ended ? exit_status(following->status) : CMD_EXIT_DONE;
}

bool follow_run(const struct options *options, int *status)
{
	struct following following;
	int err;

	*status = CMD_EXIT_NOT_STARTED;
	if (!begin(&following, options))
		return false;
	if (launch_start(options->command, NULL, &following.launch))
		goto out;
	if (!ask_to_follow(&following, json_pack("[i]", following.launch.pid), command_of(options),
			   libraries_of(options->command[0]))) {
		launch_cancel(&following.launch);
		end(&following);
		return false;
	}
	following.output = output_open(options->output);
	following.signal_fd = block_signals();
	if (following.output < 0 || following.signal_fd < 0) {
		launch_cancel(&following.launch);
		goto out;
	}
	err = launch_go(&following.launch);
	if (err) {
		launch_explain(options->command[0], err);
		waitpid(following.launch.pid, &following.status, 0);
		*status = exit_status(following.status);
		goto out;
	}
	wait_for_all(&following);
	loop(&following);
	*status = finish_run(&following);
out:
	end(&following);
	return true;
}

/* ---- attach ---- */

bool follow_attach(const struct options *options, int *status)
{
	struct following following;
	json_t *pids = json_array();

	*status = CMD_EXIT_FAILED;
	for (size_t i = 0; i < options->pid_count; i++)
		json_array_append_new(pids, json_integer(options->pids[i]));
	if (!begin(&following, options)) {
		json_decref(pids);
		return false;
	}
	if (!ask_to_follow(&following, pids, NULL, NULL)) {
		end(&following);
		return false;
	}
	following.ended = true;
	following.output = output_open(options->output);
	following.signal_fd = block_signals();
	if (following.output >= 0 && following.signal_fd >= 0) {
		log_info("attached, through the service; Ctrl-C ends and reports");
		wait_for_all(&following);
		loop(&following);
		*status = report(&following);
	}
	end(&following);
	return true;
}
