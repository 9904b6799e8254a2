/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF files. A small library is compiled here in several ways and read twice, by elf_file and by
 * libelf, which must agree; then it is broken in many ways.
 */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "elf/elf_file.h"
#include "fail_alloc.h"

extern char **environ;

static const char source[] = "extern int outside(int); extern int gone;\n"
			     "int data = 7; int zero[100]; static int hidden(int x) { return x * 3; }\n"
			     "__attribute__((noinline)) int first(int x) { return outside(x) + data; }\n"
			     "__attribute__((noinline)) int second(int x) { return first(x) + hidden(x + gone); }\n"
			     "__attribute__((weak)) int weak_one(void) { return 4; }\n"
			     "__thread int thread_local_one;\n"
			     "void *table[4] = { (void *)first, &data, (void *)hidden, &gone };\n"
			     "int (*volatile pointer)(int) = hidden;\n";

#define MAX_FLAGS 6

struct library {
	uint8_t *data;
	size_t len;
};

/* Compiles from a pipe to a memfd, so nothing is left behind. */
static void compile(const char *const *flags, struct library *library)
{
	const char *argv[MAX_FLAGS + 10] = {"gcc", "-shared", "-fPIC", "-O1", "-w", "-x", "c", "-"};
	posix_spawn_file_actions_t actions;
	char path[] = "/tmp/bufscope-elf-XXXXXX";
	int out = mkstemp(path), pipes[2], status;
	size_t count = 8;
	struct stat st;
	pid_t pid;

	assert_true(out >= 0);
	argv[count++] = "-o";
	argv[count++] = path;
	for (; *flags; flags++)
		argv[count++] = *flags;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	posix_spawn_file_actions_adddup2(&actions, pipes[0], 0);
	posix_spawn_file_actions_addclose(&actions, pipes[1]);
	assert_int_equal(posix_spawnp(&pid, "gcc", &actions, NULL, (char **)argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(pipes[0]);
	assert_int_equal(write(pipes[1], source, sizeof(source) - 1), sizeof(source) - 1);
	close(pipes[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(out);
	out = open(path, O_RDONLY | O_CLOEXEC); /* the linker made a new file of that name */
	unlink(path);
	assert_true(out >= 0);
	assert_int_equal(fstat(out, &st), 0);
	library->len = (size_t)st.st_size;
	library->data = malloc(library->len);
	assert_non_null(library->data);
	assert_int_equal(read(out, library->data, library->len), library->len);
	close(out);
}

static int open_bytes(const uint8_t *data, size_t len, struct elf_file **file)
{
	int fd = memfd_create("library", MFD_CLOEXEC), err;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	err = elf_file_open(fd, "library", file);
	close(fd);
	return err;
}

/* Every symbol that libelf sees in a section of type @type must be found by name, with the same values. */
static size_t compare_symbols(struct elf_file *file, Elf *elf, uint32_t type)
{
	Elf_Scn *section = NULL;
	size_t compared = 0;
	GElf_Shdr header;

	while ((section = elf_nextscn(elf, section))) {
		Elf_Data *data;

		assert_non_null(gelf_getshdr(section, &header));
		if (header.sh_type != type)
			continue;
		data = elf_getdata(section, NULL);
		for (size_t i = 1; i < header.sh_size / header.sh_entsize; i++) {
			struct elf_symbol found;
			const char *name;
			GElf_Sym sym;
			int err;

			assert_non_null(gelf_getsym(data, (int)i, &sym));
			name = elf_strptr(elf, header.sh_link, sym.st_name);
			if (!name[0] || GELF_ST_TYPE(sym.st_info) == STT_FILE || GELF_ST_BIND(sym.st_info) == STB_LOCAL)
				continue;
			err = elf_file_symbol(file, name, type == SHT_SYMTAB, &found);
			if (sym.st_shndx == SHN_UNDEF || GELF_ST_TYPE(sym.st_info) == STT_TLS) {
				assert_int_equal(err, -ENOENT);
				continue;
			}
			if (err)
				fail_msg("%s: %d", name, err);
			assert_int_equal(found.vaddr, sym.st_value);
			assert_int_equal(found.size, sym.st_size);
			assert_int_equal(found.function, GELF_ST_TYPE(sym.st_info) == STT_FUNC);
			compared++;
		}
	}
	return compared;
}

static void check_pointers(struct elf_file *file)
{
	struct elf_symbol table, first, data, pointer, hidden;
	uint64_t value;

	assert_int_equal(elf_file_symbol(file, "table", false, &table), 0);
	assert_int_equal(elf_file_symbol(file, "first", false, &first), 0);
	assert_int_equal(elf_file_symbol(file, "data", false, &data), 0);
	assert_int_equal(elf_file_symbol(file, "pointer", false, &pointer), 0);
	assert_int_equal(elf_file_pointer(file, table.vaddr, &value), 0);
	assert_int_equal(value, first.vaddr);
	assert_int_equal(elf_file_pointer(file, table.vaddr + 8, &value), 0);
	assert_int_equal(value, data.vaddr);
	assert_int_equal(elf_file_pointer(file, table.vaddr + 24, &value), -ENOENT);
	/* hidden has no exported name: a RELATIVE or RELR relocation */
	assert_int_equal(elf_file_pointer(file, table.vaddr + 16, &value), 0);
	assert_true(value != 0);
	if (elf_file_symbol(file, "hidden", true, &hidden) == 0) {
		assert_int_equal(value, hidden.vaddr);
		assert_false(hidden.dynamic);
	}
	assert_int_equal(elf_file_pointer(file, pointer.vaddr, &hidden.vaddr), 0);
	assert_int_equal(value, hidden.vaddr);
	assert_int_equal(elf_file_pointer(file, UINT64_MAX - 3, &value), -ERANGE);
}

/* The first call in second() goes to first(): by a stub or through a slot. */
static void check_plt(struct elf_file *file, bool stubs)
{
	struct elf_symbol second;
	bool found = false;
	uint8_t code[64] = {0};
	const char *name;

	assert_true(elf_file_called_through_plt(file, "first"));
	assert_true(elf_file_called_through_plt(file, "outside"));
	assert_false(elf_file_called_through_plt(file, "second"));
	assert_false(elf_file_called_through_plt(file, "nothing"));
	assert_int_equal(elf_file_symbol(file, "second", false, &second), 0);
	assert_int_equal(elf_file_plt_target(file, second.vaddr, &name), -ENOENT);
	assert_int_equal(elf_file_read(file, second.vaddr, code, second.size < 64 ? second.size : 64), 0);
	for (size_t i = 0; i + 6 < sizeof(code) && !found; i++) {
		int32_t displacement;

		memcpy(&displacement, code + i + (stubs ? 1 : 2), sizeof(displacement));
		if (stubs && code[i] == 0xe8)
			found = elf_file_plt_target(file, second.vaddr + i + 5 + (uint64_t)(int64_t)displacement,
						    &name) == 0;
		else if (!stubs && code[i] == 0xff && code[i + 1] == 0x15)
			found = elf_file_slot_target(file, second.vaddr + i + 6 + (uint64_t)(int64_t)displacement,
						     &name) == 0;
	}
	assert_true(found);
	assert_string_equal(name, "first");
}

static void check_addresses(struct elf_file *file)
{
	struct elf_symbol first, zero, found;
	uint64_t offset, vaddr;
	const char *name;
	uint8_t byte;

	assert_int_equal(elf_file_symbol(file, "first", false, &first), 0);
	assert_int_equal(elf_file_symbol(file, "zero", false, &zero), 0);
	assert_int_equal(elf_file_offset(file, first.vaddr, &offset), 0);
	assert_int_equal(elf_file_vaddr(file, offset, &vaddr), 0);
	assert_int_equal(vaddr, first.vaddr);
	assert_int_equal(elf_file_read(file, first.vaddr, &byte, 1), 0);
	/* .bss has no file content; nor has what lies outside all segments */
	assert_int_equal(elf_file_offset(file, zero.vaddr + 300, &offset), -ERANGE);
	assert_int_equal(elf_file_read(file, zero.vaddr + 300, &byte, 1), -ERANGE);
	assert_int_equal(elf_file_read(file, first.vaddr, &byte, SIZE_MAX), -ERANGE);
	assert_int_equal(elf_file_read(file, UINT64_MAX, &byte, 1), -ERANGE);
	assert_int_equal(elf_file_vaddr(file, UINT64_MAX, &vaddr), -ERANGE);
	assert_int_equal(elf_file_function_at(file, first.vaddr, &found, &name), 0);
	assert_string_equal(name, "first");
	assert_int_equal(elf_file_function_at(file, first.vaddr + 1, &found, &name), -ENOENT);
	assert_int_equal(elf_file_symbol_prefix(file, "weak_", &found, &name), 0);
	assert_string_equal(name, "weak_one");
	assert_int_equal(elf_file_symbol_prefix(file, "weak_two", &found, &name), -ENOENT);
	assert_int_equal(elf_file_symbol(file, "", true, &found), -ENOENT);
	assert_int_equal(elf_file_symbol(file, "firs", true, &found), -ENOENT);
	assert_int_equal(elf_file_symbol(file, "first_", true, &found), -ENOENT);
}

#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void check_library(const char *const *flags, bool stubs, bool stripped)
{
	struct library library;
	struct elf_file *file;
	Elf *elf;

	compile(flags, &library);
	assert_int_equal(open_bytes(library.data, library.len, &file), 0);
	elf = elf_memory((char *)library.data, library.len);
	assert_non_null(elf);
	assert_true(compare_symbols(file, elf, SHT_DYNSYM) >= 6);
	if (!stripped)
		assert_true(compare_symbols(file, elf, SHT_SYMTAB) >= 6);
	check_addresses(file);
	check_pointers(file);
	check_plt(file, stubs);
	assert_string_equal(elf_file_build_id(file), "00112233445566778899aabbccddeeff");
	elf_end(elf);
	elf_file_close(file);
	free(library.data);
}

#define BUILD_ID "-Wl,--build-id=0x00112233445566778899aabbccddeeff"

static void test_libraries(void **state)
{
	(void)state;
	assert_int_not_equal(elf_version(EV_CURRENT), EV_NONE);
	check_library(FLAGS(BUILD_ID, "-Wl,--hash-style=gnu"), true, false);
	check_library(FLAGS(BUILD_ID, "-Wl,--hash-style=sysv"), true, false);
	check_library(FLAGS(BUILD_ID, "-Wl,-z,pack-relative-relocs"), true, false);
	check_library(FLAGS(BUILD_ID, "-fcf-protection", "-Wl,-z,ibtplt"), true, false);
	check_library(FLAGS(BUILD_ID, "-fno-plt"), false, false);
	check_library(FLAGS(BUILD_ID, "-s"), true, true);
}

/* Stubs as other linkers write them, put over the code of second(). */
static void test_plt_stubs(void **state)
{
	static const struct {
		uint8_t before[11];
		size_t len;
		int err;
	} stubs[] = {
		{{0}, 0, 0},
		{{0xf3, 0x0f, 0x1e, 0xfa}, 4, 0},                                /* endbr64 */
		{{0xf2}, 1, 0},                                                  /* bnd */
		{{0x41, 0xbb, 1, 2, 0, 0}, 6, 0},                                /* mov r11d, 0x201 */
		{{0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0xbb, 1, 2, 0, 0, 0xf2}, 11, 0}, /* all of them */
		{{0x90}, 1, -ENOENT},
	};
	uint64_t slot = 0, offset;
	struct elf_symbol second;
	struct library library;
	struct elf_file *file;
	const char *name = "";

	(void)state;
	compile(FLAGS(BUILD_ID), &library);
	assert_int_equal(open_bytes(library.data, library.len, &file), 0);
	assert_int_equal(elf_file_symbol(file, "second", false, &second), 0);
	assert_true(second.size >= 17);
	assert_int_equal(elf_file_offset(file, second.vaddr, &offset), 0);
	while (slot < 0x10000 && (elf_file_slot_target(file, slot, &name) || strcmp(name, "outside") != 0))
		slot += 8;
	assert_true(slot < 0x10000);
	elf_file_close(file);
	for (size_t i = 0; i < sizeof(stubs) / sizeof(stubs[0]); i++) {
		uint8_t *code = library.data + offset;
		int32_t displacement = (int32_t)(slot - (second.vaddr + stubs[i].len + 6));

		memcpy(code, stubs[i].before, stubs[i].len);
		code[stubs[i].len] = 0xff;
		code[stubs[i].len + 1] = 0x25;
		memcpy(code + stubs[i].len + 2, &displacement, sizeof(displacement));
		assert_int_equal(open_bytes(library.data, library.len, &file), 0);
		name = "";
		assert_int_equal(elf_file_plt_target(file, second.vaddr, &name), stubs[i].err);
		assert_string_equal(name, stubs[i].err ? "" : "outside");
		elf_file_close(file);
	}
	free(library.data);
}

static void test_build_id_absent(void **state)
{
	struct library library;
	struct elf_file *file;

	(void)state;
	compile(FLAGS("-Wl,--build-id=none"), &library);
	assert_int_equal(open_bytes(library.data, library.len, &file), 0);
	assert_string_equal(elf_file_build_id(file), "");
	elf_file_close(file);
	free(library.data);
}

static void test_not_elf(void **state)
{
	uint8_t image[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
	struct elf_file *file;
	int fds[2];

	(void)state;
	assert_int_equal(open_bytes((const uint8_t *)"", 0, &file), -ENOEXEC);
	assert_int_equal(open_bytes((const uint8_t *)"#!/bin/sh\necho hello\n", 21, &file), -ENOEXEC);
	assert_int_equal(open_bytes(image, 16, &file), -EINVAL);
	assert_int_equal(open_bytes(image, 64, &file), -ENOTSUP); /* no machine */
	image[18] = 62;
	assert_int_equal(open_bytes(image, 64, &file), 0); /* nothing in it, but sound */
	elf_file_close(file);
	image[4] = 1;
	assert_int_equal(open_bytes(image, 64, &file), -ENOTSUP); /* 32 bits */
	fds[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(elf_file_open(fds[0], "/", &file), -EINVAL);
	assert_null(file);
	close(fds[0]);
	fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(elf_file_open(fds[0], "/dev/null", &file), -EINVAL);
	close(fds[0]);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(elf_file_open(fds[0], "pipe", &file), -EINVAL);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(elf_file_open(-1, "none", &file), -EBADF);
	elf_file_close(NULL);
}

/* The caller's descriptor may go; a file that is cut afterwards is an error, not a fault. */
static void test_cut_while_open(void **state)
{
	struct elf_symbol symbol;
	struct library library;
	struct elf_file *file;
	const char *name;
	uint8_t byte;
	int fd;

	(void)state;
	compile(FLAGS(BUILD_ID), &library);
	fd = memfd_create("library", MFD_CLOEXEC);
	assert_int_equal(write(fd, library.data, library.len), library.len);
	assert_int_equal(elf_file_open(fd, "library", &file), 0);
	assert_int_equal(elf_file_symbol(file, "first", false, &symbol), 0);
	assert_int_equal(ftruncate(fd, 0x200), 0);
	close(fd);
	assert_int_equal(elf_file_read(file, symbol.vaddr, &byte, 1), -EINVAL);
	assert_int_not_equal(elf_file_symbol(file, "second", true, &symbol), 0);
	assert_int_not_equal(elf_file_symbol_prefix(file, "first", &symbol, &name), 0);
	assert_false(elf_file_called_through_plt(file, "first"));
	assert_string_equal(elf_file_build_id(file), "");
	elf_file_close(file);
	free(library.data);
}

/* "Not defined" for want of memory can be told from the file's own answer. */
static void test_error_is_kept(void **state)
{
	struct elf_symbol symbol;
	struct library library;
	struct elf_file *file;
	int fd;

	(void)state;
	compile(FLAGS(BUILD_ID), &library);
	fd = memfd_create("library", MFD_CLOEXEC);
	assert_int_equal(write(fd, library.data, library.len), library.len);
	assert_int_equal(elf_file_open(fd, "library", &file), 0);
	assert_int_equal(elf_file_symbol(file, "nothing", false, &symbol), -ENOENT);
	assert_int_equal(elf_file_error(file), 0);
	fail_alloc_at(0);
	assert_int_not_equal(elf_file_symbol(file, "hidden", true, &symbol), 0);
	assert_true(fail_alloc_off());
	assert_int_equal(elf_file_error(file), -ENOMEM);
	elf_file_close(file);
	close(fd);
	free(library.data);
}

static void ask_everything(struct elf_file *file)
{
	static const char *const names[] = {"first", "second", "table", "outside", "nothing", "hidden"};
	struct elf_symbol symbol;
	uint64_t value;
	const char *name;
	uint8_t bytes[32];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		elf_file_called_through_plt(file, names[i]);
		if (elf_file_symbol(file, names[i], true, &symbol))
			continue;
		elf_file_pointer(file, symbol.vaddr, &value);
		elf_file_plt_target(file, symbol.vaddr, &name);
		elf_file_slot_target(file, symbol.vaddr, &name);
		elf_file_read(file, symbol.vaddr, bytes, sizeof(bytes));
		elf_file_offset(file, symbol.vaddr, &value);
		if (elf_file_function_at(file, symbol.vaddr, &symbol, &name) == 0)
			assert_true(strlen(name) > 0);
	}
	if (elf_file_symbol_prefix(file, "wea", &symbol, &name) == 0)
		assert_true(strncmp(name, "wea", 3) == 0);
	assert_true(strlen(elf_file_build_id(file)) <= 128);
}

static void test_truncated_and_mutated(void **state)
{
	static const char *const styles[] = {"-Wl,--hash-style=gnu", "-Wl,--hash-style=sysv"};
	struct library library;
	struct elf_file *file;
	uint32_t seed = 99;
	uint8_t *copy;

	(void)state;
	for (size_t style = 0; style < 2; style++) {
		compile(FLAGS(BUILD_ID, styles[style]), &library);
		for (size_t len = 0; len < library.len; len += 97) {
			if (open_bytes(library.data, len, &file))
				continue;
			ask_everything(file);
			elf_file_close(file);
		}
		copy = malloc(library.len);
		assert_non_null(copy);
		for (size_t round = 0; round < 4000; round++) {
			memcpy(copy, library.data, library.len);
			for (size_t i = 0; i < 1 + round % 6; i++) {
				/* headers and hash tables are at the front; the rest now and then */
				size_t area = round % 4 ? 0x600 : library.len;

				seed = seed * 1664525 + 1013904223;
				copy[(seed >> 5) % area] = (uint8_t)(round % 2 ? 0xff : seed >> 24);
			}
			if (open_bytes(copy, library.len, &file))
				continue;
			ask_everything(file);
			elf_file_close(file);
		}
		free(copy);
		free(library.data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_libraries),       cmocka_unit_test(test_plt_stubs),
		cmocka_unit_test(test_build_id_absent), cmocka_unit_test(test_not_elf),
		cmocka_unit_test(test_cut_while_open),  cmocka_unit_test(test_truncated_and_mutated),
		cmocka_unit_test(test_error_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
