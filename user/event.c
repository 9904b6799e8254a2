// SPDX-License-Identifier: BSD-2-Clause
/* Names of what an event can say; see event.h. */
#include "event.h"

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
