/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes the ELF reader: the input is a file, its last 64 bytes are also the addresses that are asked for. */
#include <string.h>

#include "elf/elf_file.h"
#include "elf/insn.h"
#include "elf/place.h"
#include "fuzz.h"

static enum insn_verdict on_fact(void *context, const struct insn_fact *fact)
{
	struct elf_file *file = context;
	const char *name = "";

	if (fact->kind == INSN_FACT_CALL && fact->slot && !elf_file_slot_target(file, fact->slot, &name))
		FUZZ_ASSERT(strlen(name) > 0);
	return INSN_CONTINUE;
}

static void ask_address(struct elf_file *file, uint64_t vaddr)
{
	struct elf_symbol symbol;
	uint64_t value, back;
	struct place place;
	const char *name;
	uint8_t bytes[16];

	if (!elf_file_offset(file, vaddr, &value) && !elf_file_vaddr(file, value, &back))
		elf_file_read(file, back, bytes, sizeof(bytes));
	elf_file_pointer(file, vaddr, &value);
	if (!elf_file_plt_target(file, vaddr, &name))
		FUZZ_ASSERT(strlen(name) > 0);
	if (!elf_file_function_at(file, vaddr, &symbol, &name))
		FUZZ_ASSERT(strlen(name) > 0 && symbol.vaddr == vaddr);
	place_entry(file, vaddr, 0, &place);
}

static void ask_symbol(struct elf_file *file, struct insn_decoder *decoder, const char *wanted)
{
	struct elf_symbol symbol;
	struct place place;

	elf_file_called_through_plt(file, wanted);
	if (elf_file_symbol(file, wanted, true, &symbol))
		return;
	ask_address(file, symbol.vaddr);
	if (!place_entry(file, symbol.vaddr, symbol.size, &place))
		FUZZ_ASSERT(place.vaddr - symbol.vaddr == place.skipped_bytes);
	insn_trace(decoder, file, symbol.vaddr, symbol.size, on_fact, file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const names[] = {"seed_function", "seed_data",      "seed_static",
					    "malloc",        "no_such_symbol", ""};
	static struct insn_decoder *decoder;
	struct elf_symbol symbol;
	struct elf_file *file;
	const char *name;

	if (!decoder)
		decoder = insn_decoder_new();
	if (!decoder || elf_file_open(fuzz_file(data, len), "fuzz", &file))
		return 0;
	elf_file_build_id(file);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ask_symbol(file, decoder, names[i]);
	/* A name that this file chose itself. */
	if (!elf_file_symbol_prefix(file, "", &symbol, &name))
		ask_symbol(file, decoder, name);
	for (size_t i = 8; i <= 64 && i <= len; i += 8) {
		uint64_t vaddr;

		memcpy(&vaddr, data + len - i, sizeof(vaddr));
		ask_address(file, vaddr);
	}
	elf_file_close(file);
	return 0;
}
