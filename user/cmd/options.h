/* SPDX-License-Identifier: BSD-2-Clause */
/* The options that `run` and `attach` share, parsed into a structure of the caller's. */
#ifndef BUFSCOPE_CMD_OPTIONS_H
#define BUFSCOPE_CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cmd/gate.h"

enum options_format {
	FORMAT_TEXT = 1,
	FORMAT_JSON = 2,
};

#define OPTIONS_MAX_PIDS    256
#define OPTIONS_MAX_PREPARE 1024
#define OPTIONS_ALL_BUFFERS UINT32_MAX

struct options {
	enum options_format format;
	const char *output; /* NULL: stderr; "-": stdout */
	const char *events; /* NULL: none; "-": stdout */
	bool events_json;
	uint64_t interval_ns; /* 0: no repeated table */
	uint32_t buffers;     /* rows of the largest buffers */
	size_t ring_bytes;
	bool quiet;
	bool verbose;
	bool perf_links;
	bool lossless; /* stop who fills the ring */
	bool color;    /* allowed; still only on a terminal */
	bool follow;
	bool no_service;  /* a plain user's: not asked, even if it is there */
	struct gate gate; /* on what remains at the end */
	bool service;     /* serve: no report, and processes that ended are forgotten */

	/* run */
	bool wait;
	const char *run_as;
	char **command;
	size_t command_count;
	pid_t adopt;                              /* internal: trace this waiting child of the caller, on its behalf */
	const char *prepare[OPTIONS_MAX_PREPARE]; /* internal: the libraries it is linked with */
	size_t prepare_count;

	/* census */
	const char *core;
	const char *sysroot;
	bool freeze; /* stop the process while it is read */

	/* attach; census: one pid */
	pid_t pids[OPTIONS_MAX_PIDS];
	size_t pid_count;
	const char *name;
	bool all;           /* every process of the machine */
	uint64_t verify_ns; /* 0: table and books are not compared periodically */
};

/*
 * Parse the arguments after "bufscope". argv[0] is the subcommand. --help and --version print and
 * exit with 0, a usage error exits with 2 (attach) or 125 (run: the command was not started).
 */
void options_parse_run(int argc, char **argv, struct options *out);
void options_parse_attach(int argc, char **argv, struct options *out);
void options_parse_census(int argc, char **argv, struct options *out);

/*
 * For every subcommand's argp. A usage error is one line on stderr, and the exit status
 * argp_err_exit_status; argp's own errors have a second and third line.
 */
struct argp;
struct argp_state;

void options_error(const struct argp_state *state, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
/* At ARGP_KEY_INIT: getopt alone tells of unknown options. argp_error() must not be used then. */
void options_quiet_argp(struct argp_state *state);
/* A process id, or a usage error. */
pid_t options_pid(const char *arg, const struct argp_state *state);
/* Bytes, or a usage error that names @option. */
uint64_t options_size(const char *option, const char *arg, const struct argp_state *state);
/* Bytes of the ring; rows of buffers, OPTIONS_ALL_BUFFERS for "all": or a usage error. */
size_t options_ring_size(const char *arg, const struct argp_state *state);
uint32_t options_buffers(const char *arg, const struct argp_state *state);
/* argp_parse(), and exit if it fails. */
void options_parse(const struct argp *argp, int argc, char **argv, unsigned int flags, void *input);

#endif
