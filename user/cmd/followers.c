/* SPDX-License-Identifier: BSD-2-Clause */
/* Who follows what; see followers.h. Owns the followers; their processes are the model's. */
#include "cmd/followers.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "base/table.h"
#include "cmd/cmd.h"
#include "cmd/session.h"
#include "event.h"
#include "model/model.h"
#include "source/procfs.h"

#define MAX_FOLLOWERS        64 /* of users who may not see all; fewer than they may have connections */
#define MAX_USER_FOLLOWERS   16
#define MAX_ENDED            512           /* processes that ended, of one follower */
#define MAX_USER_ENDED_BYTES (128ul << 20) /* what all of one user take: two million buffers */
#define MAX_PIDS             256
#define MAX_LIBRARIES        16
#define MAX_DEPTH            32 /* generations that are looked through */

struct follower {
	struct peer peer;
	struct table members; /* process number -> enum member */
	size_t running;
	size_t ended_bytes, ended;
	uint64_t left_out;
	pid_t pid; /* that is being added: its number is not known yet */
	struct follower *next;
};

enum member {
	MEMBER_RUNNING = 1,
	MEMBER_ENDED = 2,
};

struct followers {
	struct session *session;
	struct control *control;
	struct follower *first;
	uint32_t executing; /* process number */
};

struct followers *followers_new(struct session *session, struct control *control)
{
	struct followers *followers = calloc(1, sizeof(*followers));

	if (followers) {
		followers->session = session;
		followers->control = control;
	}
	return followers;
}

void followers_free(struct followers *followers)
{
	free(followers);
}

bool follower_has(const struct follower *follower, uint32_t process)
{
	uint32_t member;

	return table_find(&follower->members, process, &member);
}

uint64_t follower_left_out(const struct follower *follower)
{
	return follower->left_out;
}

/* ---- members come and go ---- */

static void add_member(struct followers *followers, struct follower *follower, uint32_t process)
{
	struct model *model = session_model(followers->session);

	if (follower_has(follower, process) || model_keep(model, process))
		return;
	if (table_set(&follower->members, process, MEMBER_RUNNING)) {
		follower->left_out++;
		model_release(model, process);
		return;
	}
	follower->running++;
}

/* A user's share is one, however many times they ask. */
static bool may_keep(const struct followers *followers, const struct follower *follower, size_t bytes)
{
	for (const struct follower *other = followers->first; other; other = other->next) {
		if (other->peer.user == follower->peer.user)
			bytes += other->ended_bytes;
	}
	return follower->ended < MAX_ENDED && bytes <= MAX_USER_ENDED_BYTES;
}

static void end_member(struct followers *followers, struct follower *follower, uint32_t process)
{
	struct model *model = session_model(followers->session);
	size_t bytes = model_process_bytes(model, process);
	uint32_t member;

	if (!table_find(&follower->members, process, &member) || member != MEMBER_RUNNING)
		return;
	follower->running--;
	if (bytes && may_keep(followers, follower, bytes)) {
		table_set(&follower->members, process, MEMBER_ENDED);
		follower->ended++;
		follower->ended_bytes += bytes;
	} else {
		/* What used no runtime is not in the model any more. */
		follower->left_out += bytes > 0;
		table_remove(&follower->members, process, NULL);
		model_release(model, process);
	}
	if (!follower->running)
		control_wake(followers->control, follower);
}

static void end_process(struct followers *followers, uint32_t process)
{
	for (struct follower *follower = followers->first; follower; follower = follower->next)
		end_member(followers, follower, process);
}

/* The nearest of a process's ancestors that is known, as far as all between them live; 0: there is none. */
static uint32_t known_ancestor(const struct followers *followers, uint32_t pid)
{
	struct procfs_stat stat;
	uint32_t process = 0;

	for (int depth = 0; !process && depth < MAX_DEPTH; depth++) {
		if (procfs_stat((pid_t)pid, &stat) || stat.parent <= 1)
			break;
		pid = (uint32_t)stat.parent;
		process = model_running(session_model(followers->session), pid);
	}
	return process;
}

