/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One line (or two) for everything the model concludes: text, or NDJSON bufscope.event/1
 * (docs/event.schema.json). Text shows the first warnings of a process about unknown frees in full and
 * counts the rest; NDJSON is complete.
 */
#ifndef BUFSCOPE_VIEW_EVENT_VIEW_H
#define BUFSCOPE_VIEW_EVENT_VIEW_H

#include <stdbool.h>

#include "base/table.h"
#include "model/notice.h"
#include "view/style.h"

struct strbuf;

#define EVENT_VIEW_FULL_WARNINGS 10

/* Options are set by the caller; the rest is zero at first. */
struct event_view {
	struct style style;
	bool json;
	struct table warnings; /* process -> warnings about unknown frees so far */
	struct table pids;     /* process -> pid, for those in warnings */
};

void event_view_fini(struct event_view *view);
/* Appends the notice's lines, if it has any. 0 or -ENOMEM (then nothing or a part was appended). */
int event_view_notice(struct strbuf *out, struct event_view *view, const struct notice *notice);
/* The counts of warnings that were not shown and not yet reported. 0 or -ENOMEM. */
int event_view_finish(struct strbuf *out, struct event_view *view);

#endif
