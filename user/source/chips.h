/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which chips of the machine a process uses: the device nodes that it has mapped, what sysfs says of them,
 * and, where that is certain, which number its runtime has for each. The names of nodes and files are the
 * runtime's (runtime.h); knows no BPF and no model.
 *
 * What a process maps is its own choice, names of files included. What counts is the kernel's: the number of
 * the device behind a mapping, and sysfs, which says by class whose node that is. Nothing of a process's file
 * is opened, and its file system is not asked.
 */
#ifndef BUFSCOPE_SOURCE_CHIPS_H
#define BUFSCOPE_SOURCE_CHIPS_H

#include <stddef.h>
#include <sys/types.h>

#include "event.h"

struct runtime_chips;
struct chips;

struct chips_found {
	size_t count;                                /* chips whose nodes it has mapped */
	struct chip_identity chips[EVENT_MAX_CHIPS]; /* by PCI address */
	/* NULL: chips[n] is number n of its runtime. Otherwise the numbers are not known: a few words. */
	const char *unnumbered;
};

/* @root: where /proc and /sys are, "" but for tests. Remembers what the driver said of a chip. NULL: out of memory. */
struct chips *chips_new(const char *root);
void chips_free(struct chips *chips);

/*
 * May read a chip's telemetry through the driver (once per chip), which waits while that chip is being reset.
 * 0 (also when it uses none), -ESRCH, -EACCES, -ENOMEM.
 */
int chips_of_process(struct chips *chips, pid_t pid, const struct runtime_chips *names, struct chips_found *out);

#endif
