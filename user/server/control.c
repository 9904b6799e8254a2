// SPDX-License-Identifier: BSD-2-Clause
/* The control socket's server side; see control.h. Owns the socket, its connections and their children. */
#include "server/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "server/control_child.h"
#include "server/endpoint.h"
#include "server/protocol.h"

#define MAX_CLIENTS       128
#define MAX_USER_CLIENTS  32 /* of one user who may not see all */
#define MAX_ANSWERS       8
#define MAX_USER_ANSWERS  2
#define KEPT_CLIENTS      16 /* of those, some are only for who may see all: */
#define KEPT_ANSWERS      2  /* several users together cannot shut the administrator out */
#define ROUND_CONNECTIONS 16 /* then the ring is drained, however many more wait */
#define IDLE_NS           60000000000ull
#define REQUEST_NS        10000000000ull /* from its first byte */
#define ACCEPT_NS         1000000000ull  /* out of descriptors: when to look again */

enum client_state {
	CLIENT_LISTENED_TO = 1, /* its request is read */
	CLIENT_WAITING = 2,     /* for its turn */
	CLIENT_ANSWERED = 3,    /* by a child */
	CLIENT_PATIENT = 4,     /* its answer comes later; it is listened to for what may come before */
};

struct client {
	struct control *control;
	enum client_state state;
	struct loop_watch watch;
	struct loop_timer timer; /* closes it, while it is listened to */
	struct protocol_reader reader;
	json_t *parsed; /* what request points into */
	struct control_request request;
	pid_t child;
	bool woken;          /* control_wake() */
	struct client *next; /* in order of their requests */
};

struct control {
	struct loop *loop;
	struct control_callbacks callbacks;
	struct endpoint endpoint;
	struct loop_watch listener;
	struct loop_timer accept_again, wake;
	uint32_t group;
	struct client *clients;
	unsigned int client_count, answer_count;
};

/* ---- connections ---- */

static void forget_request(struct client *client)
{
	if (client->request.file >= 0)
		close(client->request.file);
	client->request.file = -1;
	client->request.command = NULL;
	client->request.options = NULL;
	json_decref(client->parsed);
	client->parsed = NULL;
}

static void close_client(struct client *client)
{
	struct control *control = client->control;

	for (struct client **at = &control->clients; *at; at = &(*at)->next) {
		if (*at == client) {
			*at = client->next;
			break;
		}
	}
	control->client_count--;
	loop_timer_clear(control->loop, &client->timer);
	loop_remove(control->loop, &client->watch);
	close(client->watch.fd);
	forget_request(client);
	if (client->request.state)
		control->callbacks.closed(control->callbacks.context, &client->request);
	protocol_reader_fini(&client->reader);
	free(client);
}

static void on_expired(void *context)
{
	struct client *client = context;

	protocol_send(client->watch.fd, protocol_end(1, "the service closes: it waited too long for a request"), 0);
	close_client(client);
}

/* Says why and closes. */
static void refuse(struct client *client, const char *why)
{
	protocol_send(client->watch.fd, protocol_end(1, why), 0);
	close_client(client);
}

/* Reads the next request of this connection. */
static void listen_to(struct client *client, enum client_state state)
{
	client->state = state;
	if (!client->request.state)
		loop_timer_set(client->control->loop, &client->timer, loop_now_ns() + IDLE_NS);
	if (loop_add(client->control->loop, &client->watch, EPOLLIN))
		close_client(client);
}

/* ---- answers ---- */

static bool may_answer(const struct control *control, const struct peer *peer)
{
	unsigned int same = 0;

	if (control->answer_count >= MAX_ANSWERS - (peer->sees_all ? 0 : KEPT_ANSWERS))
		return false;
	if (peer->sees_all)
		return true;
	for (const struct client *client = control->clients; client; client = client->next)
		same += client->state == CLIENT_ANSWERED && client->request.peer.user == peer->user;
	return same < MAX_USER_ANSWERS;
}

/* What a child must not keep open: a connection that we close is to be seen closed by its client. */
static void forget_others(const struct control *control, const struct client *own)
{
	close(control->endpoint.fd);
	close(control->endpoint.lock_fd);
	for (const struct client *client = control->clients; client; client = client->next) {
		if (client != own)
			close(client->watch.fd);
	}
}

/* The end of a request that no child answers, or of one whose last word is ours. */
static void tell_end(struct client *client, int exit_status, const char *message)
{
	forget_request(client);
	if (protocol_send(client->watch.fd, protocol_end(exit_status, message && *message ? message : NULL), 0))
		close_client(client);
	else
		listen_to(client, CLIENT_LISTENED_TO);
}

