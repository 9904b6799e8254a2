// SPDX-License-Identifier: BSD-2-Clause
/* What grows; see growth.h. */
#include "model/growth.h"

void growth_add(struct growth *growth, const struct size_classes *classes, uint64_t time_ns)
{
	bool first = !growth->moments++;

	if (first)
		growth->first_ns = time_ns;
	growth->last_ns = time_ns;
	for (int type = 0; type < MEMORY_TYPE_COUNT; type++) {
		for (int i = 0; i < SIZE_CLASS_COUNT; i++) {
			struct growth_group *group = &growth->of[type][i];
			const struct size_class *now = &classes->of[type][i];

			if (first)
				group->first = *now;
			else if (now->bytes > group->last.bytes)
				group->grew++;
			else if (now->bytes < group->last.bytes)
				group->shrank++;
			group->last = *now;
		}
	}
}

bool growth_is_growing(const struct growth_group *group)
{
	return group->last.bytes > group->first.bytes;
}
