/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which chips a process's numbers stand for: asked when it opens a device, and told as EVENT_CHIP. Not while
 * records are taken in, as its mappings are read for it.
 */
#include <string.h>

#include "base/log.h"
#include "runtime/runtime.h"
#include "source/chips.h"
#include "source/tracer_internal.h"

void tracer_note_device(struct tracer *tracer, const struct event *event)
{
	struct tracked *tracked = tracked_by_process(&tracer->tracked, event->process);

	if (!tracked)
		return;
	/* What is opened after a close may be another chip. */
	if (event->kind == EVENT_CLOSE)
		tracked->chips_asked = 0;
	for (uint32_t i = 0; event->kind == EVENT_DEVICE && i < event->device.chip_count; i++) {
		uint32_t number = (uint32_t)event->device.chips[i];

		if (number >= 64 || tracked->chips_asked & UINT64_C(1) << number)
			continue;
		tracked->chips_asked |= UINT64_C(1) << number;
		tracked->chips_due = tracer->chips_due = true;
	}
}

static const struct runtime_chips *names_of(const struct tracked *tracked)
{
	for (size_t i = 0; i < tracked->runtime_count; i++) {
		if (tracked->runtime[i].library->plan.runtime->chips)
			return tracked->runtime[i].library->plan.runtime->chips;
	}
	return NULL;
}

static void look_at_chips(struct tracer *tracer, struct tracked *tracked)
{
	struct event event = {.kind = EVENT_CHIP, .process = tracked->process, .time_ns = tracer_now_ns()};
	const struct runtime_chips *names = names_of(tracked);
	struct chips_found found;
	int err;

	if (!names)
		return;
	err = chips_of_process(tracer->chips, (pid_t)tracked->pid, names, &found);
	if (err)
		log_debug("which chips process %u uses is not known: %s", tracked->pid, strerror(-err));
	else if (found.unnumbered)
		log_debug("which chips process %u means is not known: %s", tracked->pid, found.unnumbered);
	if (err || found.unnumbered)
		return;
	for (size_t i = 0; i < found.count; i++) {
		event.chip = (struct event_chip){.chip = (int32_t)i, .identity = found.chips[i]};
		tracer_emit(tracer, &event);
	}
}

void tracer_look_at_chips(struct tracer *tracer)
{
	struct tracked *tracked;
	size_t cursor = 0;

	if (!tracer->chips_due)
		return;
	tracer->chips_due = false;
	while ((tracked = tracked_next(&tracer->tracked, &cursor))) {
		if (tracked->chips_due)
			look_at_chips(tracer, tracked);
		tracked->chips_due = false;
	}
}
