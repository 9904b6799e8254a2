/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where to put a uprobe in a function, from its machine code. The rules and their measurements:
 * docs/architecture.md, "Placing a probe".
 */
#ifndef BUFSCOPE_ELF_PLACE_H
#define BUFSCOPE_ELF_PLACE_H

#include <stdint.h>

struct elf_file;

enum place_cost {
	PLACE_EMULATED = 1, /* the kernel emulates the instruction: under 1 us a hit */
	PLACE_SINGLE_STEP =
		2, /* it steps a copy out of line: 10-14 us a hit in virtual machines, 0.9 us on bare metal */
};

struct place {
	uint64_t vaddr; /* the instruction to probe: argument registers there are as at entry (rsp may be lower) */
	uint64_t file_offset;
	uint32_t skipped_bytes; /* from the symbol: 0, 4 after endbr64, or a little more of the prologue */
	enum place_cost cost;
	char instruction[48]; /* "push rbp", for people */
};

/*
 * Plans the place of an entry probe for the function at @vaddr of @size bytes (0: unknown).
 * Never inside an instruction, never on a multi-byte nop of 5 bytes (kernel 6.18 and newer replace
 * it by a call, which breaks forked children and leaf functions), never past an instruction that
 * writes memory or an argument register or branches, never on a call (wrong under shadow stacks).
 * Errors: -EINVAL the bytes do not decode; -ENOTSUP no safe place; -ERANGE not file content.
 */
int place_entry(struct elf_file *file, uint64_t vaddr, uint64_t size, struct place *out);

/*
 * A place on the instruction at @vaddr, which the caller knows to be one. skipped_bytes is 0. -ENOTSUP: it must
 * not be probed; other errors as place_entry().
 */
int place_at(struct elf_file *file, uint64_t vaddr, struct place *out);

#endif
