/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Plans for TT-Metal's library. The library is a stand-in (standin_tt_metal.cpp) that is compiled
 * here in many ways, sound and damaged; the released ones are only used when
 * BUFSCOPE_TEST_LIBRARIES names them (paths separated by ':').
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "cmd/check_file.h"
#include "elf/elf_file.h"
#include "runtime/runtime.h"

extern char **environ;

/* The stand-in's source goes into this program, so that it runs from anywhere. */
extern const char standin_source[], standin_source_end[];
__asm__(".pushsection .rodata\n.global standin_source\nstandin_source:\n.incbin \"tests/unit/standin_tt_metal.cpp\"\n"
	".global standin_source_end\nstandin_source_end:\n.byte 0\n.popsection\n");

#define MAX_FLAGS 8

struct library {
	uint8_t *data;
	size_t len;
};

static char directory[64];

static void in_directory(char *path, size_t len, const char *name)
{
	snprintf(path, len, "%s/%s", directory, name);
}

static int set_up(void **state)
{
	char path[96];
	size_t len = (size_t)(standin_source_end - standin_source);
	int fd;

	(void)state;
	strcpy(directory, "/tmp/bufscope-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	in_directory(path, sizeof(path), "standin.cpp");
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, standin_source, len) != (ssize_t)len)
		return -1;
	return close(fd);
}

static int tear_down(void **state)
{
	char path[96];

	(void)state;
	in_directory(path, sizeof(path), "standin.cpp");
	unlink(path);
	in_directory(path, sizeof(path), "standin.so");
	unlink(path);
	return rmdir(directory);
}

static void read_library(const char *path, struct library *library)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	library->len = (size_t)st.st_size;
	library->data = malloc(library->len);
	assert_non_null(library->data);
	assert_int_equal(read(fd, library->data, library->len), library->len);
	close(fd);
}

/* Compiles the stand-in; false when there is no such compiler. @flags end with NULL. */
static bool compile(const char *compiler, const char *const *flags, struct library *library)
{
	char source[96], output[96];
	const char *argv[MAX_FLAGS + 10] = {compiler, "-std=c++17", "-shared", "-fPIC", "-w", "-o", output, source};
	size_t count = 8;
	int status;
	pid_t pid;

	in_directory(source, sizeof(source), "standin.cpp");
	in_directory(output, sizeof(output), "standin.so");
	for (; *flags; flags++)
		argv[count++] = *flags;
	if (posix_spawnp(&pid, compiler, NULL, NULL, (char **)argv, environ))
		return false;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return false;
	if (status)
		fail_msg("%s failed with %d", compiler, status);
	read_library(output, library);
	return true;
}

static int to_fd(const uint8_t *data, size_t len)
{
	int fd = memfd_create("library", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	return fd;
}

/* The verdict on these bytes; -1: not an ELF file or not recognised. */
static int plan_bytes(const uint8_t *data, size_t len, struct library_plan *plan, struct strbuf *report)
{
	const struct runtime *runtime = runtime_all[0];
	struct elf_file *file;
	int fd = to_fd(data, len), err;

	memset(plan, 0, sizeof(*plan));
	err = elf_file_open(fd, "library", &file);
	close(fd);
	if (err)
		return -1;
	err = runtime->recognise(file) ? runtime->plan(file, plan, report) : -1;
	elf_file_close(file);
	return err;
}

static const struct probe_plan *find_probe(const struct library_plan *plan, enum probe_role role)
{
	for (size_t i = 0; i < plan->probe_count; i++)
		if (plan->probes[i].role == role)
			return &plan->probes[i];
	return NULL;
}

static int64_t layout_value(const struct library_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->layout_count; i++)
		if (strcmp(plan->layout[i].name, name) == 0)
			return plan->layout[i].value;
	return -1;
}

