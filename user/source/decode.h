/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a raw record to an event, as far as the record itself tells. What only /proc or the tracer's
 * own tables know (command lines, which runtime of the process) is filled in by the tracer.
 * Pure: no kernel, no state. The record is hostile input.
 */
#ifndef BUFSCOPE_SOURCE_DECODE_H
#define BUFSCOPE_SOURCE_DECODE_H

#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "event.h"
#include "wire.h"

struct library_plan;

struct decoded {
	struct wire_head head;
	struct event event; /* kind 0: the record means nothing for the model */
	uint32_t exec_next; /* EXEC: the number that begins; event.birth-like facts below */
	uint32_t exec_count;
	uint64_t start_ns;     /* EXEC, BIRTH, ADOPT */
	struct wire_lost lost; /* EXIT */
	uint64_t stopped_ns;   /* EXIT */
	uint32_t user;         /* ADOPT */
	char name[16];         /* ADOPT */
};

/*
 * @plan_of gives the plan of a library index, NULL if there is none. Only 0, or -EINVAL: the record is
 * too short or of an unknown kind, or names an unknown library.
 */
int decode_record(const void *record, size_t len,
		  const struct library_plan *(*plan_of)(void *context, uint32_t library), void *context,
		  struct decoded *out);

#endif
