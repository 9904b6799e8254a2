/* SPDX-License-Identifier: BSD-2-Clause */
/* argp tables and their parser. Strings point into argv. */
#include "cmd/options.h"

#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "cmd/cmd.h"

#pragma GCC poison argp_error /* says nothing here: options_quiet_argp() */

enum {
	KEY_FORMAT = 0x100,
	KEY_EVENTS,
	KEY_INTERVAL,
	KEY_BUFFERS,
	KEY_RING_SIZE,
	KEY_NO_FOLLOW,
	KEY_NO_WAIT,
	KEY_RUN_AS,
	KEY_ADOPT,
	KEY_PREPARE,
	KEY_NAME,
	KEY_NO_COLOR,
	KEY_CORE,
	KEY_FREEZE,
	KEY_PERF_LINKS,
	KEY_LOSSLESS,
	KEY_SYSROOT,
	KEY_VERIFY,
	KEY_ALL,
	KEY_FAIL_IF_ANY,
	KEY_FAIL_ABOVE,
	KEY_NO_SERVICE,
};

void options_error(const struct argp_state *state, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", state->name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, " (see %s --help)\n", state->name);
	exit(argp_err_exit_status);
}

void options_quiet_argp(struct argp_state *state)
{
	state->err_stream = NULL;
}

void options_parse(const struct argp *argp, int argc, char **argv, unsigned int flags, void *input)
{
	int err = argp_parse(argp, argc, argv, flags, NULL, input);

	/* Of an unknown option getopt has said what it is. */
	if (err == ENOMEM) {
		fprintf(stderr, "%s: out of memory\n", argv[0]);
		exit(argp_err_exit_status == CMD_EXIT_USAGE ? CMD_EXIT_FAILED : argp_err_exit_status);
	}
	if (err)
		exit(argp_err_exit_status);
}

static const struct argp_option common_options[] = {
	{"format", KEY_FORMAT, "text|json", 0, "Format of the report (default text)", 1},
	{"output", 'o', "FILE", 0, "Write the report to FILE instead of stderr; \"-\" is stdout", 1},
	{"events", KEY_EVENTS, "FILE", 0,
	 "Write a line for each event while it happens: text, or JSON lines when FILE ends in .ndjson or with --format "
	 "json; \"-\" is stdout",
	 1},
	{"interval", KEY_INTERVAL, "SECONDS", 0, "Repeat the table every SECONDS (500ms, 2min: other units)", 1},
	{"buffers", KEY_BUFFERS, "N|all", 0, "Rows of the largest buffers in the text report (default 10)", 1},
	{"fail-if-any", KEY_FAIL_IF_ANY, NULL, 0,
	 "Exit with 3 if any buffer remained at the end of its process, or at the end of watching, held ones too; also if "
	 "the table is not exact, as that proves nothing",
	 1},
	{"fail-above", KEY_FAIL_ABOVE, "SIZE", 0,
	 "Exit with 3 if what remained takes more than SIZE, over all its chips; also if the table is not exact", 1},
	{"quiet", 'q', NULL, 0, "Print nothing but the report, and errors", 2},
	{"verbose", 'v', NULL, 0, "Say what is done and why", 2},
	{"no-color", KEY_NO_COLOR, NULL, 0, "No colour on a terminal either (as with NO_COLOR set)", 2},
	{"no-follow", KEY_NO_FOLLOW, NULL, 0, "Watch no child processes", 2},
	{"no-service", KEY_NO_SERVICE, NULL, 0,
	 "As a plain user: do not ask \"bufscope serve\", trace directly (run: through sudo)", 2},
	{"perf-links", KEY_PERF_LINKS, NULL, 0, "Attach by perf events, also where the kernel has uprobe_multi", 2},
	{"lossless", KEY_LOSSLESS, NULL, 0,
	 "Lose no record: stop a process (SIGSTOP) that is faster than bufscope, for moments. Blocking calls of it may end "
	 "early (EINTR), and a parent that watches for stops, such as an interactive shell, sees them",
	 2},
	{"ring-size", KEY_RING_SIZE, "SIZE", 0, "Size of the event buffer, a power of two (default 64M)", 2},
	{0},
};