/* What has to be true of every plan for the two known layouts. */
static void check_fields(const struct library_plan *plan, bool pimpl)
{
	assert_int_equal(plan->read.indirect, pimpl);
	assert_int_equal(plan->read.pointer_offset, pimpl ? 16 : 0);
	assert_int_equal(plan->read.window_offset, pimpl ? 0 : 16);
	assert_int_equal(plan->read.window_len, 80);
	assert_int_equal(plan->read.device_at, 0);
	assert_int_equal(plan->field.size, 8);
	assert_int_equal(plan->field.type, 16);
	assert_int_equal(plan->field.allocator, 48);
	assert_int_equal(plan->field.status, 56);
	assert_int_equal(plan->field.hooked, 57);
	assert_int_equal(plan->field.address, 64);
	assert_int_equal(plan->field.page_size, 72);
	assert_int_equal(plan->field.status_allocated, 1);
	assert_int_equal(layout_value(plan, "buffer.pimpl"), pimpl ? 16 : -1);
	assert_int_equal(layout_value(plan, "buffer.page_size"), pimpl ? 72 : 88);
	assert_int_equal(find_probe(plan, PROBE_ALLOCATE)->argument, 1);
	assert_int_equal(find_probe(plan, PROBE_FREE)->argument, 1);
	assert_int_equal(find_probe(plan, PROBE_BULK_FREE)->argument, 0);
	assert_int_equal(find_probe(plan, PROBE_DESTROY)->argument, 0);
	assert_non_null(find_probe(plan, PROBE_CLOSE));
	assert_true(plan->made_counter_vaddr != 0);
}

/* One place that only a failure reaches, behind the function's start, on a read through a register. */
static void check_failure(const struct library_plan *plan)
{
	const struct probe_plan *probe = find_probe(plan, PROBE_OUT_OF_MEMORY);

	assert_non_null(probe);
	assert_ptr_equal(probe, &plan->probes[plan->probe_count - 1]);
	assert_int_not_equal(plan->probes[plan->probe_count - 2].role, PROBE_OUT_OF_MEMORY);
	assert_true(probe->place.skipped_bytes > 0);
	assert_true(probe->argument < 16);
	assert_non_null(strstr(probe->place.instruction, "dword ptr [r"));
}

static void check_sound(const char *compiler, const char *const *flags, bool pimpl, bool plain_array)
{
	struct strbuf report = STRBUF_INIT;
	struct library library;
	struct library_plan plan;

	if (!compile(compiler, flags, &library)) {
		printf("SKIP: there is no %s\n", compiler);
		return;
	}
	if (plan_bytes(library.data, library.len, &plan, &report))
		fail_msg("%s %s %s: %s", compiler, flags[0], flags[1] ? flags[1] : "", strbuf_str(&report));
	check_fields(&plan, pimpl);
	check_failure(&plan);
	assert_int_equal(plan.weak_this_offset, 0);
	assert_int_equal(plan.walk.chip_id_offset, 24);
	assert_true(plan.walk.chip_vtable != 0 && plan.walk.mesh_vtable != plan.walk.chip_vtable);
	assert_int_equal(plan.walk.hop_count, pimpl ? 3 : 1);
	assert_int_equal(plan.walk.hop[0], pimpl ? 24 : 96);
	if (pimpl) {
		assert_int_equal(plan.walk.hop[1], 80);
		assert_int_equal(plan.walk.hop[2], 0);
	}
	assert_int_equal(plan.walk.array_offset, 320);
	assert_int_equal(plan.walk.stride, plain_array ? 8 : 16);
	assert_int_equal(plan.walk.tagged, !plain_array);
	assert_string_equal(plan.version_hint, pimpl ? "ttnn 0.79.0 .. 0.81.1" : "ttnn 0.60.1 .. 0.78.0");
	strbuf_fini(&report);
	free(library.data);
}

#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_sound_plain(void **state)
{
	(void)state;
	check_sound("g++", FLAGS("-O2"), false, false);
	check_sound("g++", FLAGS("-O2", "-fno-omit-frame-pointer", "-fcf-protection"), false, false);
	check_sound("g++", FLAGS("-Os", "-s"), false, false);
	check_sound("g++", FLAGS("-O1", "-fno-plt", "-Wl,--hash-style=sysv"), false, false);
	check_sound("clang++", FLAGS("-O3", "-march=x86-64-v3"), false, false);
	check_sound("clang++", FLAGS("-O2", "-fno-omit-frame-pointer", "-DPLAIN_ARRAY"), false, true);
}

