/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the service answers. Runs in a process of its own, forked at the moment that the answer is about
 * (server/control.h): the model and the marks are read there and nothing is changed.
 */
#ifndef BUFSCOPE_CMD_ANSWER_H
#define BUFSCOPE_CMD_ANSWER_H

struct control_answer;
struct control_request;
struct model;
struct serve_metrics;

struct answer_source {
	const struct model *model;
	const struct serve_metrics *metrics;
};

void answer_request(const struct answer_source *source, const struct control_request *request,
		    struct control_answer *answer);

#endif
