/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A census and the events since the probes were attached, made one: what the process held at the moment
 * of the attachment. Pure: no process, no kernel, no state.
 *
 * The order that makes it right while the process goes on: probes first, then the census, then all that
 * the probes recorded meanwhile. A buffer whose first event since the attachment is an allocation is not
 * older; one whose first event is a free is, whether or not the census still found it; one without an
 * event is older if the census found it.
 */
#ifndef BUFSCOPE_SOURCE_RECONCILE_H
#define BUFSCOPE_SOURCE_RECONCILE_H

#include <stddef.h>

#include "base/table.h"
#include "event.h"
#include "runtime/census.h"
#include "source/census_events.h"

/* What events say: the first one of each object, and the places they are about. */
struct reconcile {
	const struct event *events; /* the caller's, in order, of one process */
	size_t event_count;
	struct table first; /* object -> index of its first allocation or free */
	struct reconcile_place *places;
	size_t place_count;
};

/* 0 or -ENOMEM. Ends with reconcile_fini() in any case. */
int reconcile_init(struct reconcile *reconcile, const struct event *events, size_t count);
void reconcile_fini(struct reconcile *reconcile);

/*
 * Why the live set is not certain, as census_is_exact() says it; NULL when it is: what the census leaves
 * unexplained may be what the events are about.
 */
const char *reconcile_judge(const struct reconcile *reconcile, const struct census *census);

/* Tells of each buffer that is older than the probes, as an allocation at time 0. 0 or -ENOMEM. */
int reconcile_emit(const struct reconcile *reconcile, const struct census *census, const struct census_subject *subject,
		   census_emitter emit, void *context);

#endif
