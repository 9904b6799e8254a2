// SPDX-License-Identifier: BSD-2-Clause
/*
 * Why the figures of a process, or all figures, are not exact. Reasons are derived from counters when
 * somebody asks, so a text always says how many; only those given from outside are stored.
 */
#include "model/reasons.h"

#include <stdarg.h>
#include <string.h>

#include "base/strbuf.h"
#include "model/arena.h"
#include "model/process.h"

#define REASONS_OWN_MAX 16 /* more than there are kinds of doubt below */

struct reasons {
	struct arena *arena;
	struct snapshot_reason *list;
	size_t count, capacity;
};

static void reasons_add(struct reasons *reasons, const char *reason, const char *text)
{
	if (!reasons->list || reasons->count == reasons->capacity)
		return;
	reasons->list[reasons->count].reason = arena_string(reasons->arena, reason, strlen(reason));
	reasons->list[reasons->count].text = arena_string(reasons->arena, text, strlen(text));
	reasons->count++;
}

static void __attribute__((format(printf, 3, 4)))
reasons_addf(struct reasons *reasons, const char *reason, const char *format, ...)
{
	struct strbuf text = STRBUF_INIT;
	va_list ap;

	va_start(ap, format);
	strbuf_vaddf(&text, format, ap);
	va_end(ap);
	if (strbuf_error(&text))
		reasons->arena->failed = true;
	reasons_add(reasons, reason, strbuf_str(&text));
	strbuf_fini(&text);
}

static const char *reasons_plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

static const char *reasons_was(uint64_t count)
{
	return count == 1 ? "was" : "were";
}

#define REASONS_LLU(value) ((unsigned long long)(value))

static void reasons_add_late(struct reasons *reasons, const struct process *process)
{
	const struct snapshot_process *shown = &process->shown;
	const struct snapshot_census *census = shown->census;

	if (process->rebuilding && !census) {
		reasons_add(reasons, INEXACT_ATTACHED_LATE, "its table is being rebuilt from what is in its memory");
		return;
	}
	if (census && !census->exact && process_is_late(process)) {
		reasons_addf(reasons, INEXACT_ATTACHED_LATE,
			     "the census of buffers that are older than bufscope's watch is not complete (%s)",
			     census->reason);
		return;
	}
	for (size_t i = 0; i < shown->runtime_count; i++) {
		int64_t earlier = shown->runtimes[i].earlier_objects;

		if (process->covered[i])
			continue;
		if (earlier > 0)
			reasons_addf(reasons, INEXACT_ATTACHED_LATE,
				     "up to %llu buffer object%s had been made before bufscope watched; "
				     "those still alive are not in the table",
				     REASONS_LLU(earlier), reasons_plural((uint64_t)earlier));
		else if (earlier < 0)
			reasons_add(reasons, INEXACT_ATTACHED_LATE,
				    "how many buffer objects had been made before bufscope watched could not be read");
	}
	/* Where no runtime said so, the frees did. */
	if (process->doubts.older && !reasons->count)
		reasons_addf(reasons, INEXACT_ATTACHED_LATE, "%llu freed buffer%s older than bufscope's watch",
			     REASONS_LLU(process->doubts.older), process->doubts.older == 1 ? " was" : "s were");
}

static void reasons_add_lost(struct reasons *reasons, const struct process *process)
{
	const struct event_lost *lost = &process->doubts.lost;

	if (process->shown.lost_records)
		reasons_addf(reasons, INEXACT_LOST_RECORDS,
			     "%llu record%s lost (%llu of allocations, %llu of frees, %llu others)",
			     REASONS_LLU(process->shown.lost_records), reasons_plural(process->shown.lost_records),
			     REASONS_LLU(lost->allocations), REASONS_LLU(lost->frees), REASONS_LLU(lost->others));
	if (process->doubts.lost_elsewhere)
		reasons_addf(reasons, INEXACT_LOST_RECORDS,
			     "%llu record%s that may have been this process's %s lost while it ran",
			     REASONS_LLU(process->doubts.lost_elsewhere),
			     reasons_plural(process->doubts.lost_elsewhere),
			     reasons_was(process->doubts.lost_elsewhere));
}

