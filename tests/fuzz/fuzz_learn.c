/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the learning of layouts. The first byte: 0, 1: the input is a list of changes to a stand-in
 * library (plain, pimpl), 12 bytes each: section (1), length (1), place in the section (2), bytes (8).
 * Otherwise the rest of it is a whole ELF file.
 */
#include <elf.h>
#include <string.h>

#include "base/strbuf.h"
#include "elf/elf_file.h"
#include "fuzz.h"
#include "runtime/census.h"
#include "runtime/runtime.h"

#define MAX_IMAGE (1u << 20)

struct image {
	const char *path;
	uint8_t *data;
	size_t len;
};

static void load(struct image *image)
{
	FILE *file = fopen(image->path, "rb");

	image->data = malloc(MAX_IMAGE);
	FUZZ_ASSERT(file && image->data);
	image->len = fread(image->data, 1, MAX_IMAGE, file);
	FUZZ_ASSERT(image->len < MAX_IMAGE);
	fclose(file);
}

/* Where the bytes of a section are; section 0 stands for the file's headers. */
static size_t section_at(const struct image *image, unsigned int number, size_t *size)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)(const void *)image->data;
	const Elf64_Shdr *section = (const Elf64_Shdr *)(const void *)(image->data + header->e_shoff);

	number %= header->e_shnum;
	if (!number || section[number].sh_type == SHT_NOBITS || !section[number].sh_size) {
		*size = sizeof(*header) + header->e_phnum * sizeof(Elf64_Phdr);
		return 0;
	}
	*size = section[number].sh_size;
	return section[number].sh_offset;
}

static void learn(struct elf_file *file)
{
	const struct runtime *runtime = runtime_all[0];
	uint8_t window[PLAN_WINDOW_BYTES] = {0};
	struct strbuf report = STRBUF_INIT;
	struct library_plan plan;
	struct census_plan books;

	if (runtime->recognise(file) && !runtime->plan(file, &plan, &report)) {
		struct event_buffer buffer = {0};

		FUZZ_ASSERT(plan.probe_count <= PLAN_MAX_PROBES && plan.layout_count <= PLAN_MAX_FIELDS);
		FUZZ_ASSERT(plan.read.window_len <= PLAN_WINDOW_BYTES && plan.walk.hop_count <= PLAN_MAX_WALK);
		runtime->decode(&plan, PROBE_ALLOCATE, window, &buffer);
		runtime->census_plan(file, &plan, &books, &report);
	}
	strbuf_fini(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct image images[] = {{.path = STANDIN_PLAIN}, {.path = STANDIN_PIMPL}};
	static uint8_t changed[MAX_IMAGE];
	struct elf_file *file;
	uint8_t which = fuzz_byte(&data, &len);
	const struct image *image = &images[which & 1];

	if (!images[0].data) {
		load(&images[0]);
		load(&images[1]);
	}
	if (which < 2) {
		memcpy(changed, image->data, image->len);
		for (; len >= 12; data += 12, len -= 12) {
			size_t size, at = section_at(image, data[0], &size), count = 1 + data[1] % 8;

			at += (data[2] | data[3] << 8) % size;
			memcpy(changed + at, data + 4, count < image->len - at ? count : image->len - at);
		}
		data = changed;
		len = image->len;
	}
	if (elf_file_open(fuzz_file(data, len), "fuzz", &file))
		return 0;
	learn(file);
	elf_file_close(file);
	return 0;
}
