/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring's mapping in this process, of which libbpf does not tell where it is. */
#ifndef BUFSCOPE_SOURCE_RING_MEMORY_H
#define BUFSCOPE_SOURCE_RING_MEMORY_H

#include <stddef.h>

/*
 * Keeps the mapping of a ring of @ring_bytes out of children of this process. It is there twice in a row, all
 * of it: a fork would copy 32,768 entries of page tables for a ring of 64 MiB, which takes 2 ms, and no child
 * reads the ring. Nothing is wrong where it cannot be done, a fork is slower then.
 */
void ring_memory_keep_from_children(size_t ring_bytes);

#endif
