/* SPDX-License-Identifier: BSD-2-Clause */
/* A client of the service; see client.h. */
#include "cmd/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/cmd.h"
#include "server/protocol.h"

const char *client_socket(const char *path)
{
	const char *named = getenv("BUFSCOPE_SOCKET");

	if (path)
		return path;
	return named && *named ? named : PROTOCOL_DEFAULT_SOCKET;
}

json_t *client_new_request(const char *command)
{
	return json_pack("{s:i, s:s, s:s, s:{}}", "protocol", PROTOCOL_VERSION, "client", BUFSCOPE_VERSION, "command",
			 command, "options");
}

int client_connect(const char *path, int flags, char *why, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, err;

	if (!*path || strlen(path) >= sizeof(address.sun_path)) {
		snprintf(why, size, "\"%s\" is too %s for the path of a socket", path, *path ? "long" : "short");
		return *path ? -ENAMETOOLONG : -EINVAL;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	err = -errno;
	if (fd >= 0)
		close(fd);
	if (err == -ENOENT || err == -ECONNREFUSED)
		snprintf(why, size, "no bufscope service answers at %s: \"sudo bufscope serve\" starts one", path);
	else
		snprintf(why, size, "cannot ask the bufscope service at %s: %s", path, strerror(-err));
	return err;
}

struct answer {
	const char *path;
	client_writer write;
	void *context;
	int exit_status;
};

static void say(int exit_status, const char *message)
{
	if (exit_status)
		log_error("%s", message);
	else
		log_warning("%s", message);
}

static void say_stranger(const struct answer *answer)
{
	log_error("what answers at %s is no bufscope service", answer->path);
}

/* 1: it was the last frame. 0: there are more. */
static int take_frame(struct answer *answer, const struct protocol_reader *reader)
{
	json_t *frame = json_loadb(reader->body, reader->len, JSON_ALLOW_NUL, NULL);
	const json_t *data = json_object_get(frame, "data");
	const json_t *message = json_object_get(frame, "message");
	const json_t *exit_status = json_object_get(frame, "exit");
	int result = 0;

	if (json_is_string(data)) {
		result = answer->write(answer->context, json_string_value(data), json_string_length(data));
	} else if (json_is_true(json_object_get(frame, "end")) && json_is_integer(exit_status)) {
		answer->exit_status = (int)json_integer_value(exit_status);
		if (json_is_string(message))
			say(answer->exit_status, json_string_value(message));
		result = 1;
	} else {
		say_stranger(answer);
		result = -EPROTO;
	}
	json_decref(frame);
	return result;
}

static int read_answer(int fd, struct answer *answer)
{
	struct protocol_reader reader = {.max = PROTOCOL_MAX_ANSWER};
	int result;

	do {
		result = protocol_read(&reader, fd);
		if (result == -EMSGSIZE)
			say_stranger(answer);
		else if (result < 0)
			log_error("the service at %s ended in the middle of its answer: what was printed is not whole",
				  answer->path);
		else
			result = take_frame(answer, &reader);
	} while (!result);
	protocol_reader_fini(&reader);
	return result < 0 ? result : 0;
}

int client_request(const char *path, json_t *request, client_writer write, void *context, int *exit_status)
{
	struct answer answer = {.path = client_socket(path), .write = write, .context = context};
	char why[CLIENT_WHY];
	int fd, err;

	*exit_status = CMD_EXIT_FAILED;
	fd = client_connect(answer.path, 0, why, sizeof(why));
	if (fd < 0) {
		log_error("%s", why);
		json_decref(request);
		return fd;
	}
	err = protocol_send(fd, request, -1);
	/* A server that refuses the connection says why and closes: that is still to be read. */
	if (err == -EPIPE || err == -ECONNRESET)
		err = 0;
	if (err)
		log_error("cannot ask the bufscope service at %s: %s", answer.path, strerror(-err));
	else
		err = read_answer(fd, &answer);
	close(fd);
	if (!err)
		*exit_status = answer.exit_status;
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