static void test_sound_pimpl(void **state)
{
	(void)state;
	check_sound("g++", FLAGS("-O2", "-DPIMPL", "-DPIMPL_MESH"), true, false);
	check_sound("g++", FLAGS("-O1", "-fno-omit-frame-pointer", "-DPIMPL", "-DPIMPL_MESH"), true, false);
	check_sound("clang++", FLAGS("-O3", "-DPIMPL", "-DPIMPL_MESH"), true, false);
}

/* Compiles with @flag and expects a refusal (or, with @expect NULL, success) whose report has the text. */
static void check_damaged(const char *const *flags, int expect, const char *text)
{
	struct strbuf report = STRBUF_INIT;
	struct library library;
	struct library_plan plan;
	int err;

	assert_true(compile("g++", flags, &library));
	err = plan_bytes(library.data, library.len, &plan, &report);
	if (err != expect || !strstr(strbuf_str(&report), text))
		fail_msg("%s: %d instead of %d, or not '%s' in:\n%s", flags[1], err, expect, text, strbuf_str(&report));
	strbuf_fini(&report);
	free(library.data);
}

static void test_damaged(void **state)
{
	(void)state;
	check_damaged(FLAGS("-O2", "-DRENAMED"), -ENOTSUP, "refused GraphTracker::track_allocate: not exported");
	check_damaged(FLAGS("-O2", "-DCONTRADICTED"), -ENOTSUP, "is_allocated() says 43");
	check_damaged(FLAGS("-O2", "-DREORDERED"), -ENOTSUP, "refused layout");
	check_damaged(FLAGS("-O2", "-DSWAPPED_SLOTS"), -ENOTSUP, "refused device.id: slot 3");
	check_damaged(FLAGS("-O2", "-DFOLDED"), -ENOTSUP, "same address");
	check_damaged(FLAGS("-O2", "-Wl,-Bsymbolic"), -ENOTSUP, "not called through the PLT");
	/* a new layout is taken if all of it was learnt; a field of a known one may be assumed, aloud */
	check_damaged(FLAGS("-O2", "-DSHIFTED"), 0, "ok layout: new layout");
	check_damaged(FLAGS("-O2", "-DNO_HOOKED"), 0, "ok buffer.hooked 73: assumed from layout row");
	check_damaged(FLAGS("-O2", "-DNO_HOOKED", "-DSHIFTED"), -ENOTSUP,
		      "refused buffer.hooked: no function shows it");
}

/* A failed allocation that cannot be seen for certain is not seen; the rest works. */
static void test_failure_is_not_guessed(void **state)
{
	(void)state;
	check_damaged(FLAGS("-O2", "-DOTHER_MESSAGE"), 0,
		      "no out of memory: BankManager::allocate_buffer shows no place");
	check_damaged(FLAGS("-O2", "-DMAY_RETURN"), 0, "no out of memory: BankManager::allocate_buffer shows no place");
	check_damaged(FLAGS("-O2", "-DUNNAMED_BANKS"), 0,
		      "no out of memory: BankManager::allocate_buffer is not exported");
}

/* Where in the file the function is. */
static size_t function_offset(const struct library *library, const char *symbol)
{
	struct elf_symbol found;
	struct elf_file *file;
	uint64_t offset;
	int fd = to_fd(library->data, library->len);

	assert_int_equal(elf_file_open(fd, "library", &file), 0);
	close(fd);
	assert_int_equal(elf_file_symbol(file, symbol, false, &found), 0);
	assert_true(found.function && found.dynamic && found.size >= 4);
	assert_int_equal(elf_file_offset(file, found.vaddr, &offset), 0);
	elf_file_close(file);
	return (size_t)offset;
}

static void check_patched(const struct library *library, const char *symbol, const char *bytes, const char *text)
{
	struct strbuf report = STRBUF_INIT;
	struct library_plan plan;
	uint8_t *copy = malloc(library->len);
	int err;

	assert_non_null(copy);
	memcpy(copy, library->data, library->len);
	memcpy(copy + function_offset(library, symbol), bytes, strlen(bytes));
	err = plan_bytes(copy, library->len, &plan, &report);
	if (err != -ENOTSUP || !strstr(strbuf_str(&report), text))
		fail_msg("%s: %d, or not '%s' in:\n%s", symbol, err, text, strbuf_str(&report));
	strbuf_fini(&report);
	free(copy);
}