static void parse_format(struct options *options, const char *arg, struct argp_state *state)
{
	if (!strcmp(arg, "text"))
		options->format = FORMAT_TEXT;
	else if (!strcmp(arg, "json"))
		options->format = FORMAT_JSON;
	else
		options_error(state, "unknown format \"%s\": text or json", arg);
}

uint32_t options_buffers(const char *arg, const struct argp_state *state)
{
	unsigned long value;
	char *end;

	if (!strcmp(arg, "all"))
		return OPTIONS_ALL_BUFFERS;
	errno = 0;
	value = strtoul(arg, &end, 10);
	if (errno || *end || end == arg || *arg == '-' || value >= OPTIONS_ALL_BUFFERS)
		options_error(state, "--buffers takes a number or \"all\", not \"%s\"", arg);
	return (uint32_t)value;
}

uint64_t options_size(const char *option, const char *arg, const struct argp_state *state)
{
	uint64_t bytes;

	if (units_parse_size(arg, &bytes) || bytes > INT64_MAX)
		options_error(state, "%s takes a size such as 4096, 64K or 1G, not \"%s\"", option, arg);
	return bytes;
}

size_t options_ring_size(const char *arg, const struct argp_state *state)
{
	uint64_t bytes;

	if (units_parse_size(arg, &bytes) || bytes & (bytes - 1) || bytes < (uint64_t)sysconf(_SC_PAGESIZE) ||
	    bytes > 2ull << 30)
		options_error(state, "--ring-size takes a power of two from 4K to 2G, not \"%s\"", arg);
	return bytes;
}

pid_t options_pid(const char *arg, const struct argp_state *state)
{
	long value;
	char *end;

	errno = 0;
	value = strtol(arg, &end, 10);
	if (errno || *end || end == arg || value <= 0 || value > 1 << 22)
		options_error(state, "\"%s\" is no process id", arg);
	return (pid_t)value;
}

