/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The symbolic run: see insn.h. State is what each register and stack slot holds, as a path from the
 * function's arguments. Anything not modelled makes its result unknown.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "elf/elf_file.h"
#include "elf/insn.h"
#include "elf/insn_internal.h"

#define MAX_CODE         4096
#define MAX_CODE_NO_SIZE 256
#define MAX_STEPS        3000
#define MAX_PENDING      192
#define MAX_SEEN         256
#define MAX_SLOTS        32

struct slot {
	int64_t at; /* from the stack pointer at entry */
	struct insn_value value;
};

struct state {
	uint64_t pc;
	struct insn_value reg[INSN_REGISTERS];
	size_t slot_count;
	struct slot slot[MAX_SLOTS];
	bool escaped; /* the address of a slot was taken: others may write to the stack */
};

struct trace {
	struct insn_decoder *decoder;
	insn_fact_fn *fact;
	void *context;
	uint64_t start, end;
	bool branches; /* follow them */
	bool stop;
	bool cut_off;
	const uint8_t *code;
	unsigned int steps;
	struct state now;
	size_t pending_count, seen_count;
	uint64_t seen[MAX_SEEN];
	struct state pending[MAX_PENDING];
};

static const struct insn_value unknown;

static struct insn_value constant(int64_t value)
{
	return (struct insn_value){.kind = INSN_CONSTANT, .width = 8, .add = value};
}

bool insn_is_load(const struct insn_value *value, int root, int hops, int width)
{
	return value->kind == INSN_PATH && value->root == root && value->hops == hops && value->width == width &&
	       value->add == 0;
}

bool insn_same_value(const struct insn_value *a, const struct insn_value *b)
{
	return a->kind == b->kind && a->root == b->root && a->hops == b->hops && a->width == b->width &&
	       a->add == b->add && memcmp(a->hop, b->hop, a->hops * sizeof(a->hop[0])) == 0;
}

static bool is_stack(const struct insn_value *value)
{
	return value->kind == INSN_PATH && value->root == INSN_ROOT_STACK && value->hops == 0;
}

/* What a read of @width bytes at the address @address gives. */
static struct insn_value dereference(const struct insn_value *address, unsigned int width)
{
	struct insn_value value = *address;

	if (value.kind != INSN_PATH || value.width != 8 || value.partial || value.hops >= INSN_MAX_HOPS ||
	    value.add < INT32_MIN || value.add > INT32_MAX || width > 8)
		return unknown;
	value.hop[value.hops++] = (int32_t)value.add;
	value.add = 0;
	value.width = (uint8_t)width;
	return value;
}

static bool same_root(const struct insn_value *a, const struct insn_value *b)
{
	return a->kind == INSN_PATH && b->kind == INSN_PATH && a->root == b->root && a->hops == b->hops &&
	       a->width == 8 && b->width == 8;
}

static struct insn_value add_values(const struct insn_value *a, const struct insn_value *b)
{
	struct insn_value sum;

	if (a->partial || b->partial)
		return unknown;
	if (a->kind == INSN_CONSTANT && (b->kind == INSN_CONSTANT || b->kind == INSN_PATH)) {
		sum = *b;
		sum.add = (int64_t)((uint64_t)a->add + (uint64_t)b->add);
	} else if (b->kind == INSN_CONSTANT && a->kind == INSN_PATH) {
		sum = *a;
		sum.add = (int64_t)((uint64_t)a->add + (uint64_t)b->add);
	} else {
		return unknown;
	}
	/* a narrow value with something added may have wrapped */
	return sum.width == 8 ? sum : unknown;
}

static struct insn_value subtract_values(const struct insn_value *a, const struct insn_value *b)
{
	struct insn_value value;

	if (b->kind == INSN_CONSTANT) {
		value = constant((int64_t)(0 - (uint64_t)b->add));
		return add_values(a, &value);
	}
	if (!same_root(a, b) || a->hops == 0 || a->add || b->add || a->partial || b->partial ||
	    memcmp(a->hop, b->hop, (a->hops - 1u) * sizeof(a->hop[0])) != 0)
		return unknown;
	value = *b;
	value.kind = INSN_DIFFERENCE;
	value.add = (int64_t)a->hop[a->hops - 1] - b->hop[b->hops - 1];
	return value;
}

static void report(struct trace *t, struct insn_fact *fact)
{
	enum insn_verdict verdict;

	fact->vaddr = t->now.pc;
	verdict = t->fact(t->context, fact);
	if (verdict == INSN_STOP)
		t->stop = true;
	if (verdict != INSN_CONTINUE)
		t->now.pc = 0; /* checked by step(): the path ends here */
}

