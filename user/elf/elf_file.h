/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One ELF file (64-bit, little-endian, x86-64), opened for questions. Everything in the file is
 * hostile: each access is checked against the file's size and a broken file ends in -EINVAL, never
 * in a fault or a loop.
 *
 * Searches that look at each entry of a table are bounded in sum per open file (hundreds of millions
 * of entries); beyond that nothing is found any more.
 *
 * Addresses ("vaddr") are as linked, before the load base is added.
 */
#ifndef BUFSCOPE_ELF_ELF_FILE_H
#define BUFSCOPE_ELF_ELF_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_file;

struct elf_symbol {
	uint64_t vaddr;
	uint64_t size; /* 0: the file does not say */
	bool dynamic;  /* from .dynsym, so exported; otherwise .symtab */
	bool function;
};

/*
 * Opens @fd (kept by the caller, may be closed afterwards). @name is for messages only.
 * Errors: -ENOEXEC not an ELF file; -ENOTSUP another class or machine; -EINVAL truncated or broken;
 * -ENOMEM; errors of fstat, fcntl and pread. A FIFO, directory or device is -EINVAL. The file is read, not
 * mapped: cutting it while it is open ends in -EINVAL.
 */
int elf_file_open(int fd, const char *name, struct elf_file **out);
void elf_file_close(struct elf_file *file);

/*
 * Has an answer since been "no" or "none" only because the file could not be read, or for want of memory?
 * 0, -EIO and other errors of pread, -ENOMEM.
 */
int elf_file_error(const struct elf_file *file);

/* .dynsym first (through the hash table: cheap when the symbol is absent), then .symtab if @also_symtab. -ENOENT if not defined. */
int elf_file_symbol(struct elf_file *file, const char *name, bool also_symtab, struct elf_symbol *out);

/* The first defined symbol (.dynsym, then .symtab) whose name starts with @prefix. -ENOENT. @name_out: owned by @file. */
int elf_file_symbol_prefix(struct elf_file *file, const char *prefix, struct elf_symbol *out, const char **name_out);

/* Lower-case hex of the GNU build-id, "" if there is none. Owned by @file. */
const char *elf_file_build_id(struct elf_file *file);

/* File offset of a vaddr that is backed by file content; -ERANGE otherwise. */
int elf_file_offset(struct elf_file *file, uint64_t vaddr, uint64_t *offset);
/* vaddr of a file offset inside an executable segment; -ERANGE otherwise. */
int elf_file_vaddr(struct elf_file *file, uint64_t offset, uint64_t *vaddr);

/* Copies @len bytes of file content at @vaddr; -ERANGE if any is not backed by the file. */
int elf_file_read(struct elf_file *file, uint64_t vaddr, void *buf, size_t len);

/*
 * The 8-byte pointer stored at @vaddr once relocated (relative to load base 0): from an
 * R_X86_64_RELATIVE or R_X86_64_64 relocation that covers it (RELA and RELR), else the file content.
 * Used for vtable slots. -ERANGE, -ENOENT when the relocation names an undefined symbol.
 */
int elf_file_pointer(struct elf_file *file, uint64_t vaddr, uint64_t *value);

/* Is there a JUMP_SLOT or GLOB_DAT relocation for @name, so that calls inside the file go through it? */
bool elf_file_called_through_plt(struct elf_file *file, const char *name);

/*
 * The symbol that a PLT stub at @vaddr jumps through (endbr64/bnd prefixes allowed), by decoding its
 * indirect jmp and finding the GOT slot's relocation. -ENOENT if @vaddr is no such stub.
 */
int elf_file_plt_target(struct elf_file *file, uint64_t vaddr, const char **name_out);

/* The symbol whose address the 8-byte slot at @vaddr will hold (GOT): for calls without a PLT stub. -ENOENT. */
int elf_file_slot_target(struct elf_file *file, uint64_t vaddr, const char **name_out);

/* A function that starts at exactly @vaddr (.dynsym, then .symtab; looks at each entry). -ENOENT. @name_out: owned by @file. */
int elf_file_function_at(struct elf_file *file, uint64_t vaddr, struct elf_symbol *out, const char **name_out);

#endif
