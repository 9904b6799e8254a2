/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope attach: watch processes that already run. */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "cmd/cmd.h"
#include "cmd/confine.h"
#include "cmd/follow.h"
#include "cmd/options.h"
#include "cmd/raise.h"
#include "cmd/session.h"
#include "source/privilege.h"
#include "source/procfs.h"

struct attach {
	bool all;
	bool stop;
};

static bool done(void *context, struct session *session)
{
	const struct attach *attach = context;

	return attach->stop || (!attach->all && !session_process_count(session));
}

static void on_signal(void *context, struct session *session, const struct signalfd_siginfo *info)
{
	struct attach *attach = context;

	(void)session;
	if (info->ssi_signo == SIGCHLD)
		return;
	attach->stop = true;
	/* The terminal has shown "^C" at the start of the line where the report will begin. */
	if (info->ssi_code > 0 && isatty(STDERR_FILENO))
		fputc('\n', stderr);
}

static void explain(const char *whom, int err)
{
	if (err == -ESRCH)
		log_error("cannot attach to %s: no such process", whom);
	else if (err == -EINVAL)
		log_error("cannot attach to %s: a kernel thread has no device buffers", whom);
	else if (err == -ENOSPC)
		log_error("cannot attach to %s: too many processes are followed", whom);
	else
		privilege_log(err, PRIVILEGE_OTHERS, "cannot attach to %s", whom);
}

/* The name a person knows a process by: of its program file, as its command line gives it. */
static bool name_matches(pid_t pid, const char *pattern)
{
	struct strbuf command = STRBUF_INIT;
	const char *name;
	bool matches;

	if (procfs_command(pid, &command) || !command.len) {
		strbuf_fini(&command);
		return false;
	}
	name = strrchr(command.data, '/');
	matches = !fnmatch(pattern, name ? name + 1 : command.data, 0);
	strbuf_fini(&command);
	return matches;
}

/* 0 when at least one is followed, -ESRCH when there is none of that name, else why the last one could not be. */
static int follow_by_name(struct session *session, const char *pattern)
{
	struct dirent *entry;
	int err, result = -ESRCH;
	pid_t pid;
	DIR *dir;

	dir = opendir("/proc");
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		pid = atoi(entry->d_name);
		if (pid <= 0 || pid == getpid() || !name_matches(pid, pattern))
			continue;
		err = session_follow(session, pid, BIRTH_ATTACH, NULL, 0);
		/* One that has just ended is none of that name. */
		if (!err || (result && err != -ESRCH))
			result = err;
	}
	closedir(dir);
	return result;
}

/* Named processes must all be there; a pattern must match one; of all processes none need be there. */
static int follow_all(struct session *session, const struct options *options)
{
	char whom[256];
	int err;

	if (options->all)
		return session_follow_machine(session);
	for (size_t i = 0; i < options->pid_count; i++) {
		err = session_follow(session, options->pids[i], BIRTH_ATTACH, NULL, 0);
		if (err) {
			snprintf(whom, sizeof(whom), "process %d", options->pids[i]);
			explain(whom, err);
			return err;
		}
	}
	if (options->name) {
		snprintf(whom, sizeof(whom), "any process named \"%s\"", options->name);
		err = follow_by_name(session, options->name);
		if (err == -ESRCH)
			log_error("no process named \"%s\"", options->name);
		else if (err)
			explain(whom, err);
		return err;
	}
	return 0;
}

/* Ctrl-C ends a long look at a process's memory, too. */
static bool on_busy(void *context)
{
	(void)context;
	return !session_end_is_pending();
}

int cmd_attach(int argc, char **argv)
{
	struct attach attach = {0};
	struct session_callbacks callbacks = {.done = done, .signal = on_signal, .context = &attach};
	struct session *session;
	struct options options;
	int status = CMD_EXIT_FAILED;

	options_parse_attach(argc, argv, &options);
	log_set_level(options.verbose ? LOG_LEVEL_DEBUG : options.quiet ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO);
	if (raise_needed() && follow_attach(&options, &status))
		return status;
	if (session_open(&options, NULL, &session))
		return CMD_EXIT_FAILED;
	attach.all = options.all;
	session_when_busy(session, on_busy, NULL);
	if (confine(&options, CONFINE_TRACER) || follow_all(session, &options))
		goto out;
	if (options.all)
		log_info("watching all processes: %zu use a device runtime now; Ctrl-C ends and reports",
			 session_process_count(session));
	else if (session_library_seen(session))
		log_info("attached; Ctrl-C ends and reports");
	else
		log_info("no supported device runtime is mapped yet: waiting for one; Ctrl-C ends");
	session_run(session, &callbacks);
	status = session_finish(session);
out:
	session_close(session);
	return status;
}
