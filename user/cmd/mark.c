/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope mark: gives this moment a name at the service. */
#include <argp.h>

#include "cmd/ask.h"
#include "cmd/cmd.h"
#include "cmd/options.h"

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ask *ask = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = ask;
		options_quiet_argp(state);
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num)
			options_error(state, "unexpected argument \"%s\"", arg);
		ask_set_mark(ask, "name", arg, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_mark(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &ask_argp}, {0}};
	static const struct argp argp = {
		.parser = parse,
		.args_doc = "[NAME]",
		.doc = "Gives this moment a name, for \"bufscope diff\" and \"watch\". A name that is taken moves to this moment. "
		       "Without NAME the marks are listed.\v"
		       "A name has at most 64 letters, digits and ._-+:@/. Marks end with the service. Root and the group "
		       "\"bufscope\" share theirs; any other user has their own, of their own processes. The oldest give way when "
		       "there are too many: 32, or 8 of a user, with 256 and 32 MiB.",
		.children = children,
	};
	struct ask ask;

	argv[0] = (char *)"bufscope mark";
	argp_err_exit_status = CMD_EXIT_USAGE;
	ask_init(&ask, "mark");
	options_parse(&argp, argc, argv, 0, &ask);
	return ask_and_print(&ask);
}
