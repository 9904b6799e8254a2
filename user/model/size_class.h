/* SPDX-License-Identifier: BSD-2-Clause */
/* Live buffers counted by memory type and class of size: what a leak grows, whoever allocates it. */
#ifndef BUFSCOPE_MODEL_SIZE_CLASS_H
#define BUFSCOPE_MODEL_SIZE_CLASS_H

#include <stdint.h>

#include "event.h"

struct snapshot;

#define SIZE_CLASS_COUNT 64

struct size_class {
	uint64_t buffers;
	uint64_t bytes; /* over all chips */
};

/* Class n has the sizes above 2^(n-1) and up to 2^n bytes; those without a size (unreadable) are left out. */
struct size_classes {
	struct size_class of[MEMORY_TYPE_COUNT][SIZE_CLASS_COUNT];
};

void size_classes_count(const struct snapshot *snapshot, struct size_classes *out);

#endif
