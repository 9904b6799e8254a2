/* SPDX-License-Identifier: BSD-2-Clause */
/* What insn.c and insn_trace.c share. For nobody else. */
#ifndef BUFSCOPE_ELF_INSN_INTERNAL_H
#define BUFSCOPE_ELF_INSN_INTERNAL_H

#include <capstone/capstone.h>

#include "elf/insn.h"

struct insn_decoder {
	csh handle;
	cs_insn *insn;
};

enum {
	INSN_RAX = 0,
	INSN_RCX = 1,
	INSN_RDX = 2,
	INSN_RBX = 3,
	INSN_RSP = 4,
	INSN_RBP = 5,
	INSN_RSI = 6,
	INSN_RDI = 7,
	INSN_REGISTERS = 16,
};

/* Decodes into decoder->insn; false when the bytes do not decode. */
bool insn_next(struct insn_decoder *decoder, const uint8_t *code, size_t len, uint64_t vaddr);
/* The number of a general register and the bytes of it that @reg names; -1 for anything else. */
int insn_register(unsigned int reg, unsigned int *size);
/* The same without the size, and with ah, bh, ch, dh. */
int insn_register_family(unsigned int reg);

#endif
