/* SPDX-License-Identifier: BSD-2-Clause */
/* A client of the service; see client.h. */
#include "cmd/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/cmd.h"
#include "server/protocol.h"

#define PATIENCE_SECONDS 300 /* a large process that is looked at may keep the service busy for minutes */
#define MAX_PATIENCE     86400

const char *client_socket(const char *path)
{
	const char *named = getenv("BUFSCOPE_SOCKET");

	if (path)
		return path;
	return named && *named ? named : PROTOCOL_DEFAULT_SOCKET;
}

int client_patience(void)
{
	const char *named = getenv("BUFSCOPE_TIMEOUT");
	static bool said;
	char *end;
	long seconds;

	if (!named || !*named)
		return PATIENCE_SECONDS;
	seconds = strtol(named, &end, 10);
	if (!*end && seconds > 0 && seconds <= MAX_PATIENCE)
		return (int)seconds;
	if (!said)
		log_warning("BUFSCOPE_TIMEOUT is no number of seconds from 1 to %d: %d it is", MAX_PATIENCE,
			    PATIENCE_SECONDS);
	said = true;
	return PATIENCE_SECONDS;
}

json_t *client_new_request(const char *command)
{
	return json_pack("{s:i, s:s, s:s, s:{}}", "protocol", PROTOCOL_VERSION, "client", BUFSCOPE_VERSION, "command",
			 command, "options");
}

void client_explain_silence(char *why, size_t size, const char *path)
{
	snprintf(why, size, "the bufscope service at %s is silent for %d s (BUFSCOPE_TIMEOUT): it may be stuck", path,
		 client_patience());
}

int client_connect(const char *path, int flags, int seconds, char *why, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = client_patience()}, first = {.tv_sec = seconds ? seconds : limit.tv_sec};
	int fd, err;

	if (!*path || strlen(path) >= sizeof(address.sun_path)) {
		snprintf(why, size, "\"%s\" is too %s for the path of a socket", path, *path ? "long" : "short");
		return *path ? -ENAMETOOLONG : -EINVAL;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	/* With a service that hangs, to be let in may take for ever, too. */
	if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &first, sizeof(first)) &&
	    !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) &&
	    !connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	err = -errno;
	if (fd >= 0)
		close(fd);
	if (err == -ENOENT || err == -ECONNREFUSED)
		snprintf(why, size,
			 "no bufscope service answers at %s (\"systemctl status bufscope\"; without the unit: "
			 "\"sudo bufscope serve\")",
			 path);
	else if (err == -EAGAIN && !(flags & SOCK_NONBLOCK))
		client_explain_silence(why, size, path);
	else
		snprintf(why, size, "cannot ask the bufscope service at %s: %s", path, strerror(-err));
	return err;
}

/* 1: it was the last frame. 0: there are more. */
static int take_frame(const struct protocol_reader *reader, client_writer write, void *context, struct client_end *end)
{
	json_t *frame = json_loadb(reader->body, reader->len, JSON_ALLOW_NUL, NULL);
	const json_t *data = json_object_get(frame, "data");
	const json_t *message = json_object_get(frame, "message");
	const json_t *exit_status = json_object_get(frame, "exit");
	int result = 0;

	if (json_is_string(data)) {
		result = write ? write(context, json_string_value(data), json_string_length(data)) : -EPROTO;
		end->writer_failed = write && result;
	} else if (json_is_true(json_object_get(frame, "end")) && json_is_integer(exit_status)) {
		end->exit_status = (int)json_integer_value(exit_status);
		if (json_is_string(message))
			snprintf(end->message, sizeof(end->message), "%s", json_string_value(message));
		result = 1;
	} else {
		result = -EPROTO;
	}
	json_decref(frame);
	return result;
}

int client_answer(int fd, client_writer write, void *context, struct client_end *end)
{
	struct protocol_reader reader = {.max = PROTOCOL_MAX_ANSWER};
	int result;

	*end = (struct client_end){.exit_status = CMD_EXIT_FAILED};
	do {
		result = protocol_read(&reader, fd);
		if (result == -EMSGSIZE)
			result = -EPROTO;
		else if (!result)
			result = -ETIMEDOUT;
		else if (result > 0)
			result = take_frame(&reader, write, context, end);
	} while (!result);
	protocol_reader_fini(&reader);
	return result < 0 ? result : 0;
}

void client_say(const struct client_end *end)
{
	if (!*end->message)
		return;
	if (end->exit_status)
		log_error("%s", end->message);
	else
		log_warning("%s", end->message);
}

static void say_failure(const char *path, int err)
{
	char why[CLIENT_WHY];

	if (err == -ETIMEDOUT) {
		client_explain_silence(why, sizeof(why), path);
		log_error("%s", why);
	} else if (err == -EPROTO) {
		log_error("what answers at %s is no bufscope service", path);
	} else {
		log_error("the service at %s ended in the middle of its answer: what was printed is not whole", path);
	}
}

int client_request(const char *path, json_t *request, client_writer write, void *context, int *exit_status)
{
	struct client_end end = {0};
	char why[CLIENT_WHY];
	int fd, err;

	*exit_status = CMD_EXIT_FAILED;
	path = client_socket(path);
	fd = client_connect(path, 0, 0, why, sizeof(why));
	if (fd < 0) {
		log_error("%s", why);
		json_decref(request);
		return fd;
	}
	/* The descriptor's own limit is what it waits. */
	err = protocol_send(fd, request, 0);
	/* A server that refuses the connection says why and closes: that is still to be read. */
	if (err && err != -EPIPE && err != -ECONNRESET) {
		log_error("cannot ask the bufscope service at %s: %s", path, strerror(-err));
		goto out;
	}
	err = client_answer(fd, write, context, &end);
	if (err && !end.writer_failed)
		say_failure(path, err);
out:
	close(fd);
	if (!err) {
		client_say(&end);
		*exit_status = end.exit_status;
	}
	return err;
}

static int print(void *context, const char *text, size_t len)
{
	int err;

	(void)context;
	if (fwrite(text, 1, len, stdout) == len && !fflush(stdout))
		return 0;
	err = -errno;
	log_error("cannot write the answer: %s", strerror(-err));
	return err;
}

int client_print(const char *path, json_t *request)
{
	int exit_status;

	client_request(path, request, print, NULL, &exit_status);
	return exit_status;
}
