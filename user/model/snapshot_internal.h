/* SPDX-License-Identifier: BSD-2-Clause */
/* How snapshots are made. Inside of model. */
#ifndef BUFSCOPE_MODEL_SNAPSHOT_INTERNAL_H
#define BUFSCOPE_MODEL_SNAPSHOT_INTERNAL_H

struct arena;
struct snapshot;

/* An empty one, and the memory that lives and dies with it. NULL: no memory. */
struct snapshot *snapshot_new(struct arena **arena);

#endif
