/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages of a process are in memory, as runs of addresses. Asks the kernel for runs where it can
 * tell them (PAGEMAP_SCAN, Linux 6.7), and reads the page map where it cannot; so gigabytes that were
 * reserved and never touched cost nothing, or little.
 */
#ifndef BUFSCOPE_SOURCE_PAGE_RUNS_H
#define BUFSCOPE_SOURCE_PAGE_RUNS_H

#include <stdint.h>

#include "runtime/memory.h"

struct page_runs;

/* @pagemap_fd stays the caller's and must outlive it. 0, -ENOMEM. */
int page_runs_new(int pagemap_fd, struct page_runs **out);
void page_runs_free(struct page_runs *runs);

/* As memory_ops.present. Asked in order of addresses it is cheap. */
int page_runs_next(struct page_runs *runs, uint64_t from, uint64_t to, struct memory_run *run, uint64_t *missing_bytes);

#endif