static struct insn_value read_register(const struct trace *t, unsigned int reg)
{
	unsigned int size;
	int number = insn_register(reg, &size);
	struct insn_value value;

	if (number < 0)
		return unknown;
	value = t->now.reg[number];
	if (value.partial && size > value.width)
		return unknown;
	if (size < 8 && value.kind == INSN_CONSTANT)
		value.add &= (int64_t)((1ULL << (size * 8)) - 1);
	else if (size < value.width && (value.hops == 0 || value.add || value.kind == INSN_DIFFERENCE))
		return unknown;
	else if (size < value.width)
		value.width = (uint8_t)size;
	return value;
}

static void write_register(struct trace *t, unsigned int reg, const struct insn_value *value)
{
	unsigned int size;
	int number = insn_register(reg, &size);

	if (number < 0) {
		number = insn_register_family(reg);
		if (number >= 0)
			t->now.reg[number] = unknown;
		return;
	}
	t->now.reg[number] = *value;
	t->now.reg[number].partial = size < 4;
	if (size < 4 && value->width > size)
		t->now.reg[number].width = (uint8_t)size;
	if (size == 4 && value->kind == INSN_CONSTANT)
		t->now.reg[number].add = (int64_t)(uint32_t)value->add;
}

/* The address of a memory operand; *slot: the vaddr when it is relative to rip. */
static struct insn_value address_of(const struct trace *t, const cs_x86_op *op, uint64_t *slot)
{
	const cs_insn *insn = t->decoder->insn;
	struct insn_value base = constant(0), index, displacement = constant(op->mem.disp);

	if (slot)
		*slot = 0;
	if (op->mem.segment != X86_REG_INVALID)
		return unknown;
	if (op->mem.base == X86_REG_RIP) {
		if (slot)
			*slot = insn->address + insn->size + (uint64_t)op->mem.disp;
		return constant((int64_t)(insn->address + insn->size + (uint64_t)op->mem.disp));
	}
	if (op->mem.base != X86_REG_INVALID)
		base = read_register(t, op->mem.base);
	if (op->mem.index != X86_REG_INVALID) {
		index = read_register(t, op->mem.index);
		if (index.kind != INSN_CONSTANT)
			return unknown;
		index.add = (int64_t)((uint64_t)index.add * (uint64_t)op->mem.scale);
		base = add_values(&base, &index);
	}
	return add_values(&base, &displacement);
}

static struct slot *find_slot(struct trace *t, int64_t at)
{
	for (size_t i = 0; i < t->now.slot_count; i++)
		if (t->now.slot[i].at == at)
			return &t->now.slot[i];
	return NULL;
}

static void store_slot(struct trace *t, int64_t at, unsigned int width, const struct insn_value *value)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->now.slot_count; i++) {
		struct slot *slot = &t->now.slot[i];

		if (slot->at + 8 <= at || at + (int64_t)width <= slot->at)
			t->now.slot[kept++] = *slot;
	}
	t->now.slot_count = kept;
	if (width != 8 || kept == MAX_SLOTS || value->kind == INSN_UNKNOWN)
		return;
	t->now.slot[t->now.slot_count++] = (struct slot){.at = at, .value = *value};
}

static struct insn_value read_memory(struct trace *t, const cs_x86_op *op)
{
	struct insn_value address = address_of(t, op, NULL);
	struct insn_fact fact = {.kind = INSN_FACT_LOAD, .base = -1};

	if (is_stack(&address)) {
		struct slot *slot = find_slot(t, address.add);

		return slot && op->size == 8 ? slot->value : unknown;
	}
	if (op->mem.base != X86_REG_INVALID && op->mem.index == X86_REG_INVALID && op->mem.disp == 0)
		fact.base = (int8_t)insn_register_family(op->mem.base);
	fact.a = dereference(&address, op->size);
	if (fact.a.kind == INSN_PATH)
		report(t, &fact);
	return fact.a;
}

static struct insn_value read_operand(struct trace *t, const cs_x86_op *op)
{
	switch (op->type) {
	case X86_OP_REG:
		return read_register(t, op->reg);
	case X86_OP_IMM:
		return constant(op->imm);
	case X86_OP_MEM:
		return read_memory(t, op);
	default:
		return unknown;
	}
}

