// SPDX-License-Identifier: BSD-2-Clause
/* Frames of the control protocol; see protocol.h. */
#include "server/protocol.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"

#define HEAD sizeof(((struct protocol_reader *)0)->head)

static size_t length_of(const unsigned char head[4])
{
	return (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
}

void protocol_reader_fini(struct protocol_reader *reader)
{
	free(reader->body);
	reader->body = NULL;
	reader->have = reader->len = 0;
}

static int begin_body(struct protocol_reader *reader)
{
	reader->len = length_of(reader->head);
	if (reader->len > reader->max)
		return -EMSGSIZE;
	reader->body = malloc(reader->len + 1);
	if (!reader->body)
		return -ENOMEM;
	reader->body[reader->len] = '\0';
	return 0;
}

int protocol_read(struct protocol_reader *reader, int fd)
{
	ssize_t n;
	int err;

	if (reader->body && reader->have == HEAD + reader->len)
		protocol_reader_fini(reader);
	for (;;) {
		if (reader->have == HEAD && !reader->body) {
			err = begin_body(reader);
			if (err)
				return err;
		}
		if (reader->body && reader->have == HEAD + reader->len)
			return 1;
		if (reader->have < HEAD)
			n = read(fd, reader->head + reader->have, HEAD - reader->have);
		else
			n = read(fd, reader->body + (reader->have - HEAD), HEAD + reader->len - reader->have);
		if (n > 0)
			reader->have += (size_t)n;
		else if (!n)
			return reader->have ? -ECONNRESET : -EPIPE;
		else if (errno == EAGAIN)
			return 0;
		else if (errno != EINTR)
			return -errno;
	}
}

static int wait_for_room(int fd, uint64_t deadline_ns)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	uint64_t now = loop_now_ns();

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	if (poll(&room, 1, deadline_ns == UINT64_MAX ? -1 : (int)((deadline_ns - now + 999999) / 1000000)) < 0 &&
	    errno != EINTR)
		return -errno;
	return 0;
}

static int send_all(int fd, const char *data, size_t len, int timeout_ms)
{
	uint64_t deadline_ns = timeout_ms < 0 ? UINT64_MAX : loop_now_ns() + (uint64_t)timeout_ms * 1000000;
	int err = 0;
	ssize_t n;

	while (len && !err) {
		/* The other side may be gone: that is an error here, not the end of us. */
		n = send(fd, data, len, MSG_NOSIGNAL);
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			err = wait_for_room(fd, deadline_ns);
		} else if (errno != EINTR) {
			err = -errno;
		}
	}
	return err;
}

int protocol_send(int fd, json_t *message, int timeout_ms)
{
	size_t len = message ? json_dumpb(message, NULL, 0, JSON_COMPACT) : 0;
	char *frame = len && len <= UINT32_MAX ? malloc(HEAD + len) : NULL;
	int err = -ENOMEM;

	if (frame) {
		for (size_t i = 0; i < HEAD; i++)
			frame[i] = (char)(unsigned char)(len >> (24 - 8 * i));
		json_dumpb(message, frame + HEAD, len, JSON_COMPACT);
		err = send_all(fd, frame, HEAD + len, timeout_ms);
	}
	free(frame);
	json_decref(message);
	return err;
}

json_t *protocol_end(int exit_status, const char *message)
{
	return json_pack("{s:b, s:i, s:s?, s:i, s:s}", "end", 1, "exit", exit_status, "message", message, "protocol",
			 PROTOCOL_VERSION, "server", BUFSCOPE_VERSION);
}

/* ---- text as data frames ---- */

struct stream {
	int fd;
	int timeout_ms;
	size_t len;
	char text[PROTOCOL_MAX_DATA];
};

/* How many of the bytes end with a whole character: a frame is JSON of its own. */
static size_t whole_characters(const char *text, size_t len)
{
	size_t lead = len, need;

	while (lead && len - lead < 3 && ((unsigned char)text[lead - 1] & 0xc0) == 0x80)
		lead--;
	if (!lead || (unsigned char)text[lead - 1] < 0xc0)
		return len;
	lead--;
	need = (unsigned char)text[lead] >= 0xf0 ? 4 : (unsigned char)text[lead] >= 0xe0 ? 3 : 2;
	return len - lead < need ? lead : len;
}

static int send_text(struct stream *stream, size_t len)
{
	json_t *frame = json_object();
	int err;

	if (frame && json_object_set_new(frame, "data", json_stringn(stream->text, len))) {
		json_decref(frame);
		return -EILSEQ;
	}
	err = protocol_send(stream->fd, frame, stream->timeout_ms);
	if (err)
		return err;
	stream->len -= len;
	memmove(stream->text, stream->text + len, stream->len);
	return 0;
}

/* stdio hands over what was flushed: it goes out at once, but for half a character at its end. */
static ssize_t stream_write(void *cookie, const char *data, size_t len)
{
	struct stream *stream = cookie;
	size_t taken = 0, part;
	int err = 0;

	while (!err && taken < len) {
		part = len - taken;
		if (part > sizeof(stream->text) - stream->len)
			part = sizeof(stream->text) - stream->len;
		memcpy(stream->text + stream->len, data + taken, part);
		stream->len += part;
		taken += part;
		part = whole_characters(stream->text, stream->len);
		if (part)
			err = send_text(stream, part);
	}
	if (!err)
		return (ssize_t)len;
	errno = -err;
	return 0;
}

static int stream_close(void *cookie)
{
	free(cookie);
	return 0;
}

FILE *protocol_stream(int fd, int timeout_ms)
{
	const cookie_io_functions_t functions = {.write = stream_write, .close = stream_close};
	struct stream *stream = calloc(1, sizeof(*stream));
	FILE *file;

	if (!stream)
		return NULL;
	stream->fd = fd;
	stream->timeout_ms = timeout_ms;
	file = fopencookie(stream, "w", functions);
	if (!file)
		free(stream);
	else
		setvbuf(file, NULL, _IOFBF, PROTOCOL_MAX_DATA);
	return file;
}