/* NULL, or why it is no request. */
static const char *parse_request(struct client *client)
{
	const json_t *protocol, *command;

	client->parsed = json_loadb(client->reader.body, client->reader.len, JSON_REJECT_DUPLICATES, NULL);
	protocol_reader_fini(&client->reader);
	if (!json_is_object(client->parsed))
		return "the request is not one JSON object";
	protocol = json_object_get(client->parsed, "protocol");
	if (!json_is_integer(protocol))
		return "the request names no protocol";
	if (json_integer_value(protocol) != PROTOCOL_VERSION)
		return json_integer_value(protocol) > PROTOCOL_VERSION
			       ? "the service is older than this client: it speaks protocol 1 (bufscope " BUFSCOPE_VERSION
				 ")"
			       : "the service is newer than this client: it speaks protocol 1 (bufscope " BUFSCOPE_VERSION
				 ")";
	command = json_object_get(client->parsed, "command");
	client->request.options = json_object_get(client->parsed, "options");
	if (!json_is_string(command) || !json_is_object(client->request.options))
		return "the request needs a command (a string) and options (an object)";
	client->request.command = json_string_value(command);
	return NULL;
}

/* Whether the server answers this request itself. */
static bool take_request(struct client *client)
{
	struct control *control = client->control;
	struct control_answer answer = {0};

	switch (control->callbacks.take(control->callbacks.context, &client->request, &answer)) {
	case CONTROL_LEFT:
		return false;
	case CONTROL_DONE:
		tell_end(client, answer.exit_status, answer.message);
		return true;
	case CONTROL_LATER:
		forget_request(client);
		listen_to(client, CLIENT_PATIENT);
		break;
	}
	return true;
}

/* What was waited for has come, or is not waited for any longer. False: the connection is closed. */
static bool end_patience(struct client *client)
{
	client->state = CLIENT_LISTENED_TO;
	client->woken = false;
	if (!protocol_send(client->watch.fd, protocol_end(0, NULL), 0))
		return true;
	close_client(client);
	return false;
}

static void on_woken(void *context)
{
	struct control *control = context;
	struct client *next;

	for (struct client *client = control->clients; client; client = next) {
		next = client->next;
		if (client->woken && client->state == CLIENT_PATIENT)
			end_patience(client);
	}
}

void control_wake(struct control *control, const void *state)
{
	for (struct client *client = control->clients; client; client = client->next)
		client->woken |= client->request.state == state;
	/* Not now: it may be one of our callbacks that found out. */
	loop_timer_set(control->loop, &control->wake, loop_now_ns());
}

/* Both ways: who has only said that no more requests come still waits for the answer. */
static bool has_hung_up(const struct client *client)
{
	struct pollfd state = {.fd = client->watch.fd};

	return poll(&state, 1, 0) == 1 && state.revents & (POLLHUP | POLLERR);
}

static void start_answer(struct client *client)
{
	struct control *control = client->control;
	pid_t server = getpid(), child;
	const char *wrong;
	int err;

	if (has_hung_up(client)) {
		close_client(client);
		return;
	}
	/* Not before its turn: what waits is then as small as it was sent, not 100 times that. */
	wrong = parse_request(client);
	if (wrong) {
		refuse(client, wrong);
		return;
	}
	if (take_request(client))
		return;
	err = control->callbacks.begin(control->callbacks.context, &client->request);
	child = err ? -1 : fork();
	if (child == 0) {
		forget_others(control, client);
		control_child(server, client->watch.fd, &control->callbacks, &client->request);
	}
	if (child < 0) {
		log_warning("cannot answer: %s", strerror(err ? -err : errno));
		tell_end(client, 1, "the service is out of memory: try again");
		return;
	}
	if (client->request.file < 0)
		forget_request(client); /* the child has its own */
	client->child = child;
	client->state = CLIENT_ANSWERED;
	control->answer_count++;
}

/* Those whose turn it is, in order of their requests. */
static void start_answers(struct control *control)
{
	struct client *next;

	for (struct client *client = control->clients; client; client = next) {
		next = client->next;
		if (client->state == CLIENT_WAITING && may_answer(control, &client->request.peer))
			start_answer(client);
	}
}

static void on_child_end(struct client *client, int status)
{
	struct control *control = client->control;
	struct control_answer answer = {0};

	client->child = 0;
	control->answer_count--;
	if (WIFEXITED(status) && WEXITSTATUS(status) == CONTROL_CHILD_FILE) {
		control->callbacks.finish(control->callbacks.context, &client->request, &answer);
		tell_end(client, answer.exit_status, answer.message);
		return;
	}
	forget_request(client);
	/* A client that has seen no end of its answer must not take that of another for it. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == CONTROL_CHILD_WHOLE)
		listen_to(client, CLIENT_LISTENED_TO);
	else
		close_client(client);
}

void control_reap(struct control *control)
{
	struct client *next;
	int status;

	for (struct client *client = control->clients; client; client = next) {
		next = client->next;
		/* By its number: other children of this process are not ours. */
		if (client->child && waitpid(client->child, &status, WNOHANG) == client->child)
			on_child_end(client, status);
	}
	start_answers(control);
}

