/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory of a running process for a census (runtime/memory.h). The process is not stopped, and no
 * page of it is faulted in: what is not in memory at the moment it is asked for is not read. (A page
 * that is swapped out between the question and the read is the only exception.)
 */
#ifndef BUFSCOPE_SOURCE_PROCESS_MEMORY_H
#define BUFSCOPE_SOURCE_PROCESS_MEMORY_H

#include <sys/types.h>

#include "runtime/memory.h"

/* 0; -ESRCH, -EACCES or -EPERM (not ours to read), -ENOMEM. Ends with memory_close(). */
int process_memory_open(pid_t pid, struct memory **out);

#endif