static bool is_ndjson(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && !strcmp(dot, ".ndjson");
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case KEY_FORMAT:
		parse_format(options, arg, state);
		return 0;
	case 'o':
		options->output = arg;
		return 0;
	case KEY_EVENTS:
		options->events = arg;
		return 0;
	case KEY_INTERVAL:
		if (units_parse_duration(arg, &options->interval_ns) || !options->interval_ns)
			options_error(state, "--interval takes a time in seconds above 0, not \"%s\"", arg);
		return 0;
	case KEY_BUFFERS:
		options->buffers = options_buffers(arg, state);
		return 0;
	case KEY_RING_SIZE:
		options->ring_bytes = options_ring_size(arg, state);
		return 0;
	case 'q':
		options->quiet = true;
		return 0;
	case 'v':
		options->verbose = true;
		return 0;
	case KEY_NO_FOLLOW:
		options->follow = false;
		return 0;
	case KEY_PERF_LINKS:
		options->perf_links = true;
		return 0;
	case KEY_LOSSLESS:
		options->lossless = true;
		return 0;
	case KEY_NO_COLOR:
		options->color = false;
		return 0;
	case KEY_NO_SERVICE:
		options->no_service = true;
		return 0;
	case KEY_FAIL_IF_ANY:
		options->gate.if_any = true;
		return 0;
	case KEY_FAIL_ABOVE:
		options->gate.has_above = true;
		options->gate.above_bytes = options_size("--fail-above", arg, state);
		return 0;
	case ARGP_KEY_END:
		options->events_json =
			options->events && (options->format == FORMAT_JSON || is_ndjson(options->events));
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp common_argp = {.options = common_options, .parser = parse_common};
static const struct argp_child common_children[] = {{.argp = &common_argp}, {0}};

static void set_defaults(struct options *options)
{
	memset(options, 0, sizeof(*options));
	options->format = FORMAT_TEXT;
	/* https://no-color.org: present and not empty */
	options->color = !getenv("NO_COLOR") || !*getenv("NO_COLOR");
	options->buffers = 10;
	options->follow = true;
	options->wait = true;
}

/* ---- run ---- */

static const struct argp_option run_options[] = {
	{"no-wait", KEY_NO_WAIT, NULL, 0, "End with the command, not its last descendant", 2},
	{"run-as", KEY_RUN_AS, "USER", 0, "Start the command as USER (when bufscope runs as root)", 2},
	{"prepare", KEY_PREPARE, "FILE", OPTION_HIDDEN, NULL, 0},
	{"adopt", KEY_ADOPT, "PID", OPTION_HIDDEN, NULL, 0},
	{0},
};

static error_t parse_run(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = options;
		options_quiet_argp(state);
		return 0;
	case KEY_NO_WAIT:
		options->wait = false;
		return 0;
	case KEY_RUN_AS:
		options->run_as = arg;
		return 0;
	case KEY_PREPARE:
		if (options->prepare_count < OPTIONS_MAX_PREPARE)
			options->prepare[options->prepare_count++] = arg;
		return 0;
	case KEY_ADOPT:
		options->adopt = options_pid(arg, state);
		return 0;
	case ARGP_KEY_ARGS:
		options->command = state->argv + state->next;
		options->command_count = (size_t)(state->argc - state->next);
		return 0;
	case ARGP_KEY_NO_ARGS:
		options_error(state, "no command given: bufscope run [options] -- COMMAND [ARG...]");
		return 0;
	case ARGP_KEY_END:
		if (options->format == FORMAT_JSON && (!options->output || !strcmp(options->output, "-")))
			options_error(state, "--format json needs -o FILE: stdout and stderr belong to the command");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void options_parse_run(int argc, char **argv, struct options *out)
{
	static const struct argp argp = {
		.options = run_options,
		.parser = parse_run,
		.args_doc = "-- COMMAND [ARG...]",
		.doc = "Runs COMMAND and reports which device buffers it and its descendants hold.\v"
		       "The report goes to stderr, so that stdout stays the command's own. SIGUSR1 to bufscope writes a snapshot "
		       "of that moment to the same place, or with -o FILE to FILE.1, FILE.2, ... MB is 2^20 bytes.\n\n"
		       "The exit status is the command's own: 128+N after signal N, 126 if it cannot be executed, 127 if it "
		       "is not found; 125 if bufscope failed before the command was started. 3, whatever the command's own was, if "
		       "--fail-if-any or --fail-above applies.\n\n"
		       "Run as a plain user, the command runs as that user, in that environment. Where the service (\"bufscope "
		       "serve\") answers, it is asked, and nothing is raised. Otherwise, or with --no-service or an option that the "
		       "service cannot serve (--events, --interval, --lossless, --ring-size, --perf-links, --no-follow), only the "
		       "tracing part is raised, through sudo. -v says which way was taken.",
		.children = common_children,
	};

	set_defaults(out);
	argv[0] = (char *)"bufscope run";
	argp_err_exit_status = CMD_EXIT_NOT_STARTED;
	options_parse(&argp, argc, argv, ARGP_IN_ORDER, out);
}

/* ---- attach ---- */

static const struct argp_option attach_options[] = {
	{"pid", 'p', "PID", 0, "Attach to this process; can be given several times", 0},
	{"name", KEY_NAME, "PATTERN", 0, "Attach to all processes whose name matches PATTERN (* and ? as in a shell)",
	 0},
	{"all", KEY_ALL, NULL, 0,
	 "Attach to every process of the machine that uses a device, now and later, until Ctrl-C", 0},
	{"verify", KEY_VERIFY, "SECONDS", 0,
	 "Compare the table with the runtime's own books every SECONDS; a difference that persists is named", 0},
	{0},
};

static error_t parse_attach(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = options;
		options_quiet_argp(state);
		return 0;
	case 'p':
		if (options->pid_count == OPTIONS_MAX_PIDS)
			options_error(state, "more than %d processes", OPTIONS_MAX_PIDS);
		options->pids[options->pid_count++] = options_pid(arg, state);
		return 0;
	case KEY_NAME:
		options->name = arg;
		return 0;
	case KEY_ALL:
		options->all = true;
		return 0;
	case KEY_VERIFY:
		if (units_parse_duration(arg, &options->verify_ns) || !options->verify_ns)
			options_error(state, "--verify takes a time in seconds above 0, not \"%s\"", arg);
		return 0;
	case ARGP_KEY_ARG:
		options_error(state, "unexpected argument \"%s\"", arg);
		return 0;
	case ARGP_KEY_END:
		if (!options->pid_count && !options->name && !options->all)
			options_error(state, "which process? -p PID, --name PATTERN or --all");
		if (options->all && (options->pid_count || options->name || !options->follow))
			options_error(state, "--all means every process: no -p, --name or --no-follow with it");
		if (options->format == FORMAT_JSON && !options->output)
			options_error(state, "--format json needs -o FILE, or -o - for stdout");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void options_parse_attach(int argc, char **argv, struct options *out)
{
	static const struct argp argp = {
		.options = attach_options,
		.parser = parse_attach,
		.doc = "Watches processes that already run, until they end or Ctrl-C, and reports which device buffers they "
		       "hold.\v"
		       "The processes go on untouched. A process without a supported library is watched for one to be mapped. "
		       "SIGUSR1 to bufscope writes a snapshot of that moment where the report goes, or with -o FILE to FILE.1, "
		       "FILE.2, ... MB is 2^20 bytes.\n\n"
		       "A plain user's \"attach -p\" asks the service (\"bufscope serve\") where it answers; it needs no privilege "
		       "then. The exit status is 0, 1 for a failure, 2 for wrong use, 3 if --fail-if-any or --fail-above applies.",
		.children = common_children,
	};

	set_defaults(out);
	argv[0] = (char *)"bufscope attach";
	argp_err_exit_status = CMD_EXIT_USAGE;
	options_parse(&argp, argc, argv, 0, out);
}

/* ---- census ---- */

static const struct argp_option census_options[] = {
	{"pid", 'p', "PID", 0, "Read a running process; it is not stopped and nothing is attached to it", 1},
	{"freeze", KEY_FREEZE, NULL, 0, "Stop the process while it is read, and say for how long", 1},
	{"core", KEY_CORE, "FILE", 0, "Read a core file, also one compressed with zstd", 1},
	{"sysroot", KEY_SYSROOT, "DIR", 0, "Look for the core's library below DIR", 1},
	{"format", KEY_FORMAT, "text|json", 0, "Format of the report (default text)", 2},
	{"output", 'o', "FILE", 0, "Write the report to FILE instead of stdout", 2},
	{"buffers", KEY_BUFFERS, "N|all", 0, "Rows of the largest buffers in the text report (default 10)", 2},
	{"quiet", 'q', NULL, 0, "Print nothing but the report, and errors", 3},
	{"verbose", 'v', NULL, 0, "Say what is done and why", 3},
	{0},
};

static error_t parse_census(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		options_quiet_argp(state);
		return 0;
	case 'p':
		if (options->pid_count)
			options_error(state, "one process at a time");
		options->pids[options->pid_count++] = options_pid(arg, state);
		return 0;
	case KEY_FREEZE:
		options->freeze = true;
		return 0;
	case KEY_CORE:
		options->core = arg;
		return 0;
	case KEY_SYSROOT:
		options->sysroot = arg;
		return 0;
	case ARGP_KEY_ARG:
		options_error(state, "unexpected argument \"%s\"", arg);
		return 0;
	case ARGP_KEY_END:
		if (!options->pid_count == !options->core)
			options_error(state, "-p PID or --core FILE, one of them");
		if (options->freeze && options->core)
			options_error(state, "--freeze is for running processes");
		if (!options->output)
			options->output = "-";
		return 0;
	default:
		return parse_common(key, arg, state);
	}
}

void options_parse_census(int argc, char **argv, struct options *out)
{
	static const struct argp argp = {
		.options = census_options,
		.parser = parse_census,
		.doc = "Reads all buffers of a process out of its memory, and the runtime's own allocator books beside them.\v"
		       "The process is not stopped, nothing is attached to it, and no page of it is faulted in. Every buffer is "
		       "believed only when the books confirm it; what changes while it is read is said. With --freeze all threads "
		       "are stopped by ptrace for the read: a blocking system call may then end early (EINTR). MB is 2^20 bytes.",
	};

	set_defaults(out);
	argv[0] = (char *)"bufscope census";
	argp_err_exit_status = CMD_EXIT_USAGE;
	options_parse(&argp, argc, argv, 0, out);
}