static void test_patched_code(void **state)
{
	struct library library;

	(void)state;
	assert_true(compile("g++", FLAGS("-O2"), &library));
	check_patched(&library, "_ZNK2tt8tt_metal6Buffer7addressEv", "\xcc\xcc\xcc\xcc",
		      "Buffer::address(): its code cannot");
	check_patched(&library, "_ZNK2tt8tt_metal6Buffer8is_traceEv", "\x06\x06\x06",
		      "Buffer::is_trace(): its code cannot");
	check_patched(&library, "_ZNK2tt8tt_metal6Buffer9page_sizeEv", "\x06\x06\x06", "refused buffer.page_size");
	/* mov rax,[rdi+0x60]: another place than all others say it is next to */
	check_patched(&library, "_ZNK2tt8tt_metal6Buffer9page_sizeEv", "\x48\x8b\x47\x60", "refused layout");
	check_patched(&library, "_ZN2tt8tt_metal12GraphTracker14track_allocateEPKNS0_6BufferE", "\xcc",
		      "refused GraphTracker::track_allocate: no instruction");
	check_patched(&library, "_ZNK2tt8tt_metal11distributed10MeshDevice8get_viewEv", "\xc3", "refused mesh");
	free(library.data);
}

static void test_truncated_and_mutated(void **state)
{
	struct strbuf report = STRBUF_INIT;
	struct library library;
	struct library_plan plan;
	uint8_t *copy;
	uint32_t seed = 7;

	(void)state;
	assert_true(compile("g++", FLAGS("-O2", "-DPIMPL", "-DPIMPL_MESH"), &library));
	assert_int_equal(plan_bytes(library.data, library.len, &plan, &report), 0);
	/* the segments end before the section headers; without the last of them it is no library */
	for (size_t len = 0; len < 0x3000; len += 61)
		assert_int_not_equal(plan_bytes(library.data, len, &plan, &report), 0);
	copy = malloc(library.len);
	assert_non_null(copy);
	for (size_t round = 0; round < 2000; round++) {
		memcpy(copy, library.data, library.len);
		for (size_t i = 0; i < 1 + round % 8; i++) {
			size_t area = round % 3 == 0 ? 0x400 : library.len;

			seed = seed * 1664525 + 1013904223;
			copy[(seed >> 4) % area] = (uint8_t)(seed >> 24);
		}
		strbuf_reset(&report);
		if (plan_bytes(copy, library.len, &plan, &report) == 0) {
			assert_true(plan.read.window_len <= PLAN_WINDOW_BYTES && plan.probe_count <= PLAN_MAX_PROBES);
			assert_true(plan.walk.hop_count <= PLAN_MAX_WALK && plan.layout_count <= PLAN_MAX_FIELDS);
			assert_true(plan.field.page_size + 8 <= plan.read.window_len);
		}
	}
	free(copy);
	strbuf_fini(&report);
	free(library.data);
}

static void test_check_library(void **state)
{
	struct library library;
	char *text = NULL;
	size_t len = 0;
	FILE *out;
	int fd;

	(void)state;
	assert_true(compile("g++", FLAGS("-O2", "-Wl,--build-id=0x0123abcd"), &library));
	fd = to_fd(library.data, library.len);
	out = open_memstream(&text, &len);
	assert_int_equal(check_library(fd, "a\033[31mb.so", out), 0);
	fclose(out);
	close(fd);
	assert_non_null(strstr(text, "library    a\\x1b[31mb.so\n"));
	assert_non_null(strstr(text, "build-id   0123abcd\n"));
	assert_non_null(strstr(text, "runtime    tt-metal\n"));
	assert_non_null(strstr(text, "supported (layout as in ttnn 0.60.1 .. 0.78.0)\n"));
	assert_non_null(strstr(text, "buffer.size        24\n"));
	free(text);
	free(library.data);

	assert_true(compile("g++", FLAGS("-O2", "-DRENAMED"), &library));
	fd = to_fd(library.data, library.len);
	out = open_memstream(&text, &len);
	assert_int_equal(check_library(fd, "b.so", out), -ENOTSUP);
	fclose(out);
	close(fd);
	assert_non_null(strstr(text, "verdict    not supported: GraphTracker::track_allocate: not exported"));
	assert_non_null(strstr(text, "what was tried\n"));
	assert_null(strstr(text, "layout (bytes)"));
	free(text);
	free(library.data);

	fd = to_fd((const uint8_t *)"#!/bin/sh\n", 10);
	out = open_memstream(&text, &len);
	assert_int_equal(check_library(fd, "c.sh", out), -ENOTSUP);
	fclose(out);
	close(fd);
	assert_non_null(strstr(text, "not an ELF file"));
	free(text);
}

