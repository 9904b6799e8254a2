/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope watch: asks the service again and again what is live, and shows what grows. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "cmd/ask.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "model/growth.h"
#include "view/growth_view.h"

#define DEFAULT_INTERVAL_NS 10000000000ull
#define MAX_ANSWER          (16u << 20)

enum { KEY_GROWTH = 0x100, KEY_INTERVAL, KEY_CYCLES, KEY_MARKS };

struct watch_options {
	struct ask ask;
	bool only_growing, marks;
	uint64_t interval_ns;
	uint64_t cycles; /* 0: until it is ended */
};

/* ---- an answer ---- */

static int collect(void *context, const char *text, size_t len)
{
	struct strbuf *answer = context;

	if (answer->len + len > MAX_ANSWER)
		return -EMSGSIZE;
	strbuf_add(answer, text, len);
	return strbuf_error(answer);
}

static int type_of(const json_t *value)
{
	for (int type = 0; json_is_string(value) && type < MEMORY_TYPE_COUNT; type++) {
		if (!strcmp(json_string_value(value), memory_type_name((enum memory_type)type)))
			return type;
	}
	return -1;
}

static int add_moment(struct growth *growth, const json_t *moment)
{
	const json_t *groups = json_object_get(moment, "groups");
	struct size_classes classes = {0};

	if (!json_is_array(groups))
		return -EPROTO;
	for (size_t i = 0; i < json_array_size(groups); i++) {
		const json_t *group = json_array_get(groups, i);
		uint64_t class_bytes = (uint64_t)json_integer_value(json_object_get(group, "class_bytes"));
		int type = type_of(json_object_get(group, "type"));
		struct size_class *size_class;

		if (type < 0 || !class_bytes)
			return -EPROTO;
		size_class = &classes.of[type][63 - __builtin_clzll(class_bytes)];
		size_class->buffers = (uint64_t)json_integer_value(json_object_get(group, "buffers"));
		size_class->bytes = (uint64_t)json_integer_value(json_object_get(group, "bytes"));
	}
	growth_add(growth, &classes, (uint64_t)json_integer_value(json_object_get(moment, "time_ns")));
	return 0;
}

/* The marks, and then now; or only now. */
static int add_answer(const struct watch_options *options, struct growth *growth, const struct strbuf *answer)
{
	json_t *document = json_loadb(strbuf_str(answer), answer->len, 0, NULL);
	const json_t *moments = json_object_get(document, "moments");
	size_t count = json_array_size(moments);
	int err = count ? 0 : -EPROTO;

	for (size_t i = options->marks || !count ? 0 : count - 1; !err && i < count; i++)
		err = add_moment(growth, json_array_get(moments, i));
	json_decref(document);
	if (err)
		log_error("the service's answer cannot be understood");
	return err;
}

/* ---- cycles ---- */

/* The exit status. */
static int ask_once(struct watch_options *options, struct growth *growth)
{
	struct strbuf answer = STRBUF_INIT;
	int status;

	json_incref(options->ask.request);
	if (!client_request(options->ask.socket, options->ask.request, collect, &answer, &status) &&
	    status == CMD_EXIT_DONE && add_answer(options, growth, &answer))
		status = CMD_EXIT_FAILED;
	strbuf_fini(&answer);
	return status;
}

static int print(const struct watch_options *options, const struct style *style, const struct growth *growth)
{
	struct strbuf text = STRBUF_INIT;
	int err = growth_view_text(&text, style, growth, options->only_growing);

	if (err)
		log_error("out of memory");
	else if (fwrite(strbuf_str(&text), 1, text.len, stdout) != text.len || fflush(stdout)) {
		log_error("cannot write: %s", strerror(errno));
		err = -EIO;
	}
	strbuf_fini(&text);
	return err;
}

static void advance(struct timespec *when, uint64_t ns)
{
	uint64_t sum = (uint64_t)when->tv_nsec + ns;

	when->tv_sec += (time_t)(sum / 1000000000);
	when->tv_nsec = (long)(sum % 1000000000);
}

static int watch(struct watch_options *options)
{
	struct growth *growth = calloc(1, sizeof(*growth));
	struct style style;
	struct timespec next;
	int status;

	if (!growth) {
		log_error("out of memory");
		return CMD_EXIT_FAILED;
	}
	ask_style(&options->ask, &style);
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (uint64_t cycle = 1;; cycle++) {
		status = ask_once(options, growth);
		if (status == CMD_EXIT_DONE && print(options, &style, growth))
			status = CMD_EXIT_FAILED;
		if (status != CMD_EXIT_DONE || options->marks || cycle == options->cycles)
			break;
		advance(&next, options->interval_ns);
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR)
			;
	}
	free(growth);
	return status;
}

/* ---- options ---- */

static const struct argp_option argp_options[] = {
	{"growth", KEY_GROWTH, NULL, 0, "Only what has more bytes than at the first moment", 2},
	{"interval", KEY_INTERVAL, "TIME", 0, "Look again after TIME (default 10s)", 2},
	{"cycles", KEY_CYCLES, "N", 0, "End after N looks", 2},
	{"marks", KEY_MARKS, NULL, 0, "From mark to mark (\"bufscope mark\") and to now, once, instead", 2},
	{0},
};

static uint64_t cycles_of(const char *arg, const struct argp_state *state)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(arg, &end, 10);
	if (errno || *end || end == arg || !value || *arg == '-')
		options_error(state, "--cycles takes a number from 1, not \"%s\"", arg);
	return value;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct watch_options *options = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->child_inputs[1] = &options->ask;
		options_quiet_argp(state);
		return 0;
	case KEY_GROWTH:
		options->only_growing = true;
		return 0;
	case KEY_INTERVAL:
		if (units_parse_duration(arg, &options->interval_ns) || !options->interval_ns)
			options_error(state, "--interval takes a time, not \"%s\"", arg);
		return 0;
	case KEY_CYCLES:
		options->cycles = cycles_of(arg, state);
		return 0;
	case KEY_MARKS:
		options->marks = true;
		return 0;
	case ARGP_KEY_ARG:
		options_error(state, "unexpected argument \"%s\"", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_watch(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &ask_selection_argp}, {.argp = &ask_argp}, {0}};
	static const struct argp argp = {
		.options = argp_options,
		.parser = parse,
		.doc = "Asks the service (\"bufscope serve\") again and again how many live buffers there are of each memory type "
		       "and class of sizes, and shows what became more since the first look, and in how many looks it grew.\v"
		       "A class holds the sizes above half of what it says, and up to that. What grows in every look and never "
		       "shrinks is worth a question; it is for people to call it a leak. MB is 2^20 bytes.",
		.children = children,
	};
	struct watch_options options = {.interval_ns = DEFAULT_INTERVAL_NS};
	int status;

	argv[0] = (char *)"bufscope watch";
	argp_err_exit_status = CMD_EXIT_USAGE;
	ask_init(&options.ask, "watch");
	options_parse(&argp, argc, argv, 0, &options);
	status = watch(&options);
	json_decref(options.ask.request);
	return status;
}
