/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot as bytes, to be kept and compared with a later one: which processes there were and their
 * buffers, nothing else. Only for the program that wrote them: the bytes are not checked against malice
 * and change between versions.
 */
#ifndef BUFSCOPE_MODEL_MOMENT_H
#define BUFSCOPE_MODEL_MOMENT_H

#include <stddef.h>
#include <stdint.h>

struct snapshot;
struct strbuf;

struct moment_head {
	uint64_t now_ns;
	uint64_t processes, buffers;                       /* all that are in it */
	uint64_t live_processes, live_buffers, live_bytes; /* those with live buffers; bytes over all chips */
};

/* Appends. 0 or -ENOMEM. */
int moment_pack(const struct snapshot *snapshot, struct strbuf *out);
/* 0 or -EINVAL: no moment. */
int moment_read_head(const void *data, size_t len, struct moment_head *out);
/* snapshot_free(). NULL: no memory, or no moment. */
struct snapshot *moment_unpack(const void *data, size_t len);

#endif
