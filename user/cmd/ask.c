/* SPDX-License-Identifier: BSD-2-Clause */
/* The options that clients of the service share; see ask.h. */
#include "cmd/ask.h"

#include <errno.h>
#include <langinfo.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/query.h"
#include "event.h"
#include "view/style.h"

enum {
	KEY_SOCKET = 0x400,
	KEY_NO_COLOR,
	KEY_DEVICE,
	KEY_TYPE,
	KEY_USER,
};

static void no_memory(void)
{
	log_error("out of memory");
	exit(CMD_EXIT_FAILED);
}

void ask_init(struct ask *ask, const char *command)
{
	memset(ask, 0, sizeof(*ask));
	ask->color = !getenv("NO_COLOR") || !*getenv("NO_COLOR");
	ask->request = client_new_request(command);
	ask->options = json_object_get(ask->request, "options");
	if (!ask->options)
		no_memory();
}

void ask_set(struct ask *ask, const char *key, json_t *value)
{
	if (json_object_set_new(ask->options, key, value))
		no_memory();
}

void ask_set_word(struct ask *ask, const char *key, const char *words, const char *arg, const struct argp_state *state)
{
	const char *found = strstr(words, arg);
	size_t len = strlen(arg);

	if (!len || strchr(arg, ' ') || !found || found[-1] != ' ' || found[len] != ' ')
		options_error(state, "--%s takes one of%s(not \"%s\")", key, words, arg);
	ask_set(ask, key, json_string(arg));
}

void ask_set_mark(struct ask *ask, const char *key, const char *arg, const struct argp_state *state)
{
	if (!query_is_name(arg))
		options_error(state, "\"%s\" is no name of a mark: at most %d letters, digits and ._-+:@/", arg,
			      QUERY_MAX_NAME);
	ask_set(ask, key, json_string(arg));
}

void ask_set_buffers(struct ask *ask, const char *arg, const struct argp_state *state)
{
	uint32_t rows = options_buffers(arg, state);

	ask_set(ask, "buffers", json_integer(rows == OPTIONS_ALL_BUFFERS ? -1 : (json_int_t)rows));
}

static void add(struct ask *ask, const char *key, json_t *value)
{
	json_t *list = json_object_get(ask->options, key);

	if (!list) {
		ask_set(ask, key, json_array());
		list = json_object_get(ask->options, key);
	}
	if (json_array_append_new(list, value))
		no_memory();
}

static json_int_t number(const char *arg, const char *what, const struct argp_state *state)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(arg, &end, 10);
	if (errno || *end || end == arg || value < 0)
		options_error(state, "\"%s\" is no %s", arg, what);
	return value;
}

static json_int_t user_of(const char *arg, const struct argp_state *state)
{
	const struct passwd *entry = getpwnam(arg);

	return entry ? (json_int_t)entry->pw_uid : number(arg, "user", state);
}

/* The kinds of memory are few and their names fixed: a wrong one is told without the service. */
static json_t *type_of(const char *arg, const struct argp_state *state)
{
	for (int type = 0; type < MEMORY_TYPE_COUNT; type++) {
		if (!strcasecmp(arg, memory_type_name((enum memory_type)type)))
			return json_string(memory_type_name((enum memory_type)type));
	}
	options_error(state, "unknown type \"%s\": DRAM, L1, L1_SMALL or TRACE", arg);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ask *ask = state->input;

	switch (key) {
	case KEY_SOCKET:
		ask->socket = arg;
		return 0;
	case KEY_NO_COLOR:
		ask->color = false;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_selection(int key, char *arg, struct argp_state *state)
{
	struct ask *ask = state->input;

	switch (key) {
	case 'p':
		add(ask, "pids", json_integer(options_pid(arg, state)));
		return 0;
	case KEY_DEVICE:
		add(ask, "devices", json_integer(number(arg, "device", state)));
		return 0;
	case KEY_TYPE:
		add(ask, "types", type_of(arg, state));
		return 0;
	case KEY_USER:
		add(ask, "users", json_integer(user_of(arg, state)));
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options_all[] = {
	{"socket", KEY_SOCKET, "PATH", 0, "Where the service is (default /run/bufscope/control, or BUFSCOPE_SOCKET)",
	 9},
	{"no-color", KEY_NO_COLOR, NULL, 0, "No colour on a terminal either (as with NO_COLOR set)", 9},
	{0},
};

static const struct argp_option options_selection[] = {
	{"pid", 'p', "PID", 0, "Only this process. --device, --pid, --type and --user can be given several times", 1},
	{"device", KEY_DEVICE, "N", 0, "Only what lies on device N", 1},
	{"type", KEY_TYPE, "TYPE", 0, "Only this memory: DRAM, L1, L1_SMALL or TRACE", 1},
	{"user", KEY_USER, "USER", 0, "Only processes of this user (a name or a number)", 1},
	{0},
};

const struct argp ask_argp = {.options = options_all, .parser = parse};
const struct argp ask_selection_argp = {.options = options_selection, .parser = parse_selection};

void ask_style(const struct ask *ask, struct style *out)
{
	const char *term = getenv("TERM");
	struct winsize size;

	*out = (struct style){.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8")};
	if (!isatty(STDOUT_FILENO))
		return;
	out->colour = ask->color && term && strcmp(term, "dumb");
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		out->width = size.ws_col;
}

int ask_and_print(struct ask *ask)
{
	struct style style;

	ask_style(ask, &style);
	ask_set(ask, "utf8", json_boolean(style.utf8));
	ask_set(ask, "colour", json_boolean(style.colour));
	if (style.width)
		ask_set(ask, "width", json_integer(style.width));
	return client_print(ask->socket, ask->request);
}
