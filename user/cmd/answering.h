/* SPDX-License-Identifier: BSD-2-Clause */
/* What the answers to requests share. Inside of answer*.c. */
#ifndef BUFSCOPE_CMD_ANSWERING_H
#define BUFSCOPE_CMD_ANSWERING_H

#include <stdbool.h>

#include "cmd/query.h"

struct answer_source;
struct control_answer;
struct control_request;
struct snapshot;
struct strbuf;

struct answering {
	const struct answer_source *source;
	const struct control_request *request;
	struct control_answer *answer;
	struct query query;
	struct snapshot *snapshot; /* of what was asked for and may be seen */
};

/* The answer's exit status and its one line for stderr. */
void answering_fail(struct answering *answering, int exit_status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void answering_fail_memory(struct answering *answering);
/* Makes the snapshot. False: it failed, and that is said. */
bool answering_select(struct answering *answering);
/* Applies what was asked for, and what may be seen, to any snapshot. Likewise. */
bool answering_apply(struct answering *answering, struct snapshot *snapshot);
/* Sends @text as it is and releases it; @err: of making it. */
void answering_text(struct answering *answering, struct strbuf *text, int err);

/* answer_marks.c */
void answer_mark(struct answering *answering);
void answer_diff(struct answering *answering);
void answer_watch(struct answering *answering);

#endif
