/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who holds device memory: a line per process, device and memory type, processes in the order of their
 * tree, those whose tree holds most first. Devices that follow each other and have the same figures, as
 * those of a mesh have, share a line. Below, what each chip holds that the driver tells apart.
 */
#ifndef BUFSCOPE_VIEW_PS_VIEW_H
#define BUFSCOPE_VIEW_PS_VIEW_H

#include <stdint.h>

#include "model/snapshot.h"
#include "view/style.h"

struct strbuf;

struct ps_view {
	struct style style;
	/* What a snapshot does not know. The name of a user, or NULL; the parent of a process, or 0. */
	const char *(*user_name)(void *context, uint32_t user);
	uint32_t (*parent)(void *context, uint32_t pid);
	void *context;
	const char *nothing; /* what is said where there is no process */
};

/* Appends. 0 or -ENOMEM. */
int ps_view(struct strbuf *out, const struct ps_view *view, const struct snapshot *snapshot);

#endif
