/* SPDX-License-Identifier: BSD-2-Clause */
/* A part of a snapshot: which processes, devices, types and buffers somebody asked for, or may see. */
#ifndef BUFSCOPE_MODEL_SELECTION_H
#define BUFSCOPE_MODEL_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

struct snapshot;

#define SELECTION_MAX 256 /* values of a kind */

enum selection_order {
	SELECTION_BY_SIZE = 0, /* largest first, over all chips */
	SELECTION_BY_AGE = 1,  /* oldest first; those of unknown age are older than all */
	SELECTION_BY_TYPE = 2,
	SELECTION_BY_ADDRESS = 3,
	SELECTION_BY_PID = 4, /* processes; their buffers by size */
};

struct selection_list {
	size_t count; /* 0: no restriction */
	int64_t values[SELECTION_MAX];
};

struct selection {
	bool one_user; /* who is asking may see no other's */
	uint32_t user;
	struct selection_list pids, users, devices;
	uint32_t types; /* a bit for each; 0: all */
	uint64_t min_size_bytes;
	uint64_t older_ns; /* buffers of unknown age are kept */
	enum selection_order order;
};

/*
 * Takes out of @snapshot what is not selected and puts the rest in order. Figures of devices become
 * those of the selected buffers when only some are selected; peaks and the counts of a process stay.
 * 0; -ESRCH or -ENODEV: *missing is the process or device that was named and is not there; the rest is
 * selected all the same.
 */
int selection_apply(const struct selection *selection, struct snapshot *snapshot, int64_t *missing);

/* Are buffers selected, not only whole processes? */
bool selection_of_buffers(const struct selection *selection);

#endif