static const struct library_plan decode_plan = {
	.read = {.window_offset = 16, .window_len = 80},
	.field = {.size = 8,
		  .type = 16,
		  .allocator = 48,
		  .status = 56,
		  .hooked = 57,
		  .address = 64,
		  .page_size = 72,
		  .status_allocated = 1},
};

struct window {
	uint64_t device, size;
	uint32_t type, layout;
	uint64_t unused[3];
	uint64_t allocator;
	uint8_t status, hooked, pad[6];
	uint64_t address, page_size;
};
_Static_assert(sizeof(struct window) == 80, "window");

static bool decode(const struct window *window, enum probe_role role, struct event_buffer *buffer)
{
	*buffer = (struct event_buffer){.object = 0x1234, .runtime = 3, .address = 99};
	return runtime_all[0]->decode(&decode_plan, role, (const uint8_t *)window, buffer);
}

static void test_decode(void **state)
{
	static const int types[] = {MEMORY_DRAM, MEMORY_L1, -1, MEMORY_L1_SMALL, MEMORY_TRACE, -1};
	const struct window good = {.device = 0x7000,
				    .size = 8192,
				    .type = 1,
				    .allocator = 0x8000,
				    .status = 1,
				    .address = 0xfffff000,
				    .page_size = 2048};
	struct event_buffer buffer;
	struct window bad[10];

	(void)state;
	assert_true(decode(&good, PROBE_ALLOCATE, &buffer));
	assert_int_equal(buffer.fault, BUFFER_FAULT_NONE);
	assert_int_equal(buffer.object, 0x1234);
	assert_int_equal(buffer.runtime, 3);
	assert_int_equal(buffer.device_object, 0x7000);
	assert_int_equal(buffer.allocator, 0x8000);
	assert_int_equal(buffer.address, 0xfffff000);
	assert_int_equal(buffer.size_bytes, 8192);
	assert_int_equal(buffer.page_size_bytes, 2048);
	assert_int_equal(buffer.type, MEMORY_L1);
	for (uint32_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct window window = good;

		window.type = i;
		assert_true(decode(&window, PROBE_FREE, &buffer));
		assert_int_equal(buffer.fault, types[i] < 0 ? BUFFER_FAULT_IMPLAUSIBLE : BUFFER_FAULT_NONE);
		if (types[i] >= 0)
			assert_int_equal(buffer.type, types[i]);
	}
	for (size_t i = 0; i < 10; i++)
		bad[i] = good;
	bad[0].device = 0;
	bad[1].device = 0x7001;
	bad[2].size = 0;
	bad[3].page_size = 0;
	bad[4].size = 8191;
	bad[5].address = 1ULL << 32;
	bad[6].status = 2;
	bad[7].status = 0;
	bad[8].hooked = 2;
	bad[9].type = UINT32_MAX;
	for (size_t i = 0; i < 10; i++) {
		assert_true(decode(&bad[i], PROBE_ALLOCATE, &buffer));
		assert_int_equal(buffer.fault, BUFFER_FAULT_IMPLAUSIBLE);
		assert_int_equal(buffer.object, 0x1234);
		assert_int_equal(buffer.runtime, 3);
		assert_int_equal(buffer.size_bytes | buffer.address | buffer.device_object, 0);
	}
	bad[0] = good;
	bad[0].hooked = 1;
	assert_false(decode(&bad[0], PROBE_ALLOCATE, &buffer));
	assert_false(decode(&bad[0], PROBE_FREE, &buffer));
	/* one that could not be allocated has no address and no status */
	bad[7].address = UINT64_MAX;
	bad[7].hooked = 7;
	assert_true(decode(&bad[7], PROBE_OUT_OF_MEMORY, &buffer));
	assert_int_equal(buffer.type, MEMORY_L1);
	assert_int_equal(buffer.size_bytes, 8192);
	assert_int_equal(buffer.device_object, 0x7000);
	for (size_t i = 0; i < 5; i++) {
		assert_true(decode(&bad[i], PROBE_OUT_OF_MEMORY, &buffer));
		assert_int_equal(buffer.fault, i == 0 ? BUFFER_FAULT_NONE : BUFFER_FAULT_IMPLAUSIBLE);
		assert_int_equal(buffer.type, MEMORY_L1);
	}
	assert_true(decode(&bad[9], PROBE_OUT_OF_MEMORY, &buffer));
	assert_int_equal(buffer.type, MEMORY_TYPE_COUNT);
	assert_int_equal(buffer.fault, BUFFER_FAULT_IMPLAUSIBLE);
	/* a destroyed object's fields say nothing */
	assert_true(decode(&bad[6], PROBE_DESTROY, &buffer));
	assert_int_equal(buffer.fault, BUFFER_FAULT_NONE);
	assert_int_equal(buffer.size_bytes, 0);
}

