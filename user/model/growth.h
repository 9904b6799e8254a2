/* SPDX-License-Identifier: BSD-2-Clause */
/* What grows from moment to moment, by memory type and class of size. */
#ifndef BUFSCOPE_MODEL_GROWTH_H
#define BUFSCOPE_MODEL_GROWTH_H

#include <stdbool.h>
#include <stdint.h>

#include "model/size_class.h"

struct growth_group {
	struct size_class first, last;
	uint32_t grew;   /* steps in which its bytes became more */
	uint32_t shrank; /* and less */
};

struct growth {
	uint64_t first_ns, last_ns;
	uint32_t moments; /* steps: one less */
	struct growth_group of[MEMORY_TYPE_COUNT][SIZE_CLASS_COUNT];
};

/* The next moment; the first one may be any. */
void growth_add(struct growth *growth, const struct size_classes *classes, uint64_t time_ns);
/* Has it more bytes now than at first? */
bool growth_is_growing(const struct growth_group *group);

#endif
