/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Phrases that several outputs share, so that one thing is always said in the same words. Everything
 * that came from a traced process is escaped here.
 */
#ifndef BUFSCOPE_VIEW_PHRASE_H
#define BUFSCOPE_VIEW_PHRASE_H

#include <stddef.h>
#include <stdint.h>

#include "model/snapshot.h"

struct strbuf;
struct style;

void phrase_chips(struct strbuf *out, const int32_t *chips, uint32_t count);   /* "0-3,6"; "?" for none */
void phrase_devices(struct strbuf *out, const int32_t *chips, uint32_t count); /* "device 0", "devices 0-7" */
void phrase_command(struct strbuf *out, const char *command, size_t len);      /* arguments, quoted where need be */
void phrase_end(struct strbuf *out, const struct snapshot_process *process);   /* "exited with status 0", ... */
/* "Removed 381 buffers (403.84 MB) from PID 12345, exited with status 0", with its mark. */
void phrase_removed(struct strbuf *out, const struct style *style, const struct snapshot_process *process,
		    uint64_t device_buffers, uint64_t bytes);
/* "+1.00 MB", "-12.0 KB", "0 B" */
void phrase_growth(struct strbuf *out, uint64_t now_bytes, uint64_t before_bytes);
/* "+12.4 s" after the start of observation; "?" when it is not known. */
void phrase_since(struct strbuf *out, const struct snapshot_process *process, uint64_t time_ns);
/* Is chip @next the one behind @chip? Both are what a process says: any number. */
static inline bool phrase_is_next_chip(int32_t chip, int32_t next)
{
	return (int64_t)chip + 1 == next;
}

/* "1.00 MB L1 on device 0"; what of a failed allocation is not known is said. */
void phrase_asked(struct strbuf *out, const struct snapshot_failure *failure);
/* "PID 12 holds 3 buffers, 12.00 MB of it; ...", and what the books said. */
void phrase_holders(struct strbuf *out, const struct snapshot_failure *failure);
/* Why a free matched nothing: "allocated before tracking started", ... */
void phrase_verdict(struct strbuf *out, const struct snapshot_process *process,
		    const struct snapshot_unmatched *unmatched);
const char *phrase_verdict_word(enum unmatched_verdict verdict); /* "before-attach", ... */
const char *phrase_books_word(enum books_verdict verdict);       /* "equal", "differs", "unread" */
const char *phrase_state_word(enum buffer_state state);          /* "live", "held", "uncertain" */

#endif
