/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `bufscope top` shows: one answer of the service (bufscope.summary/1), read into tables. Knows
 * neither socket nor screen. Text for people is escaped here; nothing of it can move a cursor.
 */
#ifndef BUFSCOPE_CMD_TOP_DATA_H
#define BUFSCOPE_CMD_TOP_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "model/arena.h"
#include "model/snapshot.h"

#define TOP_TYPES (MEMORY_TYPE_COUNT + 1) /* the last: could not be read */

/* Of live buffers, each counted on every chip it lies on; bytes as they were asked for. */
struct top_figures {
	uint64_t buffers, bytes;
	uint64_t held_buffers, held_bytes;
	uint64_t taken_bytes; /* really taken; where that is not known, what was asked for */
	uint64_t guessed;     /* buffers whose real size is not known: then taken_bytes is the least it can be */
};

/* A chip as one process uses it. */
struct top_device {
	int32_t number; /* the runtime's, in this process; -1: buffers whose chips are not known */
	/*
	 * Equal where it is one chip. Numbers of two processes prove nothing, containers have their own: without
	 * the driver's word a chip is this process's alone.
	 */
	const char *key;
	const char *name;       /* "n300 0000:01:00.0", or "" */
	const char *short_name; /* "0000:01:00.0", or "0 of 1200": a number and a process */
	struct top_figures types[TOP_TYPES];
	uint64_t peak_bytes[TOP_TYPES];
	uint64_t capacity_bytes[TOP_TYPES]; /* 0: not known */
};

struct top_process {
	const char *id; /* "PID.START.EXEC" */
	uint32_t pid;
	const char *user;    /* name, or number */
	const char *command; /* one line */
	const char *cgroup;
	uint64_t observed_ns;
	bool exact;
	const char *reasons; /* why it is not, as one line; or "" */
	struct top_device *devices;
	size_t device_count;
	struct snapshot_buffer *buffers;
	size_t buffer_count;
};

struct top_data {
	struct arena arena; /* all of it */
	const char *host;
	uint64_t now_ns;      /* CLOCK_BOOTTIME */
	uint64_t realtime_ns; /* the same instant, for people */
	bool exact;
	const char *reasons; /* that concern all processes, or "" */
	bool own_only;       /* the service shows the asker's own processes */
	bool selection;      /* and of those only what was asked for */
	struct top_process *processes;
	size_t process_count;
};

/* The name of a user, or NULL: then it is the number. What it returns need not last. */
typedef const char *(*top_data_user)(uint32_t user);

/* NULL: @text is no such document, or memory ran out (errno is EPROTO or ENOMEM). */
struct top_data *top_data_parse(const char *text, size_t len, top_data_user user_name);
void top_data_free(struct top_data *data);

/* NULL: not there. */
const struct top_process *top_data_process(const struct top_data *data, const char *id);
const struct top_device *top_data_device(const struct top_process *process, const char *key);

void top_figures_add(struct top_figures *sum, const struct top_figures *figures);

#endif
