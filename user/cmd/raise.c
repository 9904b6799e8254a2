/* SPDX-License-Identifier: BSD-2-Clause */
/* The user's side of a raised run, and the messages of both sides. Holds no privilege itself. */
#include "cmd/raise.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "cmd/cmd.h"
#include "cmd/launch.h"
#include "cmd/linked.h"
#include "cmd/options.h"
#include "cmd/output.h"
#include "source/privilege.h"

bool raise_needed(void)
{
	/*
	 * Who has been given some of them is not to be asked for a password: what is missing is named then.
	 */
	return geteuid() && privilege_missing(PRIVILEGE_TRACE) == PRIVILEGE_TRACE;
}

int raise_send(int socket, enum raise_message message, const int *fds, int count)
{
	char byte = (char)message, control[CMSG_SPACE(RAISE_MAX_FDS * sizeof(int))] = {0};
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1};
	struct cmsghdr *cmsg;

	if (count) {
		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, (size_t)count * sizeof(int));
	}
	return sendmsg(socket, &header, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int raise_receive(int socket, enum raise_message *message, int fds[RAISE_MAX_FDS])
{
	char byte = 0, control[CMSG_SPACE(RAISE_MAX_FDS * sizeof(int))];
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr header = {.msg_iov = &data,
				.msg_iovlen = 1,
				.msg_control = control,
				.msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;
	ssize_t n;

	for (int i = 0; i < RAISE_MAX_FDS; i++)
		fds[i] = -1;
	while ((n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (n <= 0)
		return n ? -errno : -EPIPE;
	*message = (enum raise_message)byte;
	cmsg = CMSG_FIRSTHDR(&header);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(cmsg), cmsg->cmsg_len - CMSG_LEN(0));
	return 0;
}

struct raised {
	const struct options *options;
	struct launch launch;
	pid_t sudo;
	int socket, signal_fd;
	bool ready, tracer_gone, ended;
	bool stop; /* the command is not waited for any longer */
	int status;
	unsigned int snapshots, terminations;
};

/* A growing argument list. */
struct arguments {
	char **argv;
	size_t count, capacity;
};

static void push(struct arguments *arguments, const char *format, ...)
{
	size_t capacity = arguments->capacity ? 2 * arguments->capacity : 64;
	va_list ap;

	if (arguments->count + 1 >= arguments->capacity) {
		arguments->argv = realloc(arguments->argv, capacity * sizeof(char *));
		if (!arguments->argv)
			_exit(CMD_EXIT_NOT_STARTED);
		arguments->capacity = capacity;
	}
	va_start(ap, format);
	if (vasprintf(&arguments->argv[arguments->count++], format, ap) < 0)
		_exit(CMD_EXIT_NOT_STARTED);
	va_end(ap);
	arguments->argv[arguments->count] = NULL;
}

static void push_library(void *context, const char *path)
{
	push(context, "--prepare=%s", path);
}

/*
 * The tracer's command line, in the child that becomes it: the same options. Files are opened here, so
 * only what decides their format is left of their names; their descriptors go through the socket.
 */
static void exec_tracer(const struct options *options, pid_t pid)
{
	struct arguments all = {0};
	char exe[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (len < 0)
		_exit(CMD_EXIT_NOT_STARTED);
	exe[len] = 0;
	push(&all, "sudo");
	push(&all, "--");
	push(&all, "%s", exe);
	push(&all, "run");
	push(&all, "--adopt=%d", pid);
	push(&all, "--format=%s", options->format == FORMAT_JSON ? "json" : "text");
	push(&all, "--output=adopted");
	if (options->events)
		push(&all, "--events=adopted%s", options->events_json ? ".ndjson" : "");
	if (options->buffers == OPTIONS_ALL_BUFFERS)
		push(&all, "--buffers=all");
	else
		push(&all, "--buffers=%u", options->buffers);
	if (options->interval_ns)
		push(&all, "--interval=%llums", (unsigned long long)options->interval_ns / 1000000);
	if (options->ring_bytes)
		push(&all, "--ring-size=%zu", options->ring_bytes);
	if (options->quiet)
		push(&all, "--quiet");
	if (options->verbose)
		push(&all, "--verbose");
	if (!options->follow)
		push(&all, "--no-follow");
	if (!options->wait)
		push(&all, "--no-wait");
	if (options->perf_links)
		push(&all, "--perf-links");
	if (options->lossless)
		push(&all, "--lossless");
	if (!options->color)
		push(&all, "--no-color");
	if (options->gate.if_any)
		push(&all, "--fail-if-any");
	if (options->gate.has_above)
		push(&all, "--fail-above=%llu", (unsigned long long)options->gate.above_bytes);
	linked_visit(options->command[0], NULL, push_library, &all);
	push(&all, "--");
	for (size_t i = 0; i < options->command_count; i++)
		push(&all, "%s", options->command[i]);
	execvp("sudo", all.argv);
	log_error("tracing needs root, and sudo cannot be run: %s", strerror(errno));
	_exit(CMD_EXIT_NOT_STARTED);
}

static int start_tracer(struct raised *raised)
{
	int sockets[2], fds[RAISE_MAX_FDS] = {-1, -1}, count = 1, err;
	sigset_t none;

	fds[0] = output_open(raised->options->output);
	if (fds[0] < 0)
		return fds[0];
	if (raised->options->events) {
		fds[1] = output_open(raised->options->events);
		if (fds[1] < 0) {
			err = fds[1];
			goto out;
		}
		count = 2;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets)) {
		err = -errno;
		goto out;
	}
	raised->sudo = fork();
	if (raised->sudo == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(sockets[1], STDIN_FILENO);
		exec_tracer(raised->options, raised->launch.pid);
	}
	close(sockets[1]);
	raised->socket = sockets[0];
	err = raised->sudo < 0 ? -errno : raise_send(raised->socket, RAISE_OUTPUTS, fds, count);
out:
	for (int i = 0; i < RAISE_MAX_FDS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	return err;
}

static void snapshot(struct raised *raised)
{
	struct strbuf path = STRBUF_INIT;
	int fd = -1;

	/* Numbered files lie beside the report's, and are the user's; on a terminal there is no file. */
	if (raised->options->output && strcmp(raised->options->output, "-")) {
		strbuf_addf(&path, "%s.%u", raised->options->output, ++raised->snapshots);
		fd = output_open(strbuf_str(&path));
	}
	if (fd >= 0 || !raised->options->output || !strcmp(raised->options->output, "-"))
		raise_send(raised->socket, RAISE_SNAPSHOT, &fd, fd >= 0);
	if (fd >= 0)
		close(fd);
	strbuf_fini(&path);
}

static void reap(struct raised *raised)
{
	int status;

	if (!raised->ended && waitpid(raised->launch.pid, &status, WNOHANG) == raised->launch.pid) {
		raised->ended = true;
		raised->status = status;
	}
}

/* As in run.c: the first is meant for the command; another one, or one after its end, for us. */
static void terminate(struct raised *raised, int signal)
{
	if (!raised->ended && !raised->terminations++) {
		kill(raised->launch.pid, signal);
		return;
	}
	/* The tracer reads the end of file, reports and goes. */
	raised->stop = true;
	shutdown(raised->socket, SHUT_WR);
}

static void on_signals(struct raised *raised)
{
	struct signalfd_siginfo info;

	while (read(raised->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			snapshot(raised);
		else if (info.ssi_signo == SIGCHLD)
			reap(raised);
		else if (info.ssi_code <= 0 && raised->ready)
			terminate(raised, (int)info.ssi_signo);
	}
}

/* The tracer says that it is ready, or goes. */
static void on_message(struct raised *raised)
{
	int fds[RAISE_MAX_FDS], err;
	enum raise_message message;

	if (raise_receive(raised->socket, &message, fds)) {
		raised->tracer_gone = true;
		return;
	}
	if (message != RAISE_READY || raised->ready)
		return;
	raised->ready = true;
	err = launch_go(&raised->launch);
	if (err)
		launch_explain(raised->options->command[0], err);
}

static void loop(struct raised *raised)
{
	struct pollfd fds[2] = {{.fd = raised->socket, .events = POLLIN}, {.fd = raised->signal_fd, .events = POLLIN}};

	/* The report is complete when the tracer has gone; the status is there when the command has. */
	while (!raised->tracer_gone || (raised->ready && !raised->ended && !raised->stop)) {
		fds[0].fd = raised->tracer_gone ? -1 : raised->socket;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents)
			on_signals(raised);
		if (fds[0].revents && raised->socket >= 0)
			on_message(raised);
		reap(raised);
	}
}

static void block_signals(struct raised *raised)
{
	const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGCHLD};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raised->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* It was sudo that failed: the tracer says itself why it cannot start, and ends with 125. */
static bool tracer_not_started(int status)
{
	return !WIFEXITED(status) || WEXITSTATUS(status) != CMD_EXIT_NOT_STARTED;
}

int raise_run(const struct options *options)
{
	struct raised raised = {.options = options, .socket = -1};
	int status = CMD_EXIT_NOT_STARTED, ended;

	if (options->run_as) {
		log_error("--run-as is for root: without it the command runs as you");
		return CMD_EXIT_NOT_STARTED;
	}
	if (launch_start(options->command, NULL, &raised.launch))
		return CMD_EXIT_NOT_STARTED;
	block_signals(&raised);
	if (raised.signal_fd < 0 || start_tracer(&raised)) {
		launch_cancel(&raised.launch);
		goto out;
	}
	loop(&raised);
	if (!raised.ready)
		launch_cancel(&raised.launch);
	else if (raised.ended)
		status = WIFSIGNALED(raised.status) ? 128 + WTERMSIG(raised.status) : WEXITSTATUS(raised.status);
	else if (raised.stop)
		status = CMD_EXIT_DONE;
	if (waitpid(raised.sudo, &ended, 0) == raised.sudo) {
		if (!raised.ready && tracer_not_started(ended))
			log_error("tracing needs root, and sudo did not give it: the command was not started");
		/* It judged and said so; sudo passes its status on. */
		if (raised.ready && WIFEXITED(ended) && WEXITSTATUS(ended) == CMD_EXIT_GATE)
			status = CMD_EXIT_GATE;
	}
	if (raised.stop && !raised.ended)
		log_info("not waiting any longer; the command goes on as process %d", raised.launch.pid);
out:
	if (raised.socket >= 0)
		close(raised.socket);
	if (raised.signal_fd >= 0)
		close(raised.signal_fd);
	return status;
}