/* ---- requests ---- */

/* The last in the list is the last to have its turn. */
static void move_to_end(struct client *client)
{
	struct client **at = &client->control->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	while (*at)
		at = &(*at)->next;
	*at = client;
	client->next = NULL;
}

static void on_request(struct client *client)
{
	struct control *control = client->control;

	if (client->state == CLIENT_PATIENT && !end_patience(client))
		return;
	loop_timer_clear(control->loop, &client->timer);
	loop_remove(control->loop, &client->watch);
	client->state = CLIENT_WAITING;
	move_to_end(client);
	start_answers(control);
}

static void on_readable(void *context, uint32_t events)
{
	struct client *client = context;
	bool first = !client->reader.have;
	int got;

	(void)events;
	got = protocol_read(&client->reader, client->watch.fd);
	if (got == 1)
		on_request(client);
	else if (got == -EMSGSIZE)
		refuse(client, "the request is longer than 64 KiB");
	else if (got < 0)
		close_client(client);
	else if (first && client->reader.have)
		loop_timer_set(client->control->loop, &client->timer, loop_now_ns() + REQUEST_NS);
}

/* ---- the door ---- */

static bool has_room(const struct control *control, const struct peer *peer)
{
	unsigned int same = 0;

	if (control->client_count >= MAX_CLIENTS - (peer->sees_all ? 0 : KEPT_CLIENTS))
		return false;
	if (peer->sees_all)
		return true;
	for (const struct client *client = control->clients; client; client = client->next)
		same += client->request.peer.user == peer->user && !client->request.peer.sees_all;
	return same < MAX_USER_CLIENTS;
}

static void welcome(struct control *control, int fd)
{
	struct client *client = NULL;
	const char *why = "the service is out of memory: try again";
	struct peer peer;

	if (peer_identify(fd, control->group, &peer)) {
		why = "the service cannot tell who is asking";
	} else if (!has_room(control, &peer)) {
		why = "the service has too many connections: try again";
	} else {
		client = calloc(1, sizeof(*client));
	}
	if (!client) {
		protocol_send(fd, protocol_end(1, why), 0);
		close(fd);
		return;
	}
	client->control = control;
	client->watch = (struct loop_watch){.fd = fd, .ready = on_readable, .context = client};
	client->timer = (struct loop_timer){.expired = on_expired, .context = client};
	client->reader.max = PROTOCOL_MAX_REQUEST;
	client->request = (struct control_request){.peer = peer, .file = -1};
	client->next = control->clients;
	control->clients = client;
	control->client_count++;
	listen_to(client, CLIENT_LISTENED_TO);
}

/* The connection stays in the queue and the socket readable: look away for a while. */
static void look_away(struct control *control)
{
	loop_remove(control->loop, &control->listener);
	loop_timer_set(control->loop, &control->accept_again, loop_now_ns() + ACCEPT_NS);
}

static void on_connection(void *context, uint32_t events)
{
	struct control *control = context;

	(void)events;
	for (int i = 0; i < ROUND_CONNECTIONS; i++) {
		int fd = accept4(control->endpoint.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			welcome(control, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			look_away(control);
		return;
	}
}

static void on_accept_again(void *context)
{
	struct control *control = context;

	if (loop_add(control->loop, &control->listener, EPOLLIN))
		loop_timer_set(control->loop, &control->accept_again, loop_now_ns() + ACCEPT_NS);
}

int control_open(struct loop *loop, const char *path, uint32_t group, const struct control_callbacks *callbacks,
		 struct control **out)
{
	struct control *control = calloc(1, sizeof(*control));
	int err;

	if (!control) {
		log_error("out of memory");
		return -ENOMEM;
	}
	control->loop = loop;
	control->group = group;
	control->callbacks = *callbacks;
	err = endpoint_open(path, &control->endpoint);
	if (err) {
		free(control);
		return err;
	}
	control->listener = (struct loop_watch){.fd = control->endpoint.fd, .ready = on_connection, .context = control};
	control->accept_again = (struct loop_timer){.expired = on_accept_again, .context = control};
	control->wake = (struct loop_timer){.expired = on_woken, .context = control};
	err = loop_add(loop, &control->listener, EPOLLIN);
	if (err) {
		log_error("epoll: %s", strerror(-err));
		control_close(control);
		return err;
	}
	*out = control;
	return 0;
}

void control_close(struct control *control)
{
	struct client *client;

	if (!control)
		return;
	loop_timer_clear(control->loop, &control->accept_again);
	loop_timer_clear(control->loop, &control->wake);
	loop_remove(control->loop, &control->listener);
	while ((client = control->clients)) {
		if (client->child) {
			kill(client->child, SIGTERM);
			waitpid(client->child, NULL, 0);
		}
		close_client(client);
	}
	endpoint_close(&control->endpoint);
	free(control);
}
