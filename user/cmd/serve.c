/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope serve: the whole machine is watched, and who asks at the control socket is answered. */
#include <argp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/units.h"
#include "cmd/answer.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/confine.h"
#include "cmd/followers.h"
#include "cmd/marks.h"
#include "cmd/options.h"
#include "cmd/raise.h"
#include "cmd/serve_metrics.h"
#include "cmd/session.h"
#include "server/control.h"
#include "server/metrics.h"
#include "server/notify.h"

#define GROUP   "bufscope"
#define BUSY_NS 1000000000u /* between signs of life */

struct serve {
	struct session *session;
	struct control *control;
	struct followers *followers;
	struct serve_metrics *metrics;
	struct marks marks;
	int notify_fd;
	uint64_t watchdog_ns; /* 0: the service manager does not wait for a sign of life */
	struct loop_timer watchdog;
	uint64_t alive_ns; /* when a sign of life was given during a long look at a process */
	bool ready, stop;
};

struct serve_options {
	struct options options;
	const char *socket;
	const char *metrics; /* address, NULL: none */
};

/* ---- the session's events ---- */

static bool done(void *context, struct session *session)
{
	const struct serve *serve = context;

	(void)session;
	return serve->stop;
}

static void on_signal(void *context, struct session *session, const struct signalfd_siginfo *info)
{
	struct serve *serve = context;

	(void)session;
	if (info->ssi_signo == SIGCHLD)
		control_reap(serve->control);
	else if (info->ssi_signo != SIGUSR1 && info->ssi_signo != SIGHUP)
		serve->stop = true;
}

static void on_event(void *context, const struct event *event)
{
	struct serve *serve = context;

	followers_event(serve->followers, event);
}

/* ---- requests ---- */

static enum control_taken take(void *context, struct control_request *request, struct control_answer *out)
{
	struct serve *serve = context;

	return followers_take(serve->followers, request, out);
}

static void closed(void *context, struct control_request *request)
{
	struct serve *serve = context;

	followers_closed(serve->followers, request);
}

/* A program that frees and then asks sees its own frees. */
static int begin(void *context, struct control_request *request)
{
	struct serve *serve = context;

	session_settle(serve->session);
	return answer_begin(request);
}

static void answer(void *context, const struct control_request *request, struct control_answer *out)
{
	struct serve *serve = context;
	struct answer_source source = {.model = session_model(serve->session),
				       .metrics = serve->metrics,
				       .marks = &serve->marks};

	answer_request(&source, request, out);
}

static void finish(void *context, struct control_request *request, struct control_answer *out)
{
	struct serve *serve = context;

	answer_finish(&serve->marks, request, out);
}

/* ---- the command ---- */

/* A service that hangs is ended and started anew by its manager: all that lives is found again. */
static void on_watchdog(void *context)
{
	struct serve *serve = context;

	notify_manager(serve->notify_fd, "WATCHDOG=1");
	loop_timer_set(session_loop(serve->session), &serve->watchdog, loop_now_ns() + serve->watchdog_ns);
}

/* To look through a process of hundreds of GiB takes longer than the manager waits. */
static bool on_busy(void *context)
{
	struct serve *serve = context;
	uint64_t now = loop_now_ns();

	if (now - serve->alive_ns >= BUSY_NS) {
		serve->alive_ns = now;
		notify_manager(serve->notify_fd, serve->ready ? "WATCHDOG=1" : "EXTEND_TIMEOUT_USEC=60000000");
	}
	return !session_end_is_pending();
}

