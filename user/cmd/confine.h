/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What bufscope gives up before it reads anything of a traced process: capabilities, new privileges by
 * exec, and system calls that somebody who took it over would want. For this process and what it forks
 * from here on: a command is forked before.
 */
#ifndef BUFSCOPE_CMD_CONFINE_H
#define BUFSCOPE_CMD_CONFINE_H

struct options;

enum confine_task {
	CONFINE_TRACER = 1,  /* run, attach: probes may have to be placed at any time */
	CONFINE_CENSUS = 2,  /* only reads */
	CONFINE_SERVICE = 3, /* as a tracer, and takes its socket away at the end */
};

/* 0 or -errno, logged. */
int confine(const struct options *options, enum confine_task task);

#endif
