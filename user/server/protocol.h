/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames of the control protocol (docs/protocol.md): a length of four bytes, then one JSON object.
 * Used by both sides; knows no socket but the descriptor it is given, and no command.
 */
#ifndef BUFSCOPE_SERVER_PROTOCOL_H
#define BUFSCOPE_SERVER_PROTOCOL_H

#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

#define PROTOCOL_VERSION        1
#define PROTOCOL_DEFAULT_SOCKET "/run/bufscope/control"
#define PROTOCOL_MAX_REQUEST    (64u << 10)
#define PROTOCOL_MAX_ANSWER     (512u << 10) /* one frame of it: a character may take six in JSON */
#define PROTOCOL_MAX_DATA       (64u << 10)  /* text in one data frame */

/* One frame at a time out of a descriptor. @max: its largest length. The rest is zero at first. */
struct protocol_reader {
	size_t max;
	unsigned char head[4];
	size_t have; /* bytes read of head and body */
	char *body;
	size_t len;
};

/*
 * Reads what is missing of a frame and not a byte beyond it. 1: it is complete (body, len); the next
 * call begins a new one. 0: nothing more to read now. -EPIPE: the stream ended between two frames;
 * -ECONNRESET: within one; -EMSGSIZE: longer than @max; -ENOMEM, -errno.
 */
int protocol_read(struct protocol_reader *reader, int fd);
void protocol_reader_fini(struct protocol_reader *reader);

/*
 * Sends @message as one frame and releases it (NULL: -ENOMEM). On a descriptor that does not block it
 * waits at most @timeout_ms (-1: for ever) for all of it to be taken. 0 or -errno, -ETIMEDOUT.
 */
int protocol_send(int fd, json_t *message, int timeout_ms);

/* The last frame of an answer. @message: one line without its end, or NULL. */
json_t *protocol_end(int exit_status, const char *message);

/*
 * A stream whose bytes are sent as data frames. What is written must be UTF-8. fflush() before the
 * end frame, then fclose(); @fd is not closed. A failed send is the stream's error. NULL: no memory.
 */
FILE *protocol_stream(int fd, int timeout_ms);

#endif
