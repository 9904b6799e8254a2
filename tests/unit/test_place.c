/* SPDX-License-Identifier: BSD-2-Clause */
/* Placing a probe, and the symbolic run: from bytes in a hand-made ELF file, so nothing depends on a compiler. */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "elf/elf_file.h"
#include "elf/insn.h"
#include "elf/place.h"

#define CODE_VADDR  0x401000ULL
#define CODE_OFFSET 0x200ULL

/* A file with one executable segment that holds @code and nothing else. */
static struct elf_file *make_file_with(const uint8_t *code, size_t len, uint32_t segment_flags)
{
	uint8_t image[2048] = {0};
	Elf64_Ehdr eh = {.e_ident = ELFMAG,
			 .e_type = ET_DYN,
			 .e_machine = EM_X86_64,
			 .e_version = EV_CURRENT,
			 .e_phoff = sizeof(eh),
			 .e_ehsize = sizeof(eh),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 1};
	Elf64_Phdr ph = {.p_type = PT_LOAD,
			 .p_flags = segment_flags,
			 .p_offset = CODE_OFFSET,
			 .p_vaddr = CODE_VADDR,
			 .p_filesz = len,
			 .p_memsz = len,
			 .p_align = 0x1000};
	struct elf_file *file = NULL;
	int fd = memfd_create("code", MFD_CLOEXEC);

	assert_true(len <= sizeof(image) - CODE_OFFSET);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(image, &eh, sizeof(eh));
	memcpy(image + sizeof(eh), &ph, sizeof(ph));
	memcpy(image + CODE_OFFSET, code, len);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, image, CODE_OFFSET + len), CODE_OFFSET + len);
	assert_int_equal(elf_file_open(fd, "code", &file), 0);
	close(fd);
	return file;
}

static struct elf_file *make_file(const uint8_t *code, size_t len)
{
	return make_file_with(code, len, PF_R | PF_X);
}

struct place_case {
	const char *what;
	const char *bytes;
	size_t len;
	bool sized;
	int err;
	uint32_t skipped;
	enum place_cost cost;
	const char *text;
};

#define CODE(s) s, sizeof(s) - 1