static void write_operand(struct trace *t, const cs_x86_op *op, const struct insn_value *value)
{
	struct insn_fact fact = {.kind = INSN_FACT_STORE, .b = *value};
	struct insn_value address;

	if (op->type == X86_OP_REG) {
		write_register(t, op->reg, value);
		return;
	}
	if (op->type != X86_OP_MEM)
		return;
	address = address_of(t, op, NULL);
	if (is_stack(&address)) {
		store_slot(t, address.add, op->size ? op->size : 64, value);
		return;
	}
	if (address.kind == INSN_UNKNOWN && t->now.escaped)
		t->now.slot_count = 0;
	fact.a = dereference(&address, op->size);
	if (fact.a.kind == INSN_PATH)
		report(t, &fact);
}

static void push_value(struct trace *t, const struct insn_value *value)
{
	struct insn_value *sp = &t->now.reg[INSN_RSP];

	if (!is_stack(sp))
		return;
	sp->add -= 8;
	store_slot(t, sp->add, 8, value);
}

static struct insn_value pop_value(struct trace *t)
{
	struct insn_value *sp = &t->now.reg[INSN_RSP];
	struct insn_value value = unknown;
	struct slot *slot;

	if (!is_stack(sp))
		return unknown;
	slot = find_slot(t, sp->add);
	if (slot)
		value = slot->value;
	sp->add += 8;
	return value;
}

/* An instruction that is not modelled: all it might write is unknown afterwards. */
static void forget_written(struct trace *t)
{
	const cs_insn *insn = t->decoder->insn;
	const cs_x86 *x86 = &insn->detail->x86;
	cs_regs reads, writes;
	uint8_t read_count = 0, write_count = 0;

	for (uint8_t i = 0; i < x86->op_count; i++) {
		if (x86->operands[i].type == X86_OP_REG || (x86->operands[i].type == X86_OP_MEM && i == 0))
			write_operand(t, &x86->operands[i], &unknown);
	}
	if (cs_regs_access(t->decoder->handle, insn, reads, &read_count, writes, &write_count) != CS_ERR_OK) {
		memset(t->now.reg, 0, sizeof(t->now.reg));
		return;
	}
	for (uint8_t i = 0; i < write_count; i++)
		write_register(t, writes[i], &unknown);
}

static bool mark_seen(struct trace *t, uint64_t target)
{
	for (size_t i = 0; i < t->seen_count; i++)
		if (t->seen[i] == target)
			return false;
	if (t->seen_count == MAX_SEEN) {
		t->cut_off = true;
		return false;
	}
	t->seen[t->seen_count++] = target;
	return true;
}

static bool inside(const struct trace *t, uint64_t target)
{
	return target >= t->start && target < t->end;
}

static void do_call(struct trace *t, bool tail)
{
	static const int order[6] = {INSN_RDI, INSN_RSI, INSN_RDX, INSN_RCX, 8, 9};
	static const int lost[] = {INSN_RAX, INSN_RCX, INSN_RDX, INSN_RSI, INSN_RDI, 8, 9, 10, 11};
	const cs_x86_op *op = &t->decoder->insn->detail->x86.operands[0];
	struct insn_fact fact = {.kind = INSN_FACT_CALL, .tail = tail};
	struct insn_value argument[6];

	for (size_t i = 0; i < 6; i++)
		argument[i] = t->now.reg[order[i]];
	fact.argument = argument;
	if (op->type == X86_OP_IMM)
		fact.target = (uint64_t)op->imm;
	else if (op->type == X86_OP_MEM)
		address_of(t, op, &fact.slot);
	if (op->type != X86_OP_IMM && !fact.slot)
		fact.a = read_operand(t, op);
	report(t, &fact);
	if (tail) {
		t->now.pc = 0;
		return;
	}
	for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++)
		t->now.reg[lost[i]] = unknown;
	for (size_t i = 0; i < INSN_REGISTERS; i++)
		if (t->now.reg[i].root == INSN_ROOT_RESULT)
			t->now.reg[i] = unknown;
	for (size_t i = 0; i < t->now.slot_count; i++)
		if (t->now.slot[i].value.root == INSN_ROOT_RESULT)
			t->now.slot[i].value = unknown;
	if (t->now.escaped)
		t->now.slot_count = 0;
	t->now.reg[INSN_RAX] = (struct insn_value){.kind = INSN_PATH, .root = INSN_ROOT_RESULT, .width = 8};
}

