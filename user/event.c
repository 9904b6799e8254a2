// SPDX-License-Identifier: BSD-2-Clause
/* Names of what an event can say; see event.h. */
#include "event.h"

#include <stdio.h>
#include <string.h>

const char *memory_type_name(enum memory_type type)
{
	switch (type) {
	case MEMORY_DRAM:
		return "DRAM";
	case MEMORY_L1:
		return "L1";
	case MEMORY_L1_SMALL:
		return "L1_SMALL";
	case MEMORY_TRACE:
		return "TRACE";
	case MEMORY_TYPE_COUNT:
		break;
	}
	return "unknown";
}

bool chip_same(const struct chip_identity *a, const struct chip_identity *b)
{
	if (!a->known || !b->known || strcmp(a->pci, b->pci))
		return false;
	return !a->unique_id || !b->unique_id || a->unique_id == b->unique_id;
}

const char *chip_name(const struct chip_identity *chip, char *name)
{
	if (!chip->known)
		return NULL;
	snprintf(name, CHIP_NAME_LEN, "%s%s%s", chip->board, *chip->board ? " " : "", chip->pci);
	return name;
}
