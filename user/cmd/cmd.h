/* SPDX-License-Identifier: BSD-2-Clause */
/* The subcommands. Each takes the arguments from its own name on and returns the exit status. */
#ifndef BUFSCOPE_CMD_CMD_H
#define BUFSCOPE_CMD_CMD_H

enum cmd_exit {
	CMD_EXIT_DONE = 0,
	CMD_EXIT_FAILED = 1,
	CMD_EXIT_USAGE = 2,
	CMD_EXIT_GATE = 3,          /* a limit the user asked for was broken */
	CMD_EXIT_NOT_STARTED = 125, /* run: bufscope failed before the command was started */
	CMD_EXIT_NOT_EXECUTABLE = 126,
	CMD_EXIT_NOT_FOUND = 127,
};

int cmd_run(int argc, char **argv);
int cmd_attach(int argc, char **argv);
int cmd_census(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_mark(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_check(int argc, char **argv);

#endif
