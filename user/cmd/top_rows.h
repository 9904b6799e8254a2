/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is listed on the screen of `bufscope top`: where the user is (device, process, type), and the rows
 * there, chosen, added up, compared with the mark, in order. Pure; the cursor stays with its row.
 */
#ifndef BUFSCOPE_CMD_TOP_ROWS_H
#define BUFSCOPE_CMD_TOP_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/top_data.h"
#include "model/arena.h"

#define TOP_MAX_KEY    96 /* bytes of what names a row, a process or a chip */
#define TOP_MAX_FILTER 64

enum top_level {
	TOP_OVERVIEW = 0, /* devices, and below them all processes */
	TOP_DEVICE = 1,   /* processes on a device */
	TOP_PROCESS = 2,  /* memory types of a process, on a device or on all */
	TOP_TYPE = 3,     /* buffers of a process and a type */
	TOP_LEVELS = 4,
};

enum top_kind {
	TOP_DEVICES = 0,
	TOP_PROCESSES = 1,
	TOP_KIND_TYPES = 2,
	TOP_BUFFERS = 3,
	TOP_KINDS = 4,
};

struct top_cursor {
	char key[TOP_MAX_KEY]; /* of its row */
	size_t index;          /* where that was: if the row is gone the cursor stays there */
};

struct top_state {
	enum top_level level;
	char device[TOP_MAX_KEY];  /* key of the chip where the user descended; "": all devices */
	char process[TOP_MAX_KEY]; /* its id */
	int type;
	struct top_cursor cursor[TOP_LEVELS];
	size_t scroll[TOP_KINDS];
	unsigned int sort[TOP_KINDS];
	char filter[TOP_KINDS][TOP_MAX_FILTER]; /* of processes, of buffers */
	const struct top_data *mark;            /* growth is told since then; or NULL */
	unsigned int mark_number;
};

/* Of a row that is no buffer. */
struct top_sums {
	struct top_figures types[TOP_TYPES], all;
	uint64_t capacity_bytes[TOP_TYPES]; /* of one chip; 0: not known */
	uint64_t peak_bytes;                /* of one process, type and chip; else 0 */
	int64_t grown_bytes, grown_buffers; /* since the mark */
	size_t processes;
	int32_t chips[EVENT_MAX_CHIPS]; /* with any buffer of it */
	uint32_t chip_count;
};

struct top_row {
	enum top_kind kind;
	const char *chip;                /* its key, "": all devices */
	const struct top_device *device; /* a device: as one of its processes has it */
	int type;
	const struct top_process *process;
	const struct snapshot_buffer *buffer;
	bool fresh; /* a buffer allocated since the mark */
	struct top_sums *sums;
};

struct top_rows {
	struct arena arena;
	struct top_row *rows; /* device rows come first */
	size_t count, device_count;
	size_t left_out; /* by the filter */
	size_t cursor;
	const struct top_process *process; /* where the user is, at TOP_PROCESS and TOP_TYPE; NULL: it has ended */
	struct top_sums *here;             /* of the whole place; NULL: its process has ended */
	const struct top_device *device;   /* that the user is on, as one of its processes has it; or NULL */
	struct top_sums *device_sums;      /* with all its processes; or NULL */
};

void top_state_init(struct top_state *state);
/* Begins with zeroes; may be built again and again. 0 or -ENOMEM. */
int top_rows_build(struct top_rows *rows, const struct top_data *data, struct top_state *state);
void top_rows_fini(struct top_rows *rows);

/* What a key does. Down: into the row under the cursor. */
void top_rows_move(const struct top_rows *rows, struct top_state *state, long by);
void top_rows_enter(const struct top_rows *rows, struct top_state *state);
void top_rows_leave(struct top_state *state);
/* What the rows under the cursor are; of a screen without rows, what they would be. */
enum top_kind top_rows_kind(const struct top_rows *rows, const struct top_state *state);
void top_rows_next_sort(const struct top_rows *rows, struct top_state *state);
const char *top_rows_sort_name(enum top_kind kind, unsigned int sort);

#endif