static void begin_process(struct followers *followers, uint32_t process, const struct event_birth *birth)
{
	uint32_t parent = birth->parent;

	/* It was found by what it does: those between it and its ancestors may use no runtime. */
	if (!parent && birth->how == BIRTH_ATTACH && followers->first)
		parent = known_ancestor(followers, birth->pid);
	for (struct follower *follower = followers->first; follower; follower = follower->next) {
		if ((parent && follower_has(follower, parent)) ||
		    (follower->pid && birth->pid == (uint32_t)follower->pid))
			add_member(followers, follower, process);
	}
}

void followers_event(struct followers *followers, const struct event *event)
{
	if (event->kind != EVENT_BIRTH && event->kind != EVENT_EXIT && event->kind != EVENT_EXEC)
		return;
	if (event->kind == EVENT_BIRTH)
		begin_process(followers, event->process, &event->birth);
	/* What exec ended is a member until its successor, which is told of next, has become one. */
	if (followers->executing)
		end_process(followers, followers->executing);
	followers->executing = event->kind == EVENT_EXEC ? event->process : 0;
	if (event->kind == EVENT_EXIT)
		end_process(followers, event->process);
}

/* ---- requests ---- */

static enum control_taken refuse(struct control_answer *answer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static enum control_taken refuse(struct control_answer *answer, const char *format, ...)
{
	va_list ap;

	answer->exit_status = CMD_EXIT_FAILED;
	va_start(ap, format);
	vsnprintf(answer->message, sizeof(answer->message), format, ap);
	va_end(ap);
	return CONTROL_DONE;
}

static bool has_room(const struct followers *followers, const struct peer *peer)
{
	unsigned int all = 0, same = 0;

	if (peer->sees_all)
		return true;
	for (const struct follower *follower = followers->first; follower; follower = follower->next) {
		all += !follower->peer.sees_all;
		same += !follower->peer.sees_all && follower->peer.user == peer->user;
	}
	return all < MAX_FOLLOWERS && same < MAX_USER_FOLLOWERS;
}

/* What a process that waits for its exec will be. */
static void join_command(const json_t *list, struct strbuf *out)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *word = json_array_get(list, i);

		if (json_is_string(word))
			strbuf_add(out, json_string_value(word), strlen(json_string_value(word)) + 1);
	}
}

/* Attached to now, they are complete from the first allocation on. Who asks could as well map them. */
static void prepare(struct followers *followers, const json_t *paths)
{
	for (size_t i = 0; i < json_array_size(paths) && i < MAX_LIBRARIES; i++) {
		const char *path = json_string_value(json_array_get(paths, i));

		if (path && *path == '/')
			session_prepare(followers->session, path);
	}
}

/* @command: of a process that waits for its exec; NULL: of one that runs. 0 or -errno. */
static int follow_one(struct followers *followers, struct follower *follower, pid_t pid, const struct strbuf *command)
{
	uint32_t user, process;
	int err;

	err = procfs_user(pid, &user);
	if (!err && !follower->peer.sees_all && user != follower->peer.user)
		err = -EPERM;
	if (err)
		return err;
	follower->pid = pid;
	err = command ? session_follow(followers->session, pid, BIRTH_LAUNCH, strbuf_str(command), command->len)
		      : session_follow(followers->session, pid, BIRTH_ATTACH, NULL, 0);
	follower->pid = 0;
	if (err)
		return err;
	/* It may have been known before. */
	process = model_running(session_model(followers->session), (uint32_t)pid);
	if (!process)
		return -ESRCH;
	add_member(followers, follower, process);
	return follower_has(follower, process) ? 0 : -ENOMEM;
}

