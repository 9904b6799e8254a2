// SPDX-License-Identifier: BSD-2-Clause
/* Phrases that several outputs share; see phrase.h. */
#include "view/phrase.h"

#include <stdbool.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "view/style.h"

/* A mesh has its chips in the order of its rows; people look for a number. */
static uint32_t phrase_sort(const int32_t *chips, uint32_t count, int32_t sorted[EVENT_MAX_CHIPS])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < count && i < EVENT_MAX_CHIPS; i++) {
		uint32_t at = n++;

		for (; at && sorted[at - 1] > chips[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = chips[i];
	}
	return n;
}

void phrase_chips(struct strbuf *out, const int32_t *chips, uint32_t count)
{
	int32_t sorted[EVENT_MAX_CHIPS];

	if (!count)
		strbuf_addc(out, '?');
	count = phrase_sort(chips, count, sorted);
	for (uint32_t i = 0; i < count;) {
		uint32_t last = i;

		while (last + 1 < count && phrase_is_next_chip(sorted[last], sorted[last + 1]))
			last++;
		if (i)
			strbuf_addc(out, ',');
		strbuf_addf(out, "%d", sorted[i]);
		if (last > i)
			strbuf_addf(out, "-%d", sorted[last]);
		i = last + 1;
	}
}

void phrase_devices(struct strbuf *out, const int32_t *chips, uint32_t count)
{
	if (!count) {
		strbuf_adds(out, "an unknown device");
		return;
	}
	strbuf_adds(out, count == 1 ? "device " : "devices ");
	phrase_chips(out, chips, count);
}

/* Quoted when somebody reading the line could not tell where the argument ends. */
static bool phrase_needs_quotes(const char *argument, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (strchr(" '\"$&|;<>()*?`", argument[i]))
			return true;
	}
	return !len;
}

void phrase_command(struct strbuf *out, const char *command, size_t len)
{
	const char *end = command + len;

	if (!len)
		strbuf_adds(out, "(command not known)");
	for (const char *at = command; at < end;) {
		size_t argument = strnlen(at, (size_t)(end - at));
		bool quote = phrase_needs_quotes(at, argument);

		if (at > command)
			strbuf_addc(out, ' ');
		if (quote)
			strbuf_addc(out, '\'');
		escape_terminal(out, at, argument);
		if (quote)
			strbuf_addc(out, '\'');
		at += argument + 1;
	}
}

static void phrase_signal(struct strbuf *out, int32_t signal)
{
	const char *name = sigabbrev_np(signal);

	strbuf_addf(out, "killed by signal %d", signal);
	if (name)
		strbuf_addf(out, " (SIG%s)", name);
}

void phrase_end(struct strbuf *out, const struct snapshot_process *process)
{
	switch (process->end) {
	case PROCESS_RUNNING:
		strbuf_adds(out, "still running");
		break;
	case PROCESS_EXITED:
		if (process->exit_status < 0)
			strbuf_adds(out, "exited, its status was not seen");
		else
			strbuf_addf(out, "exited with status %d", process->exit_status);
		break;
	case PROCESS_SIGNALLED:
		phrase_signal(out, process->signal);
		if (process->core_dumped)
			strbuf_adds(out, ", core dumped");
		break;
	case PROCESS_EXECED:
		strbuf_adds(out, "replaced by exec");
		break;
	}
}

void phrase_removed(struct strbuf *out, const struct style *style, const struct snapshot_process *process,
		    uint64_t device_buffers, uint64_t bytes)
{
	style_mark(out, style, STYLE_GOOD);
	strbuf_addf(out, " Removed %llu buffers (", (unsigned long long)device_buffers);
	units_mb(out, bytes);
	strbuf_addf(out, ") from PID %u, ", process->pid);
	phrase_end(out, process);
}

void phrase_growth(struct strbuf *out, uint64_t now_bytes, uint64_t before_bytes)
{
	if (now_bytes != before_bytes)
		strbuf_addc(out, now_bytes > before_bytes ? '+' : '-');
	units_size(out, now_bytes > before_bytes ? now_bytes - before_bytes : before_bytes - now_bytes);
}

