/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The BPF side as the collector sees it: programs, maps, the ring. The only module that includes the
 * generated skeleton. Hands out raw records (bpf/wire.h); decode.h gives them meaning.
 */
#ifndef BUFSCOPE_SOURCE_LIVE_H
#define BUFSCOPE_SOURCE_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "source/attach.h"
#include "wire.h"

struct library_plan;
struct live;
struct pressure;

#define LIVE_RING_BYTES ((size_t)64 << 20)

struct live_options {
	size_t ring_bytes; /* a power of two, at least a page; 0: LIVE_RING_BYTES */
	bool perf_links;   /* even where the kernel has uprobe_multi */
	bool lossless;     /* with back-pressure */
};

/*
 * Loads the programs and starts watching process life. Messages are logged. 0 or -errno: -EPERM no
 * privilege; -ENOTSUP the kernel lacks something (which is logged).
 */
int live_open(const struct live_options *options, struct live **out);
void live_close(struct live *live);

enum attach_method live_method(const struct live *live);
/* The program that copies objects, for benchmarks. */
const struct bpf_program *live_object_program(const struct live *live);

/*
 * Follows a process from now on; @follow: enum wire_follow, or 0. @process gets its number. -ENOSPC when the map is full; -EEXIST: the
 * BPF side follows it already, by the number in @process, and a record in the ring tells of it.
 * live_lookup(): what the BPF side knows of a pid; -ENOENT. live_forget(): stops following.
 */
int live_follow(struct live *live, uint32_t pid, uint64_t start_ns, uint32_t follow, uint32_t *process);
int live_lookup(struct live *live, uint32_t pid, struct wire_process *out);
void live_forget(struct live *live, uint32_t pid);
/* From now on every process that hits a probe is followed (WIRE_ADOPT). */
void live_follow_machine(struct live *live);

/* Gives library @index its meaning. -ENOSPC, -ERANGE. Before attaching to it. */
int live_set_library(struct live *live, uint32_t index, const struct library_plan *plan);

#define LIVE_MAX_ATTACHMENTS 3
struct live_attachment {
	struct attachment parts[LIVE_MAX_ATTACHMENTS];
};

/* The probes needed from the start, and those needed only while objects are held. @path: openable by this process. */
int live_attach(struct live *live, uint32_t index, const struct library_plan *plan, const char *path,
		struct live_attachment *out);
int live_attach_destroy(struct live *live, uint32_t index, const struct library_plan *plan, const char *path,
			struct live_attachment *out);
void live_attachment_close(struct live_attachment *attachment);

/*
 * How often the programs on probes have run, and the time in them; without the trap that leads there. The
 * kernel counts only while kernel.bpf_stats_enabled is 1: otherwise -ENODATA.
 */
int live_probe_cost(const struct live *live, uint64_t *hits, uint64_t *ns);

/* Readable when the BPF side woke the reader. */
int live_fd(const struct live *live);

/*
 * Hands over the records that are in the ring, at most @max of them. Returns how many, or -errno.
 * A record's memory is valid during the call only.
 */
typedef void (*live_reader)(void *context, const void *record, size_t len);
int live_drain(struct live *live, live_reader reader, void *context, size_t max);

/* NULL without live_options.lossless. */
struct pressure *live_pressure(const struct live *live);

/* With @waiting the next record wakes live_fd(). The caller drains once more after setting it. */
void live_set_waiting(struct live *live, bool waiting);

/* Ended processes that could not say so, for want of room in the ring: calls @visit, and forgets them. */
typedef void (*live_dead_visitor)(void *context, uint32_t pid, const struct wire_process *process);
void live_sweep_dead(struct live *live, live_dead_visitor visit, void *context);

/* Processes that were not followed because the map of processes was full. */
uint64_t live_processes_full(const struct live *live);

#endif