/* The walk of the released libraries, by the part of the path that names the version. */
static const struct {
	const char *version;
	bool pimpl;
	uint16_t chip_id, hop_count, hop[3], array, stride;
} released[] = {
	{"0.60.1", false, 8, 1, {0x30}, 0x108, 8},
	{"0.62.2", false, 8, 1, {0x58}, 0x110, 16},
	{"0.64.5", false, 8, 1, {0x60}, 0x178, 16},
	{"0.66.0", false, 8, 3, {0x18, 0x50, 0}, 0x178, 16},
	{"0.78.0", false, 24, 3, {0x18, 0x58, 0}, 0x178, 16},
	{"0.79.0", true, 24, 3, {0x18, 0x58, 0}, 0x178, 16},
	{"0.81.1", true, 24, 3, {0x18, 0x70, 0}, 0x178, 16},
};

static void check_released(const char *path)
{
	struct strbuf report = STRBUF_INIT;
	struct library library;
	struct library_plan plan;

	read_library(path, &library);
	if (plan_bytes(library.data, library.len, &plan, &report))
		fail_msg("%s: %s", path, strbuf_str(&report));
	assert_null(strstr(strbuf_str(&report), "assumed"));
	for (size_t i = 0; i < sizeof(released) / sizeof(released[0]); i++) {
		if (!strstr(path, released[i].version))
			continue;
		check_fields(&plan, released[i].pimpl);
		assert_int_equal(plan.weak_this_offset, 0);
		assert_int_equal(plan.walk.chip_id_offset, released[i].chip_id);
		assert_int_equal(plan.walk.hop_count, released[i].hop_count);
		assert_memory_equal(plan.walk.hop, released[i].hop, released[i].hop_count * sizeof(uint16_t));
		assert_int_equal(plan.walk.array_offset, released[i].array);
		assert_int_equal(plan.walk.stride, released[i].stride);
		assert_int_equal(plan.walk.tagged, released[i].stride == 16);
		/* Where an allocation fails it may take its time. */
		for (size_t p = 0; p < plan.probe_count; p++)
			assert_true(plan.probes[p].place.cost == PLACE_EMULATED ||
				    plan.probes[p].role == PROBE_OUT_OF_MEMORY);
	}
	strbuf_fini(&report);
	free(library.data);
}

static void test_released(void **state)
{
	const char *paths = getenv("BUFSCOPE_TEST_LIBRARIES");
	char *copy, *rest = NULL;

	(void)state;
	if (!paths || !*paths) {
		printf("SKIP: BUFSCOPE_TEST_LIBRARIES does not name any released library\n");
		skip();
	}
	copy = strdup(paths);
	assert_non_null(copy);
	for (char *path = strtok_r(copy, ":", &rest); path; path = strtok_r(NULL, ":", &rest))
		check_released(path);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound_plain),   cmocka_unit_test(test_sound_pimpl),
		cmocka_unit_test(test_damaged),       cmocka_unit_test(test_failure_is_not_guessed),
		cmocka_unit_test(test_patched_code),  cmocka_unit_test(test_truncated_and_mutated),
		cmocka_unit_test(test_check_library), cmocka_unit_test(test_decode),
		cmocka_unit_test(test_released),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
