/* SPDX-License-Identifier: BSD-2-Clause */
/* The options of a request to the service (docs/protocol.md), checked: whoever sent them may have sent anything. */
#ifndef BUFSCOPE_CMD_QUERY_H
#define BUFSCOPE_CMD_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "cmd/gate.h"
#include "model/selection.h"
#include "view/style.h"

#define QUERY_MAX_NAME 64 /* bytes of a mark's name */

enum query_format {
	QUERY_TEXT = 0,
	QUERY_JSON = 1,
	QUERY_CSV = 2,
};

struct query {
	enum query_format format;
	struct selection selection;
	bool selective; /* the request has any option that selects */
	struct style style;
	uint64_t buffers;
	struct gate gate;
	const char *name, *from, *to; /* marks; NULL: not given */
};

/* Whether a mark may have that name. */
bool query_is_name(const char *text);
/* 0, or -EINVAL with one line about what is wrong in @message. Strings are the request's. */
int query_parse(const json_t *options, struct query *out, char *message, size_t size);

#endif
