/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope dump: what is allocated now, asked of the service. */
#include <argp.h>
#include <stdint.h>

#include "base/units.h"
#include "cmd/ask.h"
#include "cmd/cmd.h"
#include "cmd/options.h"

enum {
	KEY_MIN_SIZE = 0x100,
	KEY_OLDER,
	KEY_SORT,
	KEY_BUFFERS,
	KEY_FORMAT,
	KEY_FAIL_IF_ANY,
	KEY_FAIL_ABOVE,
};

static const struct argp_option argp_options[] = {
	{"min-size", KEY_MIN_SIZE, "SIZE", 0, "Only buffers of SIZE or more on each chip (64K, 1M, ...)", 1},
	{"older", KEY_OLDER, "AGE", 0,
	 "Only buffers allocated at least AGE ago (30s, 5m); those older than the service's watch are kept, with "
	 "\"before attach\" for their age",
	 1},
	{"sort", KEY_SORT, "KEY", 0, "size (default), age, pid, type or address", 2},
	{"buffers", KEY_BUFFERS, "N|all", 0, "Rows of buffers per process in the text (default 10)", 2},
	{"format", KEY_FORMAT, "text|json|csv", 0, "Format (default text)", 2},
	{"fail-if-any", KEY_FAIL_IF_ANY, NULL, 0,
	 "Exit with 3 if any of these buffers is there, or the answer is not exact", 3},
	{"fail-above", KEY_FAIL_ABOVE, "SIZE", 0,
	 "Exit with 3 if the buffers take more than SIZE, over all their chips, or the answer is not exact", 3},
	{0},
};

static json_t *size_of(const char *option, const char *arg, const struct argp_state *state)
{
	return json_integer((json_int_t)options_size(option, arg, state));
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ask *ask = state->input;
	uint64_t value;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = ask;
		options_quiet_argp(state);
		return 0;
	case KEY_MIN_SIZE:
		ask_set(ask, "min_size", size_of("--min-size", arg, state));
		return 0;
	case KEY_OLDER:
		if (units_parse_duration(arg, &value) || value > INT64_MAX)
			options_error(state, "--older takes a time such as 30s, 5m or 2h, not \"%s\"", arg);
		ask_set(ask, "older_ns", json_integer((json_int_t)value));
		return 0;
	case KEY_SORT:
		ask_set_word(ask, "sort", " size age pid type address ", arg, state);
		return 0;
	case KEY_BUFFERS:
		ask_set_buffers(ask, arg, state);
		return 0;
	case KEY_FORMAT:
		ask_set_word(ask, "format", " text json csv ", arg, state);
		return 0;
	case KEY_FAIL_IF_ANY:
		ask_set(ask, "fail_if_any", json_true());
		return 0;
	case KEY_FAIL_ABOVE:
		ask_set(ask, "fail_above", size_of("--fail-above", arg, state));
		return 0;
	case ARGP_KEY_ARG:
		options_error(state, "unexpected argument \"%s\"", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_dump(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &ask_selection_argp}, {.argp = &ask_argp}, {0}};
	static const struct argp argp = {
		.options = argp_options,
		.parser = parse,
		.doc = "Asks the service (\"bufscope serve\") which device buffers are allocated at this moment.\v"
		       "All that happened before the question is in the answer. A user sees their own processes; root and the "
		       "group \"bufscope\" see all. MB is 2^20 bytes. The exit status is 0, 1 when there is no answer (also if "
		       "the process of -p has ended or uses no device runtime, or nobody uses the device), 2 for wrong use, 3 when "
		       "--fail-if-any or --fail-above applies.",
		.children = children,
	};
	struct ask ask;

	argv[0] = (char *)"bufscope dump";
	argp_err_exit_status = CMD_EXIT_USAGE;
	ask_init(&ask, "dump");
	options_parse(&argp, argc, argv, 0, &ask);
	return ask_and_print(&ask);
}
