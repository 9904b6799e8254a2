/* SPDX-License-Identifier: BSD-2-Clause */
/* What a census found, as events. Pure: no process, no kernel, no state. */
#ifndef BUFSCOPE_SOURCE_CENSUS_EVENTS_H
#define BUFSCOPE_SOURCE_CENSUS_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "runtime/census.h"

typedef void (*census_emitter)(void *context, const struct event *event);

/* The process and library that a census is of, and the time it was taken. */
struct census_subject {
	uint32_t process;
	uint32_t runtime;
	uint64_t time_ns;
};

/* EVENT_DEVICE for each device object whose chips are known. */
void census_emit_devices(const struct census *census, const struct census_subject *subject, census_emitter emit,
			 void *context);
/* One confirmed buffer as an allocation at time 0: older than whoever takes the census. */
void census_buffer_event(const struct census *census, size_t index, const struct census_subject *subject,
			 struct event *out);
/* EVENT_BOOKS for each set of books. 0 or -ENOMEM. */
int census_emit_books(const struct census *census, const struct census_subject *subject, census_emitter emit,
		      void *context);
/* EVENT_CENSUS. @reason: NULL when exact. @books_only: the buffers were not told, so older ones may be missing. */
void census_emit_end(const struct census *census, const struct census_subject *subject, const char *reason,
		     bool books_only, census_emitter emit, void *context);

#endif
