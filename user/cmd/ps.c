/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope ps: who holds device memory, asked of the service. */
#include <argp.h>
#include <unistd.h>

#include "cmd/ask.h"
#include "cmd/cmd.h"
#include "cmd/options.h"

enum { KEY_FORMAT = 0x100 };

#define PIPE_WIDTH 10000 /* columns: the most that the service takes */

static const struct argp_option argp_options[] = {
	{"format", KEY_FORMAT, "text|csv", 0, "Format (default text)", 2},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ask *ask = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = ask;
		options_quiet_argp(state);
		return 0;
	case KEY_FORMAT:
		ask_set_word(ask, "format", " text csv ", arg, state);
		return 0;
	case ARGP_KEY_ARG:
		options_error(state, "unexpected argument \"%s\"", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_ps(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &ask_selection_argp}, {.argp = &ask_argp}, {0}};
	static const struct argp argp = {
		.options = argp_options,
		.parser = parse,
		.doc = "Asks the service (\"bufscope serve\") which processes hold device memory: a line per process, device "
		       "and type, those that hold most first, children below their parents with the sum of the tree.\v"
		       "NOW and PEAK are what was asked for on each of the devices of the line; HELD is what is left of a closed "
		       "device: its memory is back with the runtime. MB is 2^20 bytes. Columns that the terminal has no room for "
		       "are left out, CONTAINER first; into a pipe all are written. A user sees their own processes; root and "
		       "the group \"bufscope\" see all.",
		.children = children,
	};
	struct ask ask;

	argv[0] = (char *)"bufscope ps";
	argp_err_exit_status = CMD_EXIT_USAGE;
	ask_init(&ask, "ps");
	options_parse(&argp, argc, argv, 0, &ask);
	/* What reads it next has no right edge. */
	if (!isatty(STDOUT_FILENO))
		ask_set(&ask, "width", json_integer(PIPE_WIDTH));
	return ask_and_print(&ask);
}