static void reasons_add_counted(struct reasons *reasons, const struct process *process)
{
	const struct doubts *doubts = &process->doubts;
	const struct snapshot_process *shown = &process->shown;

	if (shown->missed_frees)
		reasons_addf(reasons, INEXACT_MISSED_FREE, "%llu free%s not seen: the object was allocated again",
			     REASONS_LLU(shown->missed_frees), shown->missed_frees == 1 ? " was" : "s were");
	if (doubts->unmatched)
		reasons_addf(reasons, INEXACT_UNMATCHED_FREE, "%llu freed buffer%s never seen being allocated",
			     REASONS_LLU(doubts->unmatched), doubts->unmatched == 1 ? " was" : "s were");
	if (doubts->unreadable)
		reasons_addf(reasons, INEXACT_UNREADABLE, "%llu buffer object%s could not be read",
			     REASONS_LLU(doubts->unreadable), reasons_plural(doubts->unreadable));
	if (doubts->implausible)
		reasons_addf(reasons, INEXACT_IMPLAUSIBLE, "%llu buffer object%s made no sense in the known layout",
			     REASONS_LLU(doubts->implausible), reasons_plural(doubts->implausible));
	if (doubts->unknown_device)
		reasons_addf(reasons, INEXACT_UNKNOWN_DEVICE, "%llu buffer%s %s allocated on chips that are not known",
			     REASONS_LLU(doubts->unknown_device), reasons_plural(doubts->unknown_device),
			     reasons_was(doubts->unknown_device));
	if (shown->uncertain)
		reasons_addf(reasons, INEXACT_UNCERTAIN,
			     "of %llu held buffer%s it could not be decided whether the object still exists",
			     REASONS_LLU(shown->uncertain), reasons_plural(shown->uncertain));
	if (doubts->out_of_memory)
		reasons_addf(reasons, INEXACT_OUT_OF_MEMORY, "bufscope ran out of memory at %llu event%s",
			     REASONS_LLU(doubts->out_of_memory), reasons_plural(doubts->out_of_memory));
}

static void reasons_add_marks(struct reasons *reasons, const struct mark_set *marks)
{
	if (!marks)
		return;
	for (uint32_t i = 0; i < marks->count; i++)
		reasons_add(reasons, marks->marks[i].reason, marks->marks[i].text);
	if (marks->dropped && marks->count)
		reasons_addf(reasons, marks->marks[marks->count - 1].reason, "and %llu more",
			     REASONS_LLU(marks->dropped));
}

static void reasons_init(struct reasons *reasons, struct arena *arena, size_t capacity)
{
	*reasons = (struct reasons){.arena = arena, .capacity = capacity};
	reasons->list = arena_array(arena, capacity, sizeof(*reasons->list));
}

const struct snapshot_reason *reasons_of_process(struct arena *arena, const struct process *process, size_t *count)
{
	struct reasons reasons;

	reasons_init(&reasons, arena,
		     REASONS_OWN_MAX + process->shown.runtime_count + (process->marks ? process->marks->count : 0));
	reasons_add_late(&reasons, process);
	reasons_add_lost(&reasons, process);
	reasons_add_counted(&reasons, process);
	reasons_add_marks(&reasons, process->marks);
	*count = reasons.count;
	return reasons.count ? reasons.list : NULL;
}

const struct snapshot_reason *reasons_of_model(struct arena *arena, const struct model *model, size_t *count)
{
	struct reasons reasons;

	reasons_init(&reasons, arena, REASONS_OWN_MAX + model->marks.count);
	if (model->lost_unknown)
		reasons_addf(&reasons, INEXACT_LOST_RECORDS, "%llu record%s of unknown processes lost",
			     REASONS_LLU(model->lost_unknown), reasons_plural(model->lost_unknown));
	if (model->out_of_memory)
		reasons_addf(&reasons, INEXACT_OUT_OF_MEMORY, "bufscope ran out of memory at %llu event%s",
			     REASONS_LLU(model->out_of_memory), reasons_plural(model->out_of_memory));
	reasons_add_marks(&reasons, &model->marks);
	*count = reasons.count;
	return reasons.count ? reasons.list : NULL;
}