static const struct place_case place_cases[] = {
	{"push rbp", CODE("\x55\x48\x89\xe5\xc3"), true, 0, 0, PLACE_EMULATED, "push rbp"},
	{"push r15", CODE("\x41\x57\xc3"), true, 0, 0, PLACE_EMULATED, "push r15"},
	{"one-byte nop", CODE("\x90\xc3"), true, 0, 0, PLACE_EMULATED, "nop"},
	{"endbr64, push", CODE("\xf3\x0f\x1e\xfa\x55\xc3"), true, 0, 4, PLACE_EMULATED, "push rbp"},
	{"endbr64, mov eax, ret", CODE("\xf3\x0f\x1e\xfa\xb8\x01\0\0\0\xc3"), true, 0, 0, PLACE_SINGLE_STEP, "endbr64"},
	{"5-byte nop, push", CODE("\x0f\x1f\x44\0\0\x55\xc3"), true, 0, 5, PLACE_EMULATED, "push rbp"},
	{"5-byte nop, mov, ret", CODE("\x0f\x1f\x44\0\0\x48\x8b\x07\xc3"), true, 0, 5, PLACE_SINGLE_STEP,
	 "mov rax, qword ptr [rdi]"},
	{"endbr64, 5-byte nop, push", CODE("\xf3\x0f\x1e\xfa\x0f\x1f\x44\0\0\x53\xc3"), true, 0, 9, PLACE_EMULATED,
	 "push rbx"},
	{"9-byte nop, mov", CODE("\x66\x0f\x1f\x84\0\0\0\0\0\x48\x8b\x07\xc3"), true, 0, 9, PLACE_SINGLE_STEP,
	 "mov rax, qword ptr [rdi]"},
	{"sub rsp, push", CODE("\x48\x83\xec\x28\x53\xc3"), true, 0, 4, PLACE_EMULATED, "push rbx"},
	{"sub rsp, push, size unknown", CODE("\x48\x83\xec\x28\x53\xc3"), false, 0, 0, PLACE_SINGLE_STEP,
	 "sub rsp, 0x28"},
	{"mov rax,[rdi]; push", CODE("\x48\x8b\x07\x53\xc3"), true, 0, 3, PLACE_EMULATED, "push rbx"},
	{"writes rsi, push", CODE("\x48\x89\xc6\x53\xc3"), true, 0, 0, PLACE_SINGLE_STEP, "mov rsi, rax"},
	{"writes esi (32 bits), push", CODE("\x31\xf6\x53\xc3"), true, 0, 0, PLACE_SINGLE_STEP, "xor esi, esi"},
	{"writes cl, push", CODE("\xb1\x01\x53\xc3"), true, 0, 0, PLACE_SINGLE_STEP, "mov cl, 1"},
	{"writes ch, push", CODE("\xb5\x01\x53\xc3"), true, 0, 0, PLACE_SINGLE_STEP, "mov ch, 1"},
	{"writes r9d, push", CODE("\x45\x31\xc9\x53\xc3"), true, 0, 0, PLACE_SINGLE_STEP, "xor r9d, r9d"},
	{"writes memory, push", CODE("\xc6\x47\x48\x02\x53\xc3"), true, 0, 0, PLACE_SINGLE_STEP,
	 "mov byte ptr [rdi + 0x48], 2"},
	{"test, jcc, push: not past a branch", CODE("\x48\x85\xff\x74\x02\x53\x5b\xc3"), true, 0, 0, PLACE_SINGLE_STEP,
	 "test rdi, rdi"},
	{"jump at the start", CODE("\xeb\x01\x90\xc3"), true, 0, 0, PLACE_EMULATED, "jmp 0x401003"},
	{"loop back to the push", CODE("\x48\x89\xf8\x53\x5b\xeb\xfc\xc3"), true, 0, 0, PLACE_SINGLE_STEP,
	 "mov rax, rdi"},
	{"ret only", CODE("\xc3"), true, 0, 0, PLACE_SINGLE_STEP, "ret"},
	{"call at the start", CODE("\xe8\0\0\0\0\xc3"), true, -ENOTSUP, 0, 0, NULL},
	{"int3 in the file", CODE("\xcc\x55\xc3"), true, -ENOTSUP, 0, 0, NULL},
	{"lock prefix", CODE("\xf0\xff\x07\xc3"), true, -ENOTSUP, 0, 0, NULL},
	{"syscall", CODE("\x0f\x05\xc3"), true, -ENOTSUP, 0, 0, NULL},
	{"not an instruction", CODE("\x06\x06\x06"), true, -EINVAL, 0, 0, NULL},
	{"cut inside an instruction", CODE("\x48\x8b"), true, -EINVAL, 0, 0, NULL},
	{"only 5-byte nops", CODE("\x0f\x1f\x44\0\0\x0f\x1f\x44\0\0"), true, -ENOTSUP, 0, 0, NULL},
};

static void test_place_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(place_cases) / sizeof(place_cases[0]); i++) {
		const struct place_case *c = &place_cases[i];
		struct elf_file *file = make_file((const uint8_t *)c->bytes, c->len);
		struct place place;
		int err = place_entry(file, CODE_VADDR, c->sized ? c->len : 0, &place);

		if (err != c->err || (!err && (place.skipped_bytes != c->skipped || place.cost != c->cost ||
					       strcmp(place.instruction, c->text) != 0)))
			fail_msg("%s: err %d skipped %u cost %d '%s'", c->what, err, place.skipped_bytes, place.cost,
				 place.instruction);
		if (!err) {
			assert_int_equal(place.vaddr, CODE_VADDR + c->skipped);
			assert_int_equal(place.file_offset, CODE_OFFSET + c->skipped);
		}
		elf_file_close(file);
	}
}

