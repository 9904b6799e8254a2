/* SPDX-License-Identifier: BSD-2-Clause */
/* The gates of run, attach and dump; see gate.h. */
#include "cmd/gate.h"

#include <stdio.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "model/snapshot.h"

struct remains {
	uint64_t buffers, bytes, held;
};

static struct remains count(const struct snapshot *snapshot)
{
	struct remains remains = {0};

	for (size_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];

		for (size_t b = 0; b < process->buffer_count; b++) {
			const struct snapshot_buffer *buffer = &process->buffers[b];

			remains.bytes += buffer->size_bytes * (buffer->chip_count ? buffer->chip_count : 1);
			remains.held += buffer->state != BUFFER_LIVE;
		}
		remains.buffers += process->buffer_count;
	}
	return remains;
}

/* The first of the reasons, as one has to be named. */
static const char *doubt(const struct snapshot *snapshot)
{
	if (snapshot->reason_count)
		return snapshot->reasons[0].reason;
	for (size_t i = 0; i < snapshot->process_count; i++) {
		if (snapshot->processes[i].reason_count)
			return snapshot->processes[i].reasons[0].reason;
	}
	return "unknown";
}

bool gate_holds(const struct gate *gate, const struct snapshot *snapshot, char *why, size_t size)
{
	struct strbuf bytes = STRBUF_INIT, limit = STRBUF_INIT, held = STRBUF_INIT;
	struct remains remains = count(snapshot);
	bool any = gate->if_any && remains.buffers, above = gate->has_above && remains.bytes > gate->above_bytes;
	bool unproven = (gate->if_any || gate->has_above) && !snapshot->exact;

	units_size(&bytes, remains.bytes);
	units_size(&limit, gate->above_bytes);
	if (remains.held)
		strbuf_addf(&held, ", %llu of them held after their device was closed",
			    (unsigned long long)remains.held);
	if (any)
		snprintf(why, size, "--fail-if-any: %llu buffer%s (%s) still allocated%s",
			 (unsigned long long)remains.buffers, remains.buffers == 1 ? "" : "s", strbuf_str(&bytes),
			 strbuf_str(&held));
	else if (above)
		snprintf(why, size, "--fail-above: %s still allocated, more than %s%s", strbuf_str(&bytes),
			 strbuf_str(&limit), strbuf_str(&held));
	else if (unproven)
		snprintf(why, size, "%s cannot be confirmed: the table is not exact (%s)",
			 gate->if_any ? "--fail-if-any" : "--fail-above", doubt(snapshot));
	strbuf_fini(&bytes);
	strbuf_fini(&limit);
	strbuf_fini(&held);
	return !any && !above && !unproven;
}
