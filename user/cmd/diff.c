/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope diff: what changed between two marks, or since one, asked of the service. */
#include <argp.h>

#include "cmd/ask.h"
#include "cmd/cmd.h"
#include "cmd/options.h"

enum { KEY_FORMAT = 0x100, KEY_BUFFERS };

static const struct argp_option argp_options[] = {
	{"buffers", KEY_BUFFERS, "N|all", 0, "Rows of buffers per list in the text (default 10)", 2},
	{"format", KEY_FORMAT, "text|json", 0, "Format (default text)", 2},
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
		ask_set_word(ask, "format", " text json ", arg, state);
		return 0;
	case KEY_BUFFERS:
		ask_set_buffers(ask, arg, state);
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 1)
			options_error(state, "unexpected argument \"%s\"", arg);
		ask_set_mark(ask, state->arg_num ? "to" : "from", arg, state);
		return 0;
	case ARGP_KEY_NO_ARGS:
		options_error(state, "which mark is to be compared? (\"bufscope mark\" lists them)");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_diff(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &ask_selection_argp}, {.argp = &ask_argp}, {0}};
	static const struct argp argp = {
		.options = argp_options,
		.parser = parse,
		.args_doc = "MARK [MARK]",
		.doc = "Asks the service (\"bufscope serve\") which live buffers were added, freed and stayed since MARK, or "
		       "between two of them (\"bufscope mark\").\v"
		       "A buffer whose device was closed counts as freed: its memory is back with the runtime. Sizes are summed "
		       "over the devices of a buffer. MB is 2^20 bytes.",
		.children = children,
	};
	struct ask ask;

	argv[0] = (char *)"bufscope diff";
	argp_err_exit_status = CMD_EXIT_USAGE;
	ask_init(&ask, "diff");
	options_parse(&argp, argc, argv, 0, &ask);
	return ask_and_print(&ask);
}
