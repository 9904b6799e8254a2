/* SPDX-License-Identifier: BSD-2-Clause */
/* What elf_file.c (headers, addresses) and elf_symbol.c (symbols, relocations) share. For nobody else. */
#ifndef BUFSCOPE_ELF_ELF_FILE_INTERNAL_H
#define BUFSCOPE_ELF_ELF_FILE_INTERNAL_H

#include <elf.h>

#include "elf/elf_file.h"

#define ELF_MAX_NOTES 8

struct elf_segment {
	uint64_t vaddr, offset, file_size;
	bool executable;
};

struct elf_range {
	uint64_t offset, len;
};

/* Bytes of the file, read once; data[len] is 0. */
struct elf_table {
	uint8_t *data;
	size_t len;
};

/* vaddrs and sizes as PT_DYNAMIC gives them: not yet checked. */
struct elf_dynamic {
	uint64_t symtab, strtab, strsz, gnu_hash, hash;
	uint64_t rela, rela_size, jmprel, jmprel_size;
};

struct elf_file {
	int fd;
	int error; /* the first that was not the file's fault */
	uint64_t size;
	size_t load_count, note_count, section_count;
	uint64_t section_offset;
	struct elf_segment load[128];
	struct elf_range note[ELF_MAX_NOTES];
	struct elf_dynamic dynamic;
	Elf64_Shdr *sections;
	struct elf_table dynsym, dynstr, symtab, strtab, rela, jmprel;
	size_t searched; /* table entries looked at, to bound the work on a hostile file */
	bool symtab_absent;
	bool build_id_known;
	char build_id[129];
};

/* Notes @err for elf_file_error() and returns it. */
int elf_file_fail(struct elf_file *file, int err);
/* -EINVAL when the file has no such bytes. */
int elf_file_pread(struct elf_file *file, uint64_t offset, void *buf, size_t len);
/* Fills @table unless it was before. -ENOENT when @len is 0. */
int elf_file_load(struct elf_file *file, uint64_t offset, uint64_t len, struct elf_table *table);
int elf_file_load_vaddr(struct elf_file *file, uint64_t vaddr, uint64_t len, struct elf_table *table);
/* Reads the section headers once. -ENOENT when there are none. */
int elf_file_sections(struct elf_file *file);

#endif
