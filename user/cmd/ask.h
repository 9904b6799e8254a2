/* SPDX-License-Identifier: BSD-2-Clause */
/* The options that clients of the service share, put into a request as they are parsed. */
#ifndef BUFSCOPE_CMD_ASK_H
#define BUFSCOPE_CMD_ASK_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct ask {
	const char *socket;
	bool color;
	json_t *request, *options; /* options is a part of request */
};

/* --socket, --no-color; with selection: -p, --device, --type, --user. The input of each is a struct ask. */
extern const struct argp ask_argp;
extern const struct argp ask_selection_argp;

/* Begins a request. Exits when there is no memory, as there is nothing to be undone. */
void ask_init(struct ask *ask, const char *command);
void ask_set(struct ask *ask, const char *key, json_t *value);

/* As the whole of a subcommand: how the terminal wants it, the request, the answer. The exit status. */
int ask_and_print(struct ask *ask);

#endif