void phrase_since(struct strbuf *out, const struct snapshot_process *process, uint64_t time_ns)
{
	if (!time_ns || time_ns < process->observed_ns) {
		strbuf_addc(out, '?');
		return;
	}
	strbuf_addc(out, '+');
	units_duration(out, time_ns - process->observed_ns);
}

void phrase_asked(struct strbuf *out, const struct snapshot_failure *failure)
{
	if (!failure->known) {
		strbuf_addf(out, "%s memory (how much could not be read)",
			    failure->type == MEMORY_TYPE_COUNT ? "some" : memory_type_name(failure->type));
		return;
	}
	strbuf_addf(out, "%llu bytes (", (unsigned long long)failure->size_bytes);
	units_size(out, failure->size_bytes);
	strbuf_addf(out, ") %s on ", memory_type_name(failure->type));
	phrase_devices(out, failure->chips, failure->chip_count);
}

void phrase_holders(struct strbuf *out, const struct snapshot_failure *failure)
{
	for (uint32_t i = 0; i < failure->holder_count; i++) {
		strbuf_addf(out, "%sPID %u holds %llu buffers, ", i ? "; " : "", failure->holders[i].pid,
			    (unsigned long long)failure->holders[i].buffers);
		units_mb(out, failure->holders[i].bytes);
		strbuf_addf(out, " of %s", memory_type_name(failure->type));
	}
	if (failure->holders_left_out)
		strbuf_addf(out, "; %u more processes hold less", failure->holders_left_out);
	if (!failure->holder_count && failure->chip_count)
		strbuf_addf(out, "no %s process holds any", failure->one_user ? "visible" : "followed");
	else if (!failure->holder_count)
		strbuf_adds(out, "who holds what is not known");
	if (failure->chip_count > 1)
		strbuf_adds(out, ", on the fullest of these devices");
	if (failure->books_ns) {
		strbuf_adds(out, "; the books, when they were read: ");
		units_mb(out, failure->free_bytes);
		strbuf_adds(out, " free of ");
		units_mb(out, failure->capacity_bytes);
		strbuf_adds(out, ", the largest block ");
		units_mb(out, failure->largest_free_bytes);
	}
}

void phrase_verdict(struct strbuf *out, const struct snapshot_process *process,
		    const struct snapshot_unmatched *unmatched)
{
	switch (unmatched->verdict) {
	case UNMATCHED_BEFORE_ATTACH:
		strbuf_adds(out, "allocated before tracking started");
		break;
	case UNMATCHED_DOUBLE:
		strbuf_adds(out, "freed before, at ");
		phrase_since(out, process, unmatched->freed_ns);
		strbuf_addf(out, " by thread %u", unmatched->freed_thread);
		break;
	case UNMATCHED_LOST:
		strbuf_adds(out, "its allocation may be among the lost records");
		break;
	case UNMATCHED_INHERITED:
		strbuf_adds(out, "allocated by the parent process before the fork");
		break;
	case UNMATCHED_UNKNOWN:
		strbuf_adds(out, "its allocation was not seen; why is not known");
		break;
	}
}

const char *phrase_verdict_word(enum unmatched_verdict verdict)
{
	switch (verdict) {
	case UNMATCHED_BEFORE_ATTACH:
		return "before-attach";
	case UNMATCHED_DOUBLE:
		return "double";
	case UNMATCHED_LOST:
		return "lost-records";
	case UNMATCHED_INHERITED:
		return "inherited";
	case UNMATCHED_UNKNOWN:
		break;
	}
	return "unknown";
}

const char *phrase_books_word(enum books_verdict verdict)
{
	switch (verdict) {
	case BOOKS_VERDICT_EQUAL:
		return "equal";
	case BOOKS_VERDICT_DIFFERS:
		return "differs";
	case BOOKS_VERDICT_UNREAD:
		break;
	}
	return "unread";
}

const char *phrase_state_word(enum buffer_state state)
{
	switch (state) {
	case BUFFER_LIVE:
		return "live";
	case BUFFER_HELD:
		return "held";
	case BUFFER_UNCERTAIN:
		break;
	}
	return "uncertain";
}
