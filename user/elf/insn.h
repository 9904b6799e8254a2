/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x86-64 instructions: decoding (capstone), and a small symbolic run over one function that says
 * what it does with its arguments. It is what layouts are learnt with: no byte patterns, so
 * register choice, frame pointers and padding do not matter.
 *
 * The code is hostile input: the work is bounded and nothing is executed. What the run cannot follow
 * becomes INSN_UNKNOWN; it never guesses.
 */
#ifndef BUFSCOPE_ELF_INSN_H
#define BUFSCOPE_ELF_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_file;
struct insn_decoder;

struct insn_decoder *insn_decoder_new(void); /* NULL: no memory */
void insn_decoder_free(struct insn_decoder *decoder);

enum insn_class {
	INSN_CLASS_OTHER = 0, /* straight-line, nothing special */
	INSN_CLASS_PUSH,      /* push of a 64-bit register without memory operand */
	INSN_CLASS_NOP,       /* of any length */
	INSN_CLASS_ENDBR,
	INSN_CLASS_JUMP_DIRECT, /* jmp and conditional jumps with a displacement */
	INSN_CLASS_CALL,        /* any call */
	INSN_CLASS_LEAVES,      /* ret, indirect jmp */
	INSN_CLASS_FORBIDDEN,   /* int3, privileged, prefixes a uprobe refuses */
};

/* What a probe's placement needs to know about one instruction. */
struct insn_info {
	uint64_t vaddr;
	uint8_t length;
	enum insn_class class;
	uint64_t target; /* of a direct jump; 0: none */
	bool harmless;   /* writes no memory and no argument register (rdi rsi rdx rcx r8 r9) */
	char text[48];   /* "push rbp" */
};

/* Decodes the instruction at the start of @code. 0, or -EINVAL when the bytes do not decode. */
int insn_decode(struct insn_decoder *decoder, const uint8_t *code, size_t len, uint64_t vaddr, struct insn_info *out);

#define INSN_MAX_HOPS 4

enum insn_value_kind {
	INSN_UNKNOWN = 0,
	INSN_CONSTANT, /* add */
	INSN_PATH,     /* root, then dereferenced at each hop, then plus add */
	INSN_DIFFERENCE, /* of two paths that differ in the last hop: the smaller one, and add = how far the other is behind it */
};

enum insn_root {
	/* 0..5: the integer arguments of the function */
	INSN_ROOT_STACK = 6,
	INSN_ROOT_RESULT = 7, /* what the latest call returned */
};

struct insn_value {
	uint8_t kind;
	uint8_t root;
	uint8_t hops;
	uint8_t width; /* bytes read by the last hop; 8 with no hop */
	bool partial;  /* only the low @width bytes of the register are this value */
	int32_t hop[INSN_MAX_HOPS];
	int64_t add;
};

enum insn_fact_kind {
	INSN_FACT_LOAD = 1, /* a: the value read */
	INSN_FACT_STORE,    /* a: the place, written as the value a read of it would have; b: what is stored */
	INSN_FACT_COMPARE,  /* a with b; a test of a register with itself is a comparison with 0 */
	INSN_FACT_SHIFT,    /* a to the right by b */
	INSN_FACT_CALL,   /* target, slot or a (a pointer that was read); arguments; also a jump out of the function */
	INSN_FACT_RETURN, /* a: rax */
	INSN_FACT_CUT_OFF, /* a path was not followed to its end: it left what can be decoded, or the bounds of the run */
};

struct insn_fact {
	enum insn_fact_kind kind;
	uint64_t vaddr;
	struct insn_value a, b;
	uint64_t target;                   /* CALL: where to, or 0 */
	uint64_t slot;                     /* CALL: through the pointer at this vaddr, or 0 */
	const struct insn_value *argument; /* CALL: six */
	bool tail;                         /* CALL: a jump out of the function */
	int8_t base; /* LOAD: the number of the register that alone is the address, as the encoding has it; -1: none */
};

enum insn_verdict {
	INSN_CONTINUE = 0,
	INSN_END_PATH, /* this call does not return */
	INSN_STOP,     /* seen enough */
};

typedef enum insn_verdict insn_fact_fn(void *context, const struct insn_fact *fact);

/*
 * Runs over the function at @vaddr: the fall-through path first, then each branch not yet seen,
 * inside @size bytes (0: not known; then only the straight line up to the first branch or return).
 * 0; -EINVAL the first path does not decode; -ERANGE not file content; -ENOMEM.
 */
int insn_trace(struct insn_decoder *decoder, struct elf_file *file, uint64_t vaddr, uint64_t size, insn_fact_fn *fact,
	       void *context);

/* Is @value what a read of @width bytes gives at @root, through exactly @hops dereferences? */
bool insn_is_load(const struct insn_value *value, int root, int hops, int width);

bool insn_same_value(const struct insn_value *a, const struct insn_value *b);

#endif