static void test_place_outside(void **state)
{
	static const uint8_t code[] = {0x55, 0xc3};
	struct elf_file *file = make_file(code, sizeof(code));
	struct place place;

	(void)state;
	assert_int_equal(place_entry(file, CODE_VADDR + 2, 1, &place), -ERANGE);
	assert_int_equal(place_entry(file, CODE_VADDR - 1, 1, &place), -ERANGE);
	assert_int_equal(place_entry(file, 0, 0, &place), -ERANGE);
	assert_int_equal(place_entry(file, UINT64_MAX, 8, &place), -ERANGE);
	/* a size beyond the segment is the symbol's lie: what is there counts */
	assert_int_equal(place_entry(file, CODE_VADDR, 4096, &place), 0);
	elf_file_close(file);
	/* data is no place for a probe */
	file = make_file_with(code, sizeof(code), PF_R | PF_W);
	assert_int_equal(place_entry(file, CODE_VADDR, 2, &place), -ERANGE);
	elf_file_close(file);
}

struct seen {
	size_t loads, stores, compares, calls, returns, cuts;
	int base;
	bool tail;
	struct insn_value load, store, stored, compare, with, returned, argument[6], called;
	uint64_t target;
};

static enum insn_verdict record(void *context, const struct insn_fact *fact)
{
	struct seen *seen = context;

	switch (fact->kind) {
	case INSN_FACT_LOAD:
		seen->loads++;
		seen->load = fact->a;
		seen->base = fact->base;
		break;
	case INSN_FACT_STORE:
		seen->stores++;
		seen->store = fact->a;
		seen->stored = fact->b;
		break;
	case INSN_FACT_COMPARE:
		seen->compares++;
		seen->compare = fact->a;
		seen->with = fact->b;
		break;
	case INSN_FACT_CALL:
		seen->calls++;
		seen->target = fact->target;
		seen->called = fact->a;
		seen->tail = fact->tail;
		memcpy(seen->argument, fact->argument, sizeof(seen->argument));
		break;
	case INSN_FACT_RETURN:
		seen->returns++;
		seen->returned = fact->a;
		break;
	case INSN_FACT_CUT_OFF:
		seen->cuts++;
		break;
	case INSN_FACT_SHIFT:
		break;
	}
	return INSN_CONTINUE;
}

static int trace(const char *bytes, size_t len, bool sized, struct seen *seen)
{
	struct elf_file *file = make_file((const uint8_t *)bytes, len);
	struct insn_decoder *decoder = insn_decoder_new();
	int err;

	assert_non_null(decoder);
	memset(seen, 0, sizeof(*seen));
	err = insn_trace(decoder, file, CODE_VADDR, sized ? len : 0, record, seen);
	insn_decoder_free(decoder);
	elf_file_close(file);
	return err;
}

static void test_trace_accessors(void **state)
{
	struct seen seen;

	(void)state;
	/* mov rax,[rdi+0x10]; mov eax,[rax+0x40]; ret */
	assert_int_equal(trace(CODE("\x48\x8b\x47\x10\x8b\x40\x40\xc3"), true, &seen), 0);
	assert_true(insn_is_load(&seen.returned, 0, 2, 4));
	assert_int_equal(seen.returned.hop[0], 0x10);
	assert_int_equal(seen.returned.hop[1], 0x40);
	/* with a frame: push rbp; mov rbp,rsp; mov [rbp-8],rdi; mov rax,[rbp-8]; mov rax,[rax+0x58]; pop rbp; ret */
	assert_int_equal(trace(CODE("\x55\x48\x89\xe5\x48\x89\x7d\xf8\x48\x8b\x45\xf8\x48\x8b\x40\x58\x5d\xc3"), true,
			       &seen),
			 0);
	assert_true(insn_is_load(&seen.returned, 0, 1, 8));
	assert_int_equal(seen.returned.hop[0], 0x58);
	/* cmp byte [rdi+0x48],1; sete al; ret: the result itself is not known */
	assert_int_equal(trace(CODE("\x80\x7f\x48\x01\x0f\x94\xc0\xc3"), true, &seen), 0);
	assert_int_equal(seen.compares, 1);
	assert_true(insn_is_load(&seen.compare, 0, 1, 1));
	assert_int_equal(seen.with.add, 1);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* mov byte [rdi+0x48],2; ret */
	assert_int_equal(trace(CODE("\xc6\x47\x48\x02\xc3"), true, &seen), 0);
	assert_int_equal(seen.stores, 1);
	assert_true(insn_is_load(&seen.store, 0, 1, 1));
	assert_int_equal(seen.stored.add, 2);
	/* mov eax,0x178; add rax,[rsi]; mov rsi,rax; call +0; ret */
	assert_int_equal(trace(CODE("\xb8\x78\x01\0\0\x48\x03\x06\x48\x89\xc6\xe8\0\0\0\0\xc3"), true, &seen), 0);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.target, CODE_VADDR + 16);
	assert_int_equal(seen.argument[1].kind, INSN_PATH);
	assert_int_equal(seen.argument[1].hops, 1);
	assert_int_equal(seen.argument[1].add, 0x178);
	/* push rbx; mov rbx,rdi; call +0; mov rax,[rbx+8]; pop rbx; ret: kept over a call */
	assert_int_equal(trace(CODE("\x53\x48\x89\xfb\xe8\0\0\0\0\x48\x8b\x43\x08\x5b\xc3"), true, &seen), 0);
	assert_true(insn_is_load(&seen.returned, 0, 1, 8));
}

