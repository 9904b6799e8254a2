/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TT-Metal (libtt_metal.so, or the library that has it built in). Only runtime.c includes this from
 * outside; the rest is shared between the tt_metal*.c files.
 *
 * tt_metal.c		which functions are probed, the plan, the meaning of a window
 * tt_metal_layout.c	the layout of a Buffer, learnt from its accessors
 * tt_metal_failure.c	where an allocation that fails is seen
 * tt_metal_walk.c	the way from a device object to the numbers of its chips, learnt likewise
 */
#ifndef BUFSCOPE_RUNTIME_TT_METAL_H
#define BUFSCOPE_RUNTIME_TT_METAL_H

#include "elf/insn.h"
#include "runtime/runtime.h"

extern const struct runtime tt_metal_runtime;

/* What making a plan works with. */
struct tt_metal_learn {
	struct elf_file *file;
	struct insn_decoder *decoder;
	struct library_plan *plan;
	struct strbuf *report;
};

/* Fills plan->read, ->field, ->weak_this_offset and the "buffer." rows of ->layout. 0, -ENOTSUP, -ENOMEM. */
int tt_metal_learn_buffer(struct tt_metal_learn *learn);

/* Fills plan->walk and the "device." and "mesh." rows of ->layout. 0, -ENOTSUP, -ENOMEM. */
int tt_metal_learn_walk(struct tt_metal_learn *learn);

#define TT_METAL_MAX_FAILURES 4

/*
 * Adds probes (PROBE_OUT_OF_MEMORY) where an allocation has failed. 0, also when the library shows no such
 * place: the report says so; -ENOMEM.
 */
int tt_metal_learn_failure(struct tt_metal_learn *learn);

/*
 * Runs insn_trace() on the function called @symbol. -ENOENT: not defined in the file. Other errors as
 * insn_trace().
 */
int tt_metal_trace(struct tt_metal_learn *learn, const char *symbol, insn_fact_fn *fact, void *context);

/* The mangled name of what a call goes to, "" when it has none. */
const char *tt_metal_callee(struct tt_metal_learn *learn, const struct insn_fact *fact);

/* Is this the name of a function that does not return? */
bool tt_metal_is_noreturn(const char *name);

/* Adds a row to plan->layout. @name: static string. */
void tt_metal_add_layout(struct library_plan *plan, const char *name, int64_t value);

#endif
