/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the command lines of the subcommands: the first byte is which, the rest the arguments, each
 * ended by NUL. A usage error calls exit(), which is a jump back to here.
 */
#include <argp.h>
#include <setjmp.h>
#include <string.h>

#include "cmd/options.h"
#include "fuzz.h"

#define MAX_ARGUMENTS 400

const char *argp_program_version = "fuzz";

static jmp_buf back;
static bool parsing;

/* The jump out of argp leaves what it allocated. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

_Noreturn void __real_exit(int status);
_Noreturn void __wrap_exit(int status);

_Noreturn void __wrap_exit(int status)
{
	if (!parsing) /* libFuzzer's own */
		__real_exit(status);
	longjmp(back, 1);
}

/* These print and end, or wait, inside the C library: --help, --usage, --version, --HANG, -?, -V, and what argp takes for -?. */
static bool ends_in_libc(const char *argument)
{
	if (argument[0] != '-')
		return false;
	if (argument[1] != '-')
		return strpbrk(argument, "?V\xff");
	return strchr("huH", argument[2]) || (argument[2] == 'v' && strncmp(argument, "--veri", 6));
}

static void check(const struct options *options)
{
	FUZZ_ASSERT(options->format == FORMAT_TEXT || options->format == FORMAT_JSON);
	FUZZ_ASSERT(options->pid_count <= OPTIONS_MAX_PIDS && options->prepare_count <= OPTIONS_MAX_PREPARE);
	FUZZ_ASSERT(!(options->ring_bytes & (options->ring_bytes - 1)));
	for (size_t i = 0; i < options->pid_count; i++)
		FUZZ_ASSERT(options->pids[i] > 0);
	for (size_t i = 0; i < options->command_count; i++)
		FUZZ_ASSERT(options->command[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static void (*const parse[])(int, char **, struct options *) = {options_parse_run, options_parse_attach,
									options_parse_census};
	static struct options options;
	uint8_t which = fuzz_byte(&data, &len);
	char *text = malloc(len + 1), *argv[MAX_ARGUMENTS + 2];
	int argc = 1;

	FUZZ_ASSERT(text);
	memcpy(text, data, len);
	text[len] = 0;
	argv[0] = text + len;
	for (size_t at = 0; at < len && argc <= MAX_ARGUMENTS; at += strlen(text + at) + 1) {
		if (ends_in_libc(text + at))
			goto out;
		argv[argc++] = text + at;
	}
	argv[argc] = NULL;
	parsing = true;
	if (!setjmp(back)) {
		parse[which % 3](argc, argv, &options);
		check(&options);
	}
	parsing = false;
out:
	free(text);
	return 0;
}