/* What somebody must know who says that a piece of code never returns. */
static void test_trace_says_what_it_left_out(void **state)
{
	char branches[2 * 260 + 1];
	struct seen seen;

	(void)state;
	/* mov eax,[rdi]; ret: the address is in rdi alone; mov eax,[rdi+4]; ret: it is not */
	assert_int_equal(trace(CODE("\x8b\x07\xc3"), true, &seen), 0);
	assert_int_equal(seen.base, 7);
	assert_int_equal(seen.cuts, 0);
	assert_int_equal(trace(CODE("\x8b\x47\x04\xc3"), true, &seen), 0);
	assert_int_equal(seen.base, -1);
	/* call +0; ret is no tail; jmp out of the function is one */
	assert_int_equal(trace(CODE("\xe8\0\0\0\0\xc3"), true, &seen), 0);
	assert_false(seen.tail);
	assert_int_equal(trace(CODE("\xe9\x10\0\0\0"), true, &seen), 0);
	assert_true(seen.tail);
	/* je out of the function; ret */
	assert_int_equal(trace(CODE("\x74\x10\xc3"), true, &seen), 0);
	assert_int_equal(seen.cuts, 1);
	/* je +1; ret; and then nothing that decodes */
	assert_int_equal(trace(CODE("\x74\x01\xc3\x06"), true, &seen), 0);
	assert_int_equal(seen.cuts, 1);
	/* more branches than are remembered */
	memset(branches, 0, sizeof(branches));
	for (size_t i = 0; i < sizeof(branches) - 1; i += 2)
		branches[i] = 0x74;
	branches[sizeof(branches) - 1] = (char)0xc3;
	assert_int_equal(trace(branches, sizeof(branches), true, &seen), 0);
	assert_int_equal(seen.cuts, 1);
}

/* A place in the middle of a function, which the caller found. */
static void test_place_at(void **state)
{
	/* ret; mov edx,[rbx]; call +0; 5-byte nop */
	static const uint8_t code[] = "\xc3\x8b\x13\xe8\0\0\0\0\x0f\x1f\x44\0\0";
	struct elf_file *file = make_file(code, sizeof(code) - 1);
	struct place place;

	(void)state;
	assert_int_equal(place_at(file, CODE_VADDR + 1, &place), 0);
	assert_int_equal(place.vaddr, CODE_VADDR + 1);
	assert_int_equal(place.cost, PLACE_SINGLE_STEP);
	assert_int_equal(place.skipped_bytes, 0);
	assert_string_equal(place.instruction, "mov edx, dword ptr [rbx]");
	assert_int_equal(place_at(file, CODE_VADDR + 3, &place), -ENOTSUP);
	assert_int_equal(place_at(file, CODE_VADDR + 8, &place), -ENOTSUP);
	assert_int_equal(place_at(file, 0, &place), -ERANGE);
	elf_file_close(file);
}