static void do_jump(struct trace *t, uint64_t next)
{
	const cs_insn *insn = t->decoder->insn;
	const cs_x86_op *op = &insn->detail->x86.operands[0];
	bool conditional = insn->id != X86_INS_JMP;
	uint64_t target = op->type == X86_OP_IMM ? (uint64_t)op->imm : 0;

	if (!conditional) {
		if (op->type != X86_OP_IMM || !inside(t, target)) {
			do_call(t, true);
			return;
		}
		t->now.pc = t->branches && mark_seen(t, target) ? target : 0;
		return;
	}
	if (!t->branches) {
		t->now.pc = 0;
		return;
	}
	t->cut_off |= !inside(t, target) || t->pending_count == MAX_PENDING;
	if (inside(t, target) && t->pending_count < MAX_PENDING && mark_seen(t, target)) {
		t->pending[t->pending_count] = t->now;
		t->pending[t->pending_count++].pc = target;
	}
	t->now.pc = next;
}

static void do_compare(struct trace *t, bool is_test)
{
	const cs_x86 *x86 = &t->decoder->insn->detail->x86;
	struct insn_fact fact = {.kind = INSN_FACT_COMPARE};

	fact.a = read_operand(t, &x86->operands[0]);
	fact.b = read_operand(t, &x86->operands[1]);
	if (is_test) {
		if (x86->operands[0].type != X86_OP_REG || x86->operands[1].type != X86_OP_REG ||
		    x86->operands[0].reg != x86->operands[1].reg)
			return;
		fact.b = constant(0);
	}
	report(t, &fact);
}

static void do_arithmetic(struct trace *t)
{
	const cs_insn *insn = t->decoder->insn;
	const cs_x86_op *op = insn->detail->x86.operands;
	bool to_itself = op[0].type == X86_OP_REG && op[1].type == X86_OP_REG && op[0].reg == op[1].reg;
	struct insn_value a, b, result = unknown;

	if (to_itself && insn->id != X86_INS_ADD) {
		result = constant(0);
	} else if (insn->id != X86_INS_XOR) {
		a = read_operand(t, &op[0]);
		b = read_operand(t, &op[1]);
		result = insn->id == X86_INS_ADD ? add_values(&a, &b) : subtract_values(&a, &b);
		/* a 32-bit or narrower result of a pointer is not one */
		if (op[0].size != 8 && result.kind != INSN_CONSTANT)
			result = unknown;
	} else if (op[1].type == X86_OP_MEM) {
		read_operand(t, &op[1]);
	}
	write_operand(t, &op[0], &result);
}

static void do_move(struct trace *t)
{
	const cs_insn *insn = t->decoder->insn;
	const cs_x86_op *op = insn->detail->x86.operands;
	struct insn_value value = read_operand(t, &op[1]);

	/* sign extension makes more of a narrow value than was read: only its use as a number is known */
	if ((insn->id == X86_INS_MOVSX || insn->id == X86_INS_MOVSXD) && value.kind == INSN_CONSTANT)
		value = unknown;
	if (op[1].type == X86_OP_REG && op[0].size == 4 && value.kind == INSN_PATH && value.width == 8)
		value = unknown;
	write_operand(t, &op[0], &value);
}

static void do_shift(struct trace *t)
{
	const cs_x86_op *op = t->decoder->insn->detail->x86.operands;
	struct insn_fact fact = {.kind = INSN_FACT_SHIFT};

	fact.a = read_operand(t, &op[0]);
	/* the short form has no count operand */
	fact.b = t->decoder->insn->detail->x86.op_count > 1 ? read_operand(t, &op[1]) : constant(1);
	write_operand(t, &op[0], &unknown);
	report(t, &fact);
}

static void do_lea(struct trace *t)
{
	const cs_x86_op *op = t->decoder->insn->detail->x86.operands;
	struct insn_value value = address_of(t, &op[1], NULL);

	if (op[0].size != 8)
		value = unknown;
	if (is_stack(&value) && insn_register_family(op[0].reg) != INSN_RSP &&
	    insn_register_family(op[0].reg) != INSN_RBP)
		t->now.escaped = true;
	write_operand(t, &op[0], &value);
}

static void do_return(struct trace *t)
{
	struct insn_fact fact = {.kind = INSN_FACT_RETURN, .a = t->now.reg[INSN_RAX]};

	report(t, &fact);
	t->now.pc = 0;
}

static void do_stack(struct trace *t)
{
	const cs_insn *insn = t->decoder->insn;
	const cs_x86_op *op = insn->detail->x86.operands;
	struct insn_value value;

	if (insn->id == X86_INS_PUSH) {
		value = read_operand(t, &op[0]);
		push_value(t, &value);
	} else if (insn->id == X86_INS_POP) {
		value = pop_value(t);
		write_operand(t, &op[0], &value);
	} else { /* leave */
		t->now.reg[INSN_RSP] = t->now.reg[INSN_RBP];
		t->now.reg[INSN_RBP] = pop_value(t);
	}
}

