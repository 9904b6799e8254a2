/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * What a probe costs at the least: an empty program, and the cheapest correct ring event (clock,
 * reserve and submit of a record of our size, nothing read). bench_probe compares our program with
 * both on the same instruction.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "wire.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 20);
} ring SEC(".maps");

SEC("uprobe")
int empty(struct pt_regs *ctx)
{
	return 0;
}

SEC("uprobe")
int cheapest(struct pt_regs *ctx)
{
	struct wire_object *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return 0;
	record->head.time_ns = bpf_ktime_get_boot_ns();
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
