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

/* Puts a string of a fixed set into the request, or a usage error. @words: each between two blanks. */
void ask_set_word(struct ask *ask, const char *key, const char *words, const char *arg, const struct argp_state *state);
/* The name of a mark, or a usage error: the service's own would tell of a key of the protocol. */
void ask_set_mark(struct ask *ask, const char *key, const char *arg, const struct argp_state *state);
/* Rows of buffers, as --buffers takes them. */
void ask_set_buffers(struct ask *ask, const char *arg, const struct argp_state *state);

/* How stdout wants its text. */
struct style;
void ask_style(const struct ask *ask, struct style *out);

/* As the whole of a subcommand: how the terminal wants it, the request, the answer. The exit status. */
int ask_and_print(struct ask *ask);

#endif
