/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds the subcommand. Everything else is in cmd/. */
#include <argp.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"

const char *argp_program_version = "bufscope " BUFSCOPE_VERSION;

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *synopsis;
	const char *summary;
} commands[] = {
	{"run", cmd_run, "run [options] -- COMMAND [ARG...]", "start a command and watch it"},
	{"attach", cmd_attach, "attach [options] -p PID | --name PATTERN | --all", "watch processes that already run"},
	{"census", cmd_census, "census -p PID | --core FILE", "what a process holds now, or held when it dumped core"},
	{"serve", cmd_serve, "serve [options]", "watch the whole machine and answer who asks"},
	{"dump", cmd_dump, "dump [options]", "ask the service what is allocated now"},
	{"ps", cmd_ps, "ps [options]", "who holds device memory: process, device, type; now and at most"},
	{"mark", cmd_mark, "mark [NAME]", "give this moment a name; or list the names"},
	{"diff", cmd_diff, "diff [options] MARK [MARK]", "what was added, freed and stayed between two moments"},
	{"watch", cmd_watch, "watch [options]", "what grows from moment to moment, by type and size"},
	{"top", cmd_top, "top [options]", "see live who holds which device's memory, asked of the service"},
	{"check", cmd_check, "check [-p PID | FILE]", "what can be watched: this machine, a process, a library file"},
};

static void usage(FILE *out)
{
	fprintf(out, "Shows who holds the memory of accelerator devices, buffer by buffer.\n\nUsage:\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(out, "  bufscope %s\n      %s\n", commands[i].synopsis, commands[i].summary);
	fprintf(out, "  bufscope --help | --version\n\n\"bufscope COMMAND --help\" tells the options of each.\n");
}

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");
	if (argc < 2) {
		usage(stderr);
		return CMD_EXIT_USAGE;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return CMD_EXIT_DONE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("%s\n", argp_program_version);
		return CMD_EXIT_DONE;
	}
	fprintf(stderr, "bufscope: unknown command \"%s\" (see bufscope --help)\n", argv[1]);
	return CMD_EXIT_USAGE;
}
