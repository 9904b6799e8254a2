/* SPDX-License-Identifier: BSD-2-Clause */
/* The words for what makes a process, or everything, inexact. Inside of the model. */
#ifndef BUFSCOPE_MODEL_REASONS_H
#define BUFSCOPE_MODEL_REASONS_H

#include <stddef.h>

struct arena;
struct model;
struct process;
struct snapshot_reason;

/* In @arena, their number in *count; NULL when there are none (or the arena failed). */
const struct snapshot_reason *reasons_of_process(struct arena *arena, const struct process *process, size_t *count);
const struct snapshot_reason *reasons_of_model(struct arena *arena, const struct model *model, size_t *count);

#endif
