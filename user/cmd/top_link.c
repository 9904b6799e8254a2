// SPDX-License-Identifier: BSD-2-Clause
/* Asking the service without waiting; see top_link.h. */
#include "cmd/top_link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/loop.h"

#define MAX_TEXT (512u << 20) /* more than half a million buffers: nobody looks at that row by row */

void top_link_init(struct top_link *link, const char *path)
{
	memset(link, 0, sizeof(*link));
	link->path = client_socket(path);
	link->fd = -1;
	link->reader.max = PROTOCOL_MAX_ANSWER;
}

void top_link_stop(struct top_link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
	protocol_reader_fini(&link->reader);
}

void top_link_fini(struct top_link *link)
{
	top_link_stop(link);
	strbuf_fini(&link->text);
}

int top_link_ask(struct top_link *link, json_t *request)
{
	int err;

	top_link_stop(link);
	strbuf_fini(&link->text);
	memset(&link->text, 0, sizeof(link->text));
	link->asked_ns = loop_now_ns();
	link->begun_ns = 0;
	link->fd = client_connect(link->path, SOCK_NONBLOCK, 0, link->why, sizeof(link->why));
	if (link->fd < 0)
		return link->fd;
	/* It fits into an empty socket. */
	err = protocol_send(link->fd, json_incref(request), 0);
	/* A server that refuses the connection says why and closes: that is still to be read. */
	if (!err || err == -EPIPE || err == -ECONNRESET)
		return 0;
	snprintf(link->why, sizeof(link->why), "cannot ask the bufscope service at %s: %s", link->path, strerror(-err));
	top_link_stop(link);
	return err;
}

/* What the service says is not printed as it is: it may be another program that answers there. */
static void note_message(struct top_link *link, const json_t *message)
{
	struct strbuf safe = STRBUF_INIT;

	escape_terminal(&safe, json_string_value(message), json_string_length(message));
	snprintf(link->why, sizeof(link->why), "%s", strbuf_str(&safe));
	strbuf_fini(&safe);
}

static int take_frame(struct top_link *link)
{
	json_t *frame = json_loadb(link->reader.body, link->reader.len, JSON_ALLOW_NUL, NULL);
	const json_t *data = json_object_get(frame, "data"), *message = json_object_get(frame, "message");
	int result = 0;

	if (json_is_string(data)) {
		strbuf_add(&link->text, json_string_value(data), json_string_length(data));
		if (strbuf_error(&link->text) || link->text.len > MAX_TEXT) {
			snprintf(link->why, sizeof(link->why),
				 "the answer is too large: choose a part with --pid, --device or --type");
			result = -EFBIG;
		}
	} else if (!json_is_true(json_object_get(frame, "end"))) {
		snprintf(link->why, sizeof(link->why), "what answers at %s is no bufscope service", link->path);
		result = -EPROTO;
	} else if (json_integer_value(json_object_get(frame, "exit"))) {
		note_message(link, message);
		result = -EREMOTEIO;
	} else {
		result = 1;
	}
	json_decref(frame);
	return result;
}

int top_link_read(struct top_link *link)
{
	int result = protocol_read(&link->reader, link->fd);

	if (result > 0 && !link->begun_ns)
		link->begun_ns = loop_now_ns();
	/* One frame a call: keys are looked at in between, however long the answer is. */
	if (result > 0)
		result = take_frame(link);
	else if (result < 0)
		snprintf(link->why, sizeof(link->why), "the service at %s ended in the middle of its answer",
			 link->path);
	if (result)
		top_link_stop(link);
	return result;
}
