/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of runtimes: a new one is a file and a row here. */
#include "runtime/runtime.h"
#include "runtime/tt_metal.h"

const struct runtime *const runtime_all[] = {
	&tt_metal_runtime,
	NULL,
};
