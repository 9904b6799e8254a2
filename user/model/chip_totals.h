/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who uses which chip, over all running processes of a snapshot: the one place where figures of several
 * processes are added up.
 *
 * A row is a chip of the machine if the driver told which one it is (chip.known): its members are all uses of
 * it, whatever number each process has for it. Otherwise a row is one number of one process, and stays alone:
 * two processes that both say "device 0" may mean two chips, as containers number theirs from 0. So the rows
 * never count anything twice and together they are everything; but how many chips there are, and what one of
 * them holds altogether, is only known of rows with a known chip.
 *
 * Peaks are not here: those of two processes were at two times.
 */
#ifndef BUFSCOPE_MODEL_CHIP_TOTALS_H
#define BUFSCOPE_MODEL_CHIP_TOTALS_H

#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "model/snapshot.h"

#define CHIP_TOTAL_SEVERAL (-2) /* as chip_total.device: the members have different numbers for it */

struct chip_total_type {
	enum memory_type type;
	uint64_t live_buffers, live_bytes;
	uint64_t held_buffers, held_bytes;
	/*
	 * Of the largest allocator that any member's census read, on this chip; 0: none did. Processes share a chip's
	 * memory by agreement only: the sum of what they hold can be above it.
	 */
	uint64_t capacity_bytes;
};

struct chip_member { /* one process's use of the chip */
	const struct snapshot_process *process;
	const struct snapshot_device *device;
};

struct chip_total {
	struct chip_identity chip; /* chip_name() for people; not known: say process and number */
	int32_t device;            /* the number that all members have; -1: not known; CHIP_TOTAL_SEVERAL */
	const struct chip_member *members;
	size_t member_count; /* at least one; exactly one if the chip is not known */
	/* Those that a member ever used, in order of enum memory_type; MEMORY_TYPE_COUNT: could not be read. */
	struct chip_total_type types[MEMORY_TYPE_COUNT + 1];
	uint32_t type_count;
};

struct chip_totals {
	/* Known chips by PCI address, then the others by process (as in the snapshot) and number. */
	const struct chip_total *rows;
	size_t row_count;
};

/* Points into @snapshot, which must outlive it. NULL: out of memory. chip_totals_free() ends it. */
struct chip_totals *chip_totals_new(const struct snapshot *snapshot);
void chip_totals_free(struct chip_totals *totals);

#endif
