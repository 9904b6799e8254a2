/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions: see insn.h. insn_decode() is here, the symbolic run is in insn_trace.c. Only these
 * two files know the disassembler.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elf/insn.h"
#include "elf/insn_internal.h"

struct insn_decoder *insn_decoder_new(void)
{
	struct insn_decoder *decoder = calloc(1, sizeof(*decoder));

	if (!decoder)
		return NULL;
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &decoder->handle) != CS_ERR_OK) {
		free(decoder);
		return NULL;
	}
	cs_option(decoder->handle, CS_OPT_DETAIL, CS_OPT_ON);
	decoder->insn = cs_malloc(decoder->handle);
	if (!decoder->insn) {
		insn_decoder_free(decoder);
		return NULL;
	}
	return decoder;
}

void insn_decoder_free(struct insn_decoder *decoder)
{
	if (!decoder)
		return;
	if (decoder->insn)
		cs_free(decoder->insn, 1);
	cs_close(&decoder->handle);
	free(decoder);
}

bool insn_next(struct insn_decoder *decoder, const uint8_t *code, size_t len, uint64_t vaddr)
{
	return cs_disasm_iter(decoder->handle, &code, &len, &vaddr, decoder->insn);
}

#define REGISTER(letter, number)                                                    \
	[X86_REG_R##letter##X] = {number, 8}, [X86_REG_E##letter##X] = {number, 4}, \
	[X86_REG_##letter##X] = {number, 2}, [X86_REG_##letter##L] = {number, 1}
#define REGISTER_OLD(name, number)                                                                        \
	[X86_REG_R##name] = {number, 8}, [X86_REG_E##name] = {number, 4}, [X86_REG_##name] = {number, 2}, \
	[X86_REG_##name##L] = {number, 1}
#define REGISTER_NEW(name)                                                                                 \
	[X86_REG_R##name] = {name, 8}, [X86_REG_R##name##D] = {name, 4}, [X86_REG_R##name##W] = {name, 2}, \
	[X86_REG_R##name##B] = {name, 1}

/* ah, bh, ch and dh are left out on purpose: a write to one is handled as one to the whole register (insn_register_family). */
static const struct {
	uint8_t number, size;
} registers[X86_REG_ENDING] = {
	REGISTER(A, INSN_RAX),
	REGISTER(C, INSN_RCX),
	REGISTER(D, INSN_RDX),
	REGISTER(B, INSN_RBX),
	REGISTER_OLD(SP, INSN_RSP),
	REGISTER_OLD(BP, INSN_RBP),
	REGISTER_OLD(SI, INSN_RSI),
	REGISTER_OLD(DI, INSN_RDI),
	REGISTER_NEW(8),
	REGISTER_NEW(9),
	REGISTER_NEW(10),
	REGISTER_NEW(11),
	REGISTER_NEW(12),
	REGISTER_NEW(13),
	REGISTER_NEW(14),
	REGISTER_NEW(15),
};

int insn_register(unsigned int reg, unsigned int *size)
{
	if (reg >= X86_REG_ENDING || !registers[reg].size)
		return -1;
	*size = registers[reg].size;
	return registers[reg].number;
}

int insn_register_family(unsigned int reg)
{
	unsigned int size;

	switch (reg) {
	case X86_REG_AH:
		return INSN_RAX;
	case X86_REG_BH:
		return INSN_RBX;
	case X86_REG_CH:
		return INSN_RCX;
	case X86_REG_DH:
		return INSN_RDX;
	default:
		return insn_register(reg, &size);
	}
}

/* The prefixes and instructions that the kernel refuses to probe or that must not be stepped. */
static bool is_forbidden(struct insn_decoder *decoder)
{
	const cs_x86 *x86 = &decoder->insn->detail->x86;
	const cs_insn *insn = decoder->insn;

	for (size_t i = 0; i < sizeof(x86->prefix); i++)
		if (x86->prefix[i] == X86_PREFIX_LOCK || x86->prefix[i] == X86_PREFIX_CS ||
		    x86->prefix[i] == X86_PREFIX_DS || x86->prefix[i] == X86_PREFIX_ES ||
		    x86->prefix[i] == X86_PREFIX_SS)
			return true;
	return insn->id == X86_INS_INT3 || insn->id == X86_INS_UD2 || insn->id == X86_INS_SYSCALL ||
	       insn->id == X86_INS_SYSENTER || cs_insn_group(decoder->handle, insn, CS_GRP_INT) ||
	       cs_insn_group(decoder->handle, insn, CS_GRP_PRIVILEGE) ||
	       cs_insn_group(decoder->handle, insn, CS_GRP_IRET);
}

static enum insn_class classify(struct insn_decoder *decoder)
{
	const cs_insn *insn = decoder->insn;
	const cs_x86 *x86 = &insn->detail->x86;
	bool immediate = x86->op_count == 1 && x86->operands[0].type == X86_OP_IMM;
	unsigned int size;

	if (insn->id == X86_INS_ENDBR64)
		return INSN_CLASS_ENDBR;
	if (insn->id == X86_INS_NOP)
		return INSN_CLASS_NOP;
	if (is_forbidden(decoder))
		return INSN_CLASS_FORBIDDEN;
	if (insn->id == X86_INS_PUSH && x86->operands[0].type == X86_OP_REG &&
	    insn_register(x86->operands[0].reg, &size) >= 0 && size == 8)
		return INSN_CLASS_PUSH;
	if (cs_insn_group(decoder->handle, insn, CS_GRP_CALL))
		return INSN_CLASS_CALL;
	if (cs_insn_group(decoder->handle, insn, CS_GRP_JUMP))
		return immediate ? INSN_CLASS_JUMP_DIRECT : INSN_CLASS_LEAVES;
	if (cs_insn_group(decoder->handle, insn, CS_GRP_RET))
		return INSN_CLASS_LEAVES;
	return INSN_CLASS_OTHER;
}

static bool is_argument(int number)
{
	return number == INSN_RDI || number == INSN_RSI || number == INSN_RDX || number == INSN_RCX || number == 8 ||
	       number == 9;
}

/*
 * Only instructions whose effect is certain: the disassembler's access flags are not complete for
 * all of x86, so everything else counts as harmful.
 */
static bool is_harmless(struct insn_decoder *decoder)
{
	const cs_insn *insn = decoder->insn;
	const cs_x86 *x86 = &insn->detail->x86;

	switch (insn->id) {
	case X86_INS_ENDBR64:
	case X86_INS_NOP:
	case X86_INS_CMP:
	case X86_INS_TEST:
		return true;
	case X86_INS_MOV:
	case X86_INS_MOVABS:
	case X86_INS_MOVZX:
	case X86_INS_MOVSX:
	case X86_INS_MOVSXD:
	case X86_INS_LEA:
	case X86_INS_XOR:
	case X86_INS_SUB:
	case X86_INS_ADD:
		if (x86->op_count < 1 || x86->operands[0].type != X86_OP_REG)
			return false;
		return insn_register_family(x86->operands[0].reg) >= 0 &&
		       !is_argument(insn_register_family(x86->operands[0].reg));
	default:
		return false;
	}
}

int insn_decode(struct insn_decoder *decoder, const uint8_t *code, size_t len, uint64_t vaddr, struct insn_info *out)
{
	const cs_insn *insn = decoder->insn;

	memset(out, 0, sizeof(*out));
	if (!insn_next(decoder, code, len, vaddr))
		return -EINVAL;
	out->vaddr = vaddr;
	out->length = (uint8_t)insn->size;
	out->class = classify(decoder);
	if (out->class == INSN_CLASS_JUMP_DIRECT)
		out->target = (uint64_t)insn->detail->x86.operands[0].imm;
	out->harmless = is_harmless(decoder);
	if (insn->op_str[0])
		snprintf(out->text, sizeof(out->text), "%.12s %.34s", insn->mnemonic, insn->op_str);
	else
		snprintf(out->text, sizeof(out->text), "%.40s", insn->mnemonic);
	return 0;
}
