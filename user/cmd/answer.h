/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the service answers. Runs in a process of its own, forked at the moment that the answer is about
 * (server/control.h): the model and the marks are read there and nothing is changed.
 */
#ifndef BUFSCOPE_CMD_ANSWER_H
#define BUFSCOPE_CMD_ANSWER_H

struct control_answer;
struct control_request;
struct marks;
struct model;
struct serve_metrics;

struct answer_source {
	const struct model *model;
	const struct serve_metrics *metrics;
	const struct marks *marks;
};

/* In the server: opens what the answering process is to write to. 0 or -errno. */
int answer_begin(struct control_request *request);
void answer_request(const struct answer_source *source, const struct control_request *request,
		    struct control_answer *answer);
/* In the server: takes over what the answering process has written. */
void answer_finish(struct marks *marks, struct control_request *request, struct control_answer *answer);

#endif