static void execute(struct trace *t, uint64_t next)
{
	switch (t->decoder->insn->id) {
	case X86_INS_NOP:
	case X86_INS_ENDBR64:
		break;
	case X86_INS_PUSH:
	case X86_INS_POP:
	case X86_INS_LEAVE:
		do_stack(t);
		break;
	case X86_INS_MOV:
	case X86_INS_MOVABS:
	case X86_INS_MOVZX:
	case X86_INS_MOVSX:
	case X86_INS_MOVSXD:
		do_move(t);
		break;
	case X86_INS_LEA:
		do_lea(t);
		break;
	case X86_INS_ADD:
	case X86_INS_SUB:
	case X86_INS_XOR:
		do_arithmetic(t);
		break;
	case X86_INS_CMP:
		do_compare(t, false);
		break;
	case X86_INS_TEST:
		do_compare(t, true);
		break;
	case X86_INS_SAR:
	case X86_INS_SHR:
		do_shift(t);
		break;
	case X86_INS_CALL:
		do_call(t, false);
		break;
	case X86_INS_RET:
		do_return(t);
		break;
	default:
		if (cs_insn_group(t->decoder->handle, t->decoder->insn, CS_GRP_JUMP)) {
			do_jump(t, next);
			return;
		}
		forget_written(t);
		break;
	}
	if (t->now.pc)
		t->now.pc = next;
}

/* Runs one path to its end. -EINVAL: it left what can be decoded. */
static int run_path(struct trace *t)
{
	while (t->now.pc && !t->stop) {
		uint64_t at = t->now.pc, next;
		size_t offset;

		if (t->steps++ >= MAX_STEPS || !inside(t, at)) {
			t->cut_off = true;
			return t->branches || inside(t, at) ? 0 : -EINVAL;
		}
		offset = (size_t)(at - t->start);
		if (!insn_next(t->decoder, t->code + offset, (size_t)(t->end - at), at))
			return -EINVAL;
		if (t->decoder->insn->id == X86_INS_INT3 || t->decoder->insn->id == X86_INS_UD2)
			return t->decoder->insn->id == X86_INS_INT3 ? -EINVAL : 0;
		next = at + t->decoder->insn->size;
		execute(t, next);
	}
	return 0;
}

/* As much of the function as the file has, up to @want bytes. */
static int read_code(struct elf_file *file, uint64_t vaddr, uint8_t *code, size_t want, size_t *got)
{
	for (size_t len = want; len > 0; len /= 2) {
		int err = elf_file_read(file, vaddr, code, len);

		if (err == 0) {
			*got = len;
			return 0;
		}
		if (err != -ERANGE)
			return err;
	}
	return -ERANGE;
}

int insn_trace(struct insn_decoder *decoder, struct elf_file *file, uint64_t vaddr, uint64_t size, insn_fact_fn *fact,
	       void *context)
{
	struct trace *t = calloc(1, sizeof(*t));
	uint8_t *code = malloc(MAX_CODE);
	size_t got = 0;
	int err = -ENOMEM;

	if (!t || !code)
		goto out;
	err = read_code(file, vaddr, code,
			size == 0         ? MAX_CODE_NO_SIZE
			: size < MAX_CODE ? (size_t)size
					  : MAX_CODE,
			&got);
	if (err)
		goto out;
	*t = (struct trace){.decoder = decoder,
			    .fact = fact,
			    .context = context,
			    .code = code,
			    .start = vaddr,
			    .end = vaddr + got,
			    .branches = size > 0};
	for (uint8_t i = 0; i < 6; i++) {
		static const int order[6] = {INSN_RDI, INSN_RSI, INSN_RDX, INSN_RCX, 8, 9};

		t->now.reg[order[i]] = (struct insn_value){.kind = INSN_PATH, .root = i, .width = 8};
	}
	t->now.reg[INSN_RSP] = (struct insn_value){.kind = INSN_PATH, .root = INSN_ROOT_STACK, .width = 8};
	t->now.pc = vaddr;
	err = run_path(t);
	for (size_t i = 0; err == 0 && !t->stop && i < t->pending_count; i++) {
		t->now = t->pending[i];
		t->cut_off |= run_path(t) != 0;
	}
	if (err == 0 && t->cut_off) {
		struct insn_fact cut_off = {.kind = INSN_FACT_CUT_OFF};

		fact(context, &cut_off);
	}
out:
	free(code);
	free(t);
	return err;
}