static enum control_taken follow_all(struct followers *followers, struct follower *follower, const json_t *options,
				     struct control_answer *answer)
{
	const json_t *pids = json_object_get(options, "pids"), *command = json_object_get(options, "arguments");
	struct strbuf joined = STRBUF_INIT;
	int err = 0;

	join_command(command, &joined);
	for (size_t i = 0; !err && i < json_array_size(pids); i++) {
		json_int_t pid = json_integer_value(json_array_get(pids, i));

		err = pid > 0 && pid <= 1 << 22 ? follow_one(followers, follower, (pid_t)pid, command ? &joined : NULL)
						: -ESRCH;
		if (err == -ESRCH || err == -EPERM)
			refuse(answer, "process %lld is not there, or it is not yours", (long long)pid);
		else if (err)
			refuse(answer, "process %lld cannot be followed: %s", (long long)pid, strerror(-err));
	}
	strbuf_fini(&joined);
	return CONTROL_DONE;
}

static enum control_taken take_follow(struct followers *followers, struct control_request *request,
				      struct control_answer *answer)
{
	const json_t *pids = json_object_get(request->options, "pids"),
		     *client = json_object_get(request->options, "client_pid");
	const json_t *command = json_object_get(request->options, "arguments");
	struct follower *follower;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)request->options, key, value)
	{
		if (strcmp(key, "pids") && strcmp(key, "client_pid") && strcmp(key, "arguments") &&
		    strcmp(key, "libraries"))
			return refuse(answer, "the service (bufscope " BUFSCOPE_VERSION
					      ") does not know an option of \"follow\"");
	}
	if (!json_array_size(pids) || json_array_size(pids) > MAX_PIDS || !json_is_integer(client) ||
	    (command && !json_is_array(command)))
		return refuse(answer, "\"follow\" takes \"pids\" (1 to %d), \"client_pid\", and \"arguments\" or not",
			      MAX_PIDS);
	/* Else the numbers that it gives are of other processes here. */
	if (json_integer_value(client) != request->peer.pid)
		return refuse(answer, "the service numbers processes in another way (pid namespace)");
	if (request->state)
		return refuse(answer, "this connection follows already");
	if (!has_room(followers, &request->peer))
		return refuse(answer, "the service follows too many already: try again");
	follower = calloc(1, sizeof(*follower));
	if (!follower)
		return refuse(answer, "the service is out of memory: try again");
	follower->peer = request->peer;
	follower->next = followers->first;
	followers->first = follower;
	request->state = follower;
	prepare(followers, json_object_get(request->options, "libraries"));
	follow_all(followers, follower, request->options, answer);
	if (answer->exit_status)
		followers_closed(followers, request);
	return CONTROL_DONE;
}

enum control_taken followers_take(struct followers *followers, struct control_request *request,
				  struct control_answer *answer)
{
	const struct follower *follower = request->state;

	if (!strcmp(request->command, "follow"))
		return take_follow(followers, request, answer);
	if (strcmp(request->command, "wait"))
		return CONTROL_LEFT;
	if (!follower)
		return refuse(answer, "this connection follows nothing");
	return follower->running ? CONTROL_LATER : CONTROL_DONE;
}

static bool is_member(const struct followers *followers, uint32_t process)
{
	for (const struct follower *follower = followers->first; follower; follower = follower->next) {
		if (follower_has(follower, process))
			return true;
	}
	return false;
}

void followers_closed(struct followers *followers, struct control_request *request)
{
	struct model *model = session_model(followers->session);
	struct follower *follower = request->state, **at = &followers->first;
	uint64_t process;
	size_t cursor = 0;
	uint32_t member;

	while (*at != follower)
		at = &(*at)->next;
	*at = follower->next;
	request->state = NULL;
	while (table_next(&follower->members, &cursor, &process, &member)) {
		model_release(model, (uint32_t)process);
		if (member == MEMBER_RUNNING && !is_member(followers, (uint32_t)process))
			session_unfollow(followers->session, (uint32_t)process);
	}
	table_fini(&follower->members);
	free(follower);
}
