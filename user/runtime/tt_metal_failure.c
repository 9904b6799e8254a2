/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an allocation that fails can be seen: see tt_metal.h.
 *
 * No function of the library is called only then, and a return probe would end the program that
 * catches the exception. But BankManager::allocate_buffer() has code that is run only on the way to
 * its throw, and there it reads its own memory type, for the message. The probe stands on that read:
 * the register in it holds the BankManager, and the Buffer that is being allocated is still on the
 * stack, because its callers go on with it.
 *
 * That the code is cold is proven, not assumed: from the read on no path returns, and each ends in a
 * throw whose text says that memory is out.
 */
#include <errno.h>
#include <string.h>

#include "base/strbuf.h"
#include "elf/elf_file.h"
#include "runtime/tt_metal.h"

#define ALLOCATE_PREFIX "_ZN2tt8tt_metal11BankManager15allocate_buffer"
#define MESSAGE         "Out of Memory: Not enough space"

#define MESSAGE_ARGUMENT 4 /* tt_throw(file, line, condition, prefix, format, ...) */

struct failure {
	struct tt_metal_learn *learn;
	struct insn_decoder *decoder; /* of the runs inside the run */
	const char *symbol;
	uint64_t start, end;
	size_t count;
	int error;
};

/* One run from a read of the type to wherever it leads. */
struct outcome {
	struct failure *failure;
	bool fails, otherwise;
};

static bool says_out_of_memory(struct failure *failure, const struct insn_fact *call)
{
	const struct insn_value *text = &call->argument[MESSAGE_ARGUMENT];
	char head[sizeof(MESSAGE) - 1];

	return text->kind == INSN_CONSTANT &&
	       elf_file_read(failure->learn->file, (uint64_t)text->add, head, sizeof(head)) == 0 &&
	       memcmp(head, MESSAGE, sizeof(head)) == 0;
}

static enum insn_verdict on_outcome(void *context, const struct insn_fact *fact)
{
	struct outcome *outcome = context;

	if (fact->kind == INSN_FACT_RETURN || fact->kind == INSN_FACT_CUT_OFF)
		outcome->otherwise = true;
	if (fact->kind == INSN_FACT_CALL && tt_metal_is_noreturn(tt_metal_callee(outcome->failure->learn, fact))) {
		if (says_out_of_memory(outcome->failure, fact))
			outcome->fails = true;
		else
			outcome->otherwise = true;
		return outcome->otherwise ? INSN_STOP : INSN_END_PATH;
	}
	if (fact->kind == INSN_FACT_CALL && fact->tail)
		outcome->otherwise = true;
	return outcome->otherwise ? INSN_STOP : INSN_CONTINUE;
}

static bool is_probed(const struct failure *failure, uint64_t vaddr)
{
	const struct library_plan *plan = failure->learn->plan;

	for (size_t i = plan->probe_count - failure->count; i < plan->probe_count; i++)
		if (plan->probes[i].place.vaddr == vaddr)
			return true;
	return false;
}

static int add_probe(struct failure *failure, const struct insn_fact *load)
{
	struct library_plan *plan = failure->learn->plan;
	struct probe_plan *probe = &plan->probes[plan->probe_count];
	int err;

	if (failure->count == TT_METAL_MAX_FAILURES || plan->probe_count == PLAN_MAX_PROBES)
		return -ENOSPC;
	err = place_at(failure->learn->file, load->vaddr, &probe->place);
	if (err)
		return err;
	probe->place.skipped_bytes = (uint32_t)(load->vaddr - failure->start);
	probe->role = PROBE_OUT_OF_MEMORY;
	probe->argument = (uint8_t)load->base;
	probe->symbol = failure->symbol;
	plan->probe_count++;
	failure->count++;
	return 0;
}

static enum insn_verdict on_allocate_buffer(void *context, const struct insn_fact *fact)
{
	struct failure *failure = context;
	struct outcome outcome = {.failure = failure};
	int err;

	if (fact->kind == INSN_FACT_CALL && tt_metal_is_noreturn(tt_metal_callee(failure->learn, fact)))
		return INSN_END_PATH;
	/* The type is the first member of a BankManager. */
	if (fact->kind != INSN_FACT_LOAD || !insn_is_load(&fact->a, 0, 1, 4) || fact->a.hop[0] != 0 || fact->base < 0)
		return INSN_CONTINUE;
	if (is_probed(failure, fact->vaddr))
		return INSN_END_PATH;
	err = insn_trace(failure->decoder, failure->learn->file, fact->vaddr, failure->end - fact->vaddr, on_outcome,
			 &outcome);
	if (err == -ENOMEM) {
		failure->error = err;
		return INSN_STOP;
	}
	if (err || outcome.otherwise || !outcome.fails)
		return INSN_CONTINUE;
	failure->error = add_probe(failure, fact);
	return failure->error ? INSN_STOP : INSN_END_PATH; /* the rest of the way belongs to the same failure */
}

static void report_failure(const struct failure *failure, int err)
{
	const struct library_plan *plan = failure->learn->plan;
	struct strbuf *report = failure->learn->report;

	if (!failure->count) {
		strbuf_addf(report, "no out of memory: %s, so a failed allocation is not seen\n",
			    err == -ENOENT ? "BankManager::allocate_buffer is not exported"
			    : err          ? "BankManager::allocate_buffer is not understood"
					   : "BankManager::allocate_buffer shows no place that only a failure reaches");
		return;
	}
	for (size_t i = plan->probe_count - failure->count; i < plan->probe_count; i++)
		strbuf_addf(report, "ok out of memory: probe at 0x%llx, %s, in BankManager::allocate_buffer\n",
			    (unsigned long long)plan->probes[i].place.vaddr, plan->probes[i].place.instruction);
}

int tt_metal_learn_failure(struct tt_metal_learn *learn)
{
	struct failure failure = {.learn = learn};
	struct elf_symbol symbol;
	int err;

	err = elf_file_symbol_prefix(learn->file, ALLOCATE_PREFIX, &symbol, &failure.symbol);
	if (!err && (!symbol.function || !symbol.size))
		err = -ENOENT;
	if (!err) {
		failure.decoder = insn_decoder_new();
		if (!failure.decoder)
			return -ENOMEM;
		failure.start = symbol.vaddr;
		failure.end = symbol.vaddr + symbol.size;
		err = insn_trace(learn->decoder, learn->file, symbol.vaddr, symbol.size, on_allocate_buffer, &failure);
		insn_decoder_free(failure.decoder);
	}
	if (!err)
		err = failure.error;
	if (err) {
		learn->plan->probe_count -= failure.count;
		failure.count = 0;
	}
	report_failure(&failure, err);
	return err == -ENOMEM ? err : 0;
}
