/* SPDX-License-Identifier: BSD-2-Clause */
/* A client of the service: one request over its socket, and the answer as it comes (docs/protocol.md). */
#ifndef BUFSCOPE_CMD_CLIENT_H
#define BUFSCOPE_CMD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#define CLIENT_WHY 512 /* bytes that do for one line about what went wrong */

/* A piece of the answer. 0 or -errno: then no more of it is wanted. */
typedef int (*client_writer)(void *context, const char *text, size_t len);

/* Where the service is: @path if it is not NULL, else BUFSCOPE_SOCKET, else the usual place. */
const char *client_socket(const char *path);

/* How many seconds a service may be silent: BUFSCOPE_TIMEOUT in the environment, or 300. And what is said then. */
int client_patience(void);
void client_explain_silence(char *why, size_t size, const char *path);

/*
 * Connects to the service at @path (not NULL). The descriptor, or -errno with one line about it in @why. To be let
 * in, and for each read and write, it waits for client_patience(); then it is -EAGAIN. Not 0, @seconds takes its
 * place for letting in and writing. With @flags SOCK_NONBLOCK nothing is waited for.
 */
int client_connect(const char *path, int flags, int seconds, char *why, size_t size);

/* A request of @command with no options yet; those go into its member "options". NULL: no memory. */
json_t *client_new_request(const char *command);

struct client_end {
	int exit_status;    /* what the server says, or CMD_EXIT_FAILED */
	char message[512];  /* one line, or "" */
	bool writer_failed; /* it was the caller's writer that failed */
};

/*
 * One answer on a connection that is kept, without a word. @write may be NULL: data is then an error. 0; -EPROTO:
 * what answers is no service; -ETIMEDOUT; -errno.
 */
int client_answer(int fd, client_writer write, void *context, struct client_end *end);
/* Logs its message, if there is one. */
void client_say(const struct client_end *end);

/*
 * Sends @request (released; may be NULL: no memory) to the service at client_socket(@path) and hands
 * over the answer. 0: it was whole, *exit_status is what the server says, and its message was logged.
 * -errno: one line was logged; *exit_status is CMD_EXIT_FAILED.
 */
int client_request(const char *path, json_t *request, client_writer write, void *context, int *exit_status);

/* As a whole subcommand: the answer goes to stdout. Returns the exit status. */
int client_print(const char *path, json_t *request);

#endif
