/* SPDX-License-Identifier: BSD-2-Clause */
/* fork, wait, exec. The child owns nothing of ours but two pipe ends. */
#include "cmd/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

int launch_become(const char *name)
{
	const struct passwd *user;

	errno = 0;
	user = getpwnam(name);
	if (!user)
		return errno ? -errno : -ENOENT;
	if (initgroups(user->pw_name, user->pw_gid) || setgid(user->pw_gid) || setuid(user->pw_uid))
		return -errno;
	setenv("HOME", user->pw_dir, 1);
	setenv("USER", user->pw_name, 1);
	setenv("LOGNAME", user->pw_name, 1);
	setenv("SHELL", user->pw_shell, 1);
	return 0;
}

bool launch_find(const char *command, int mode, char path[PATH_MAX])
{
	const char *at = getenv("PATH"), *end;

	if (strchr(command, '/'))
		return snprintf(path, PATH_MAX, "%s", command) < PATH_MAX;
	for (at = at ? at : "/bin:/usr/bin"; *at; at = *end ? end + 1 : end) {
		end = at + strcspn(at, ":");
		if (end == at)
			continue;
		if (snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - at), at, command) < PATH_MAX && !access(path, mode))
			return true;
	}
	return false;
}

static void child(char *const argv[], const char *run_as, int go_fd, int error_fd)
{
	char byte, path[PATH_MAX];
	sigset_t none;
	int err;

	/* End of file: bufscope failed or was killed before it could follow us. */
	if (read(go_fd, &byte, 1) != 1)
		_exit(125);
	close(go_fd);
	/* What bufscope blocked or ignored must not be inherited. */
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	err = run_as ? launch_become(run_as) : 0;
	if (!err) {
		execvp(argv[0], argv);
		err = -errno;
		/* A folder of PATH that may not be searched says EACCES; a shell says "not found" then. */
		if (err == -EACCES && !launch_find(argv[0], F_OK, path))
			err = -ENOENT;
	}
	while (write(error_fd, &err, sizeof(err)) < 0 && errno == EINTR)
		;
	_exit(err == -ENOENT ? 127 : 126);
}

int launch_start(char *const argv[], const char *run_as, struct launch *out)
{
	int go[2] = {-1, -1}, error[2] = {-1, -1}, err = 0;

	if (run_as && !getpwnam(run_as)) {
		log_error("--run-as: no user named \"%s\"", run_as);
		return -ENOENT;
	}
	if (pipe2(go, O_CLOEXEC) || pipe2(error, O_CLOEXEC)) {
		err = -errno;
		goto fail;
	}
	out->pid = fork();
	if (out->pid < 0) {
		err = -errno;
		goto fail;
	}
	if (out->pid == 0) {
		close(go[1]);
		close(error[0]);
		child(argv, run_as, go[0], error[1]);
	}
	close(go[0]);
	close(error[1]);
	out->go_fd = go[1];
	out->error_fd = error[0];
	return 0;
fail:
	for (int i = 0; i < 2; i++) {
		if (go[i] >= 0)
			close(go[i]);
		if (error[i] >= 0)
			close(error[i]);
	}
	log_error("cannot start the command: %s", strerror(-err));
	return err;
}

int launch_go(struct launch *launch)
{
	ssize_t n;
	int err = 0;

	while ((n = write(launch->go_fd, "", 1)) < 0 && errno == EINTR)
		;
	close(launch->go_fd);
	launch->go_fd = -1;
	/* A successful exec closes the other end. */
	while ((n = read(launch->error_fd, &err, sizeof(err))) < 0 && errno == EINTR)
		;
	close(launch->error_fd);
	launch->error_fd = -1;
	return n == (ssize_t)sizeof(err) ? err : 0;
}

void launch_explain(const char *command, int err)
{
	log_error("cannot run \"%s\": %s", command, err == -ENOENT ? "command not found" : strerror(-err));
}

void launch_cancel(struct launch *launch)
{
	if (launch->go_fd >= 0)
		close(launch->go_fd);
	if (launch->error_fd >= 0)
		close(launch->error_fd);
	launch->go_fd = launch->error_fd = -1;
	if (launch->pid > 0)
		waitpid(launch->pid, NULL, 0);
}
