/* SPDX-License-Identifier: BSD-2-Clause */
/* The runtime's own books of a process as a block of text: what each allocator has, and whether the table agrees. */
#ifndef BUFSCOPE_VIEW_BOOKS_TABLE_H
#define BUFSCOPE_VIEW_BOOKS_TABLE_H

struct strbuf;
struct style;
struct snapshot_process;

/* Nothing when no books are known. A failure is the strbuf's. */
void books_table(struct strbuf *out, const struct style *style, const struct snapshot_process *process);

#endif