static int serve(const struct serve_options *options)
{
	struct serve serve = {0};
	struct session_callbacks session_callbacks = {.done = done,
						      .signal = on_signal,
						      .event = on_event,
						      .context = &serve};
	struct control_callbacks callbacks = {
		.take = take, .closed = closed, .begin = begin, .answer = answer, .finish = finish, .context = &serve};
	uint32_t group = peer_group(GROUP);
	int status = CMD_EXIT_FAILED;

	serve.notify_fd = notify_open();
	serve.watchdog_ns = notify_watchdog_ns();
	serve.watchdog = (struct loop_timer){.expired = on_watchdog, .context = &serve};
	if (session_open(&options->options, NULL, &serve.session))
		goto out;
	session_when_busy(serve.session, on_busy, &serve);
	/* Before anything is attached: a second service is to end at once and without a trace. */
	if (control_open(session_loop(serve.session), client_socket(options->socket), group, &callbacks,
			 &serve.control))
		goto out;
	serve.followers = followers_new(serve.session, serve.control);
	if (!serve.followers) {
		log_error("out of memory");
		goto out;
	}
	if (group == PEER_NO_GROUP)
		log_info("there is no group \"" GROUP "\": only root sees the processes of others");
	if (serve_metrics_open(serve.session, options->metrics, &serve.metrics))
		goto out;
	if (confine(&options->options, CONFINE_SERVICE) || session_follow_machine(serve.session))
		goto out;
	log_info("serving at %s: %zu processes use a device runtime now", client_socket(options->socket),
		 session_process_count(serve.session));
	notify_manager(serve.notify_fd, "READY=1");
	serve.ready = true;
	if (serve.watchdog_ns)
		on_watchdog(&serve);
	session_run(serve.session, &session_callbacks);
	notify_manager(serve.notify_fd, "STOPPING=1");
	if (serve.stop)
		status = CMD_EXIT_DONE;
out:
	control_close(serve.control);
	followers_free(serve.followers);
	serve_metrics_close(serve.metrics);
	marks_fini(&serve.marks);
	session_close(serve.session);
	if (serve.notify_fd >= 0)
		close(serve.notify_fd);
	return status;
}

enum { KEY_SOCKET = 0x200, KEY_METRICS, KEY_RING_SIZE, KEY_PERF_LINKS };

static const struct argp_option argp_options[] = {
	{"socket", KEY_SOCKET, "PATH", 0, "Answer there (default /run/bufscope/control, or BUFSCOPE_SOCKET)", 1},
	{"metrics", KEY_METRICS, "ADDRESS", 0,
	 "Metrics for Prometheus at http://ADDRESS/metrics: HOST:PORT, or PORT on the loopback. Who reaches it sees the "
	 "processes of all users",
	 1},
	{"ring-size", KEY_RING_SIZE, "SIZE", 0, "Size of the event buffer, a power of two (default 64M)", 2},
	{"perf-links", KEY_PERF_LINKS, NULL, 0, "Attach by perf events, also where the kernel has uprobe_multi", 2},
	{"quiet", 'q', NULL, 0, "Print nothing but errors", 2},
	{"verbose", 'v', NULL, 0, "Say what is done and why", 2},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct serve_options *options = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		options_quiet_argp(state);
		return 0;
	case KEY_SOCKET:
		options->socket = arg;
		return 0;
	case KEY_METRICS:
		if (!metrics_is_address(arg))
			options_error(state, "\"%s\" is no address for metrics: PORT, HOST:PORT or [HOST]:PORT", arg);
		options->metrics = arg;
		return 0;
	case KEY_RING_SIZE:
		options->options.ring_bytes = options_ring_size(arg, state);
		return 0;
	case KEY_PERF_LINKS:
		options->options.perf_links = true;
		return 0;
	case 'q':
		options->options.quiet = true;
		return 0;
	case 'v':
		options->options.verbose = true;
		return 0;
	case ARGP_KEY_ARG:
		options_error(state, "unexpected argument \"%s\"", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_serve(int argc, char **argv)
{
	static const struct argp argp = {
		.options = argp_options,
		.parser = parse,
		.doc = "Watches every process of the machine that uses a device, those that run already and those to come, "
		       "and answers \"bufscope dump\", \"ps\", \"mark\", \"diff\", \"watch\" and \"top\".\v"
		       "Anyone may ask. A user sees their own processes; root and members of the group \"" GROUP
		       "\" see all. SIGTERM or Ctrl-C ends it; the programs that are watched go on untouched.",
	};
	struct serve_options options = {.options = {.service = true, .follow = true}};

	argv[0] = (char *)"bufscope serve";
	argp_err_exit_status = CMD_EXIT_USAGE;
	options_parse(&argp, argc, argv, 0, &options);
	log_set_level(options.options.verbose ? LOG_LEVEL_DEBUG
		      : options.options.quiet ? LOG_LEVEL_ERROR
					      : LOG_LEVEL_INFO);
	if (raise_needed()) {
		log_error("only root can watch all processes: sudo bufscope serve");
		return CMD_EXIT_FAILED;
	}
	return serve(&options);
}
