/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The few kernel types that bpf/tracer.bpf.c reads, trimmed by hand. Field offsets are relocated
 * against the running kernel's BTF at load time (CO-RE), so only names and types matter here.
 * tests/check-vmlinux compares every field with the running kernel.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include <linux/types.h>
#include <linux/bpf.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

typedef _Bool bool;
#define true 1
#define false 0

/* The context of a uprobe program: fixed by the x86-64 ABI, not relocated. */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	unsigned long sig[1];
} sigset_t;

struct list_head {
	struct list_head *next, *prev;
};

struct sigpending {
	struct list_head list;
	sigset_t signal;
};

struct signal_struct {
	atomic_t live;
	struct sigpending shared_pending;
	int group_exit_code;
	unsigned int flags;
};

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	unsigned long jobctl;
	u64 start_boottime;
	char comm[16];
	struct task_struct *group_leader;
	struct signal_struct *signal;
};

#pragma clang attribute pop

#endif