static void test_trace_never_guesses(void **state)
{
	struct seen seen;

	(void)state;
	/* call +0; mov rax,[rdi+8]; ret: rdi is lost in a call */
	assert_int_equal(trace(CODE("\xe8\0\0\0\0\x48\x8b\x47\x08\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* imul rdi,rdi,3; mov rax,[rdi]; ret */
	assert_int_equal(trace(CODE("\x48\x6b\xff\x03\x48\x8b\x07\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* mov rax,[rdi+rsi*8]; ret */
	assert_int_equal(trace(CODE("\x48\x8b\x04\xf7\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* mov eax,[rdi]; mov rax,[rax]; ret: half a pointer is not one */
	assert_int_equal(trace(CODE("\x8b\x07\x48\x8b\x00\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* mov rax, fs:[rdi]; ret */
	assert_int_equal(trace(CODE("\x64\x48\x8b\x07\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* cmove rax,[rdi]; ret: one of two values */
	assert_int_equal(trace(CODE("\x48\x89\xf8\x48\x0f\x44\x07\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* mov al,[rdi]; ret: the rest of rax is what it was */
	assert_int_equal(trace(CODE("\x8a\x07\x48\x89\xc1\x48\x89\xc8\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* mov ch,1; mov rax,[rcx]; ret: part of an argument was overwritten */
	assert_int_equal(trace(CODE("\xb5\x01\x48\x8b\x01\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
	/* five dereferences: more than a path can hold */
	assert_int_equal(trace(CODE("\x48\x8b\x07\x48\x8b\0\x48\x8b\0\x48\x8b\0\x48\x8b\0\xc3"), true, &seen), 0);
	assert_int_equal(seen.returned.kind, INSN_UNKNOWN);
}

static void test_trace_branches_and_bounds(void **state)
{
	uint8_t loop[400];
	struct seen seen;

	(void)state;
	/* test rdi,rdi; je +4; mov rax,[rdi+8]... both ways end in a return */
	assert_int_equal(trace(CODE("\x48\x85\xff\x74\x05\x48\x8b\x47\x08\xc3\x48\x8b\x46\x08\xc3"), true, &seen), 0);
	assert_int_equal(seen.returns, 2);
	/* the same without a size: only up to the branch */
	assert_int_equal(trace(CODE("\x48\x85\xff\x74\x05\x48\x8b\x47\x08\xc3\x48\x8b\x46\x08\xc3"), false, &seen), 0);
	assert_int_equal(seen.returns, 0);
	/* jmp to itself */
	assert_int_equal(trace(CODE("\xeb\xfe"), true, &seen), 0);
	assert_int_equal(seen.returns, 0);
	/* jmp out of the function is a call */
	assert_int_equal(trace(CODE("\xe9\0\x10\0\0"), true, &seen), 0);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.target, CODE_VADDR + 5 + 0x1000);
	/* many branches, all back to the start: it ends */
	for (size_t i = 0; i < sizeof(loop); i += 2) {
		loop[i] = 0x74;
		loop[i + 1] = (uint8_t)(0 - (i % 126) - 2);
	}
	assert_int_equal(trace((const char *)loop, sizeof(loop), true, &seen), 0);
	assert_int_equal(trace(CODE("\x06"), true, &seen), -EINVAL);
	assert_int_equal(trace(CODE("\xcc"), true, &seen), -EINVAL);
}

static void test_trace_random_code(void **state)
{
	uint8_t code[300];
	uint32_t seed = 12345;
	struct seen seen;

	(void)state;
	for (size_t round = 0; round < 3000; round++) {
		struct elf_file *file;
		struct place place;

		for (size_t i = 0; i < sizeof(code); i++) {
			seed = seed * 1664525 + 1013904223;
			code[i] = (uint8_t)(seed >> 24);
		}
		trace((const char *)code, sizeof(code), round % 2, &seen);
		file = make_file(code, sizeof(code));
		if (place_entry(file, CODE_VADDR, sizeof(code), &place) == 0)
			assert_true(place.vaddr >= CODE_VADDR && place.vaddr < CODE_VADDR + sizeof(code));
		elf_file_close(file);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_place_cases),
		cmocka_unit_test(test_place_outside),
		cmocka_unit_test(test_trace_accessors),
		cmocka_unit_test(test_trace_says_what_it_left_out),
		cmocka_unit_test(test_place_at),
		cmocka_unit_test(test_trace_never_guesses),
		cmocka_unit_test(test_trace_branches_and_bounds),
		cmocka_unit_test(test_trace_random_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
