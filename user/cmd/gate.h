/* SPDX-License-Identifier: BSD-2-Clause */
/* --fail-if-any and --fail-above: what may be allocated at a moment that somebody will judge by the exit status. */
#ifndef BUFSCOPE_CMD_GATE_H
#define BUFSCOPE_CMD_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snapshot;

struct gate {
	bool if_any;
	bool has_above;
	uint64_t above_bytes; /* over all chips */
};

/*
 * Whether what @snapshot has keeps within the limits. Counted are live and held buffers of all its processes;
 * of one that ended, those it had at its end. A snapshot that is not exact and shows nothing above the limits
 * proves nothing, and is not let through. False: @why is one line that says why.
 */
bool gate_holds(const struct gate *gate, const struct snapshot *snapshot, char *why, size_t size);

#endif
