/* SPDX-License-Identifier: BSD-2-Clause */
/* Symbols and relocations of an ELF file: see elf_file.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "elf/elf_file.h"
#include "elf/elf_file_internal.h"

#define MAX_CHAIN    4096 /* entries of one hash chain, also against cycles */
#define MAX_NAME     4096
#define MAX_SEARCHED ((size_t)500 << 20) /* table entries in the life of one file; real ones take some millions */
#define MAX_HASHED   (1u << 24)

#ifndef R_X86_64_JUMP_SLOT
#define R_X86_64_JUMP_SLOT 7
#endif

static uint32_t gnu_hash(const char *name)
{
	uint32_t hash = 5381;

	for (; *name; name++)
		hash = hash * 33 + (uint8_t)*name;
	return hash;
}

static uint32_t sysv_hash(const char *name)
{
	uint32_t hash = 0;

	for (; *name; name++) {
		hash = (hash << 4) + (uint8_t)*name;
		hash ^= (hash & 0xf0000000u) >> 24;
		hash &= 0x0fffffffu;
	}
	return hash;
}

static bool is_defined(const Elf64_Sym *sym)
{
	unsigned int type = ELF64_ST_TYPE(sym->st_info);

	return sym->st_shndx != SHN_UNDEF && type != STT_SECTION && type != STT_FILE && type != STT_TLS;
}

static void fill_symbol(const Elf64_Sym *sym, bool dynamic, struct elf_symbol *out)
{
	*out = (struct elf_symbol){.vaddr = sym->st_value,
				   .size = sym->st_size,
				   .dynamic = dynamic,
				   .function = ELF64_ST_TYPE(sym->st_info) == STT_FUNC};
}

static int read_dynsym(struct elf_file *file, uint64_t index, Elf64_Sym *sym)
{
	if (index > UINT32_MAX || file->dynamic.symtab == 0)
		return -EINVAL;
	return elf_file_read(file, file->dynamic.symtab + index * sizeof(*sym), sym, sizeof(*sym));
}

/* Does symbol @index of .dynsym have this name? Reads only these bytes. */
static int compare_name(struct elf_file *file, const Elf64_Sym *sym, const char *name, bool *equal)
{
	char have[MAX_NAME];
	size_t len = strlen(name) + 1;
	int err;

	*equal = false;
	if (len > sizeof(have) || sym->st_name >= file->dynamic.strsz || len > file->dynamic.strsz - sym->st_name)
		return 0;
	err = elf_file_read(file, file->dynamic.strtab + sym->st_name, have, len);
	if (err)
		return err;
	*equal = memcmp(have, name, len) == 0;
	return 0;
}

static int find_in_gnu_hash(struct elf_file *file, const char *name, uint32_t *index, Elf64_Sym *sym)
{
	uint32_t header[4], hash = gnu_hash(name), chain_hash;
	uint64_t at = file->dynamic.gnu_hash, word, buckets;
	bool equal;
	int err;

	err = elf_file_read(file, at, header, sizeof(header));
	if (err)
		return -EINVAL;
	if (header[0] == 0 || header[2] == 0 || header[0] > MAX_HASHED || header[2] > MAX_HASHED)
		return -EINVAL;
	at += sizeof(header);
	if (elf_file_read(file, at + 8ULL * ((hash / 64) % header[2]), &word, sizeof(word)))
		return -EINVAL;
	if (!(word >> (hash % 64) & 1) || !(word >> (hash >> (header[3] & 31)) % 64 & 1))
		return -ENOENT;
	buckets = at + 8ULL * header[2];
	if (elf_file_read(file, buckets + 4ULL * (hash % header[0]), index, sizeof(*index)))
		return -EINVAL;
	if (*index < header[1])
		return -ENOENT;
	for (size_t i = 0; i < MAX_CHAIN; i++, (*index)++) {
		if (elf_file_read(file, buckets + 4ULL * header[0] + 4ULL * (*index - header[1]), &chain_hash,
				  sizeof(chain_hash)))
			return -EINVAL;
		if ((chain_hash | 1) == (hash | 1)) {
			err = read_dynsym(file, *index, sym);
			if (err == 0)
				err = compare_name(file, sym, name, &equal);
			if (err)
				return -EINVAL;
			if (equal && is_defined(sym))
				return 0;
		}
		if (chain_hash & 1)
			break;
	}
	return -ENOENT;
}

static int find_in_sysv_hash(struct elf_file *file, const char *name, uint32_t *index, Elf64_Sym *sym)
{
	uint64_t at = file->dynamic.hash;
	uint32_t header[2];
	bool equal;

	if (elf_file_read(file, at, header, sizeof(header)) || header[0] == 0 || header[0] > MAX_HASHED)
		return -EINVAL;
	at += sizeof(header);
	if (elf_file_read(file, at + 4ULL * (sysv_hash(name) % header[0]), index, sizeof(*index)))
		return -EINVAL;
	for (size_t i = 0; i < MAX_CHAIN && *index != 0; i++) {
		if (*index >= header[1] || read_dynsym(file, *index, sym) || compare_name(file, sym, name, &equal))
			return -EINVAL;
		if (equal && is_defined(sym))
			return 0;
		if (elf_file_read(file, at + 4ULL * header[0] + 4ULL * *index, index, sizeof(*index)))
			return -EINVAL;
	}
	return -ENOENT;
}

/* How many entries .dynsym has: no table of the dynamic linker says so directly. */
static uint64_t dynsym_count(struct elf_file *file)
{
	uint32_t header[2];

	if (file->dynamic.hash && elf_file_read(file, file->dynamic.hash, header, sizeof(header)) == 0)
		return header[1];
	if (elf_file_sections(file))
		return 0;
	for (size_t i = 0; i < file->section_count; i++)
		if (file->sections[i].sh_type == SHT_DYNSYM && file->sections[i].sh_addr == file->dynamic.symtab)
			return file->sections[i].sh_size / sizeof(Elf64_Sym);
	return 0;
}

static int load_dynamic_symbols(struct elf_file *file)
{
	uint64_t count;
	int err;

	if (file->dynsym.data && file->dynstr.data)
		return 0;
	count = dynsym_count(file);
	if (count > MAX_HASHED)
		return -EINVAL;
	err = elf_file_load_vaddr(file, file->dynamic.symtab, count * sizeof(Elf64_Sym), &file->dynsym);
	if (err)
		return err;
	return elf_file_load_vaddr(file, file->dynamic.strtab, file->dynamic.strsz, &file->dynstr);
}

static int load_static_symbols(struct elf_file *file)
{
	const Elf64_Shdr *symtab = NULL, *strtab;
	int err;

	if (file->symtab_absent)
		return -ENOENT;
	if (file->symtab.data && file->strtab.data)
		return 0;
	err = elf_file_sections(file);
	for (size_t i = 0; err == 0 && i < file->section_count; i++)
		if (file->sections[i].sh_type == SHT_SYMTAB)
			symtab = &file->sections[i];
	if (err || !symtab || symtab->sh_link >= file->section_count) {
		file->symtab_absent = true;
		return -ENOENT;
	}
	strtab = &file->sections[symtab->sh_link];
	err = elf_file_load(file, symtab->sh_offset, symtab->sh_size, &file->symtab);
	if (!err)
		err = elf_file_load(file, strtab->sh_offset, strtab->sh_size, &file->strtab);
	return err;
}

static const Elf64_Sym *symbol_of(const struct elf_table *symbols, size_t index)
{
	/* malloc'ed, and every entry is 24 bytes: aligned */
	return index < symbols->len / sizeof(Elf64_Sym) ? (const Elf64_Sym *)(const void *)symbols->data + index : NULL;
}

static const char *name_of(const struct elf_table *strings, const Elf64_Sym *sym)
{
	return sym->st_name < strings->len ? (const char *)strings->data + sym->st_name : "";
}

/* A hostile file can make each search long and ask for many: false once too much was searched in it. */
static bool spend(struct elf_file *file, size_t entries)
{
	if (entries > MAX_SEARCHED - file->searched)
		return false;
	file->searched += entries;
	return true;
}

typedef bool match_fn(const Elf64_Sym *sym, const char *name, const void *key);

static const Elf64_Sym *scan(struct elf_file *file, bool dynamic, match_fn *match, const void *key)
{
	const struct elf_table *symbols = dynamic ? &file->dynsym : &file->symtab;
	const struct elf_table *strings = dynamic ? &file->dynstr : &file->strtab;
	size_t count = symbols->len / sizeof(Elf64_Sym);

	if (!spend(file, count))
		return NULL;
	for (size_t i = 1; i < count; i++) {
		const Elf64_Sym *sym = symbol_of(symbols, i);

		if (is_defined(sym) && match(sym, name_of(strings, sym), key))
			return sym;
	}
	return NULL;
}

static bool match_name(const Elf64_Sym *sym, const char *name, const void *key)
{
	(void)sym;
	return strcmp(name, key) == 0;
}

static bool match_prefix(const Elf64_Sym *sym, const char *name, const void *key)
{
	(void)sym;
	return strncmp(name, key, strlen(key)) == 0;
}

static bool match_function_at(const Elf64_Sym *sym, const char *name, const void *key)
{
	return ELF64_ST_TYPE(sym->st_info) == STT_FUNC && sym->st_value == *(const uint64_t *)key && name[0];
}

/* .dynsym, then .symtab, by looking at each entry. */
static int scan_all(struct elf_file *file, match_fn *match, const void *key, struct elf_symbol *out, const char **name)
{
	const Elf64_Sym *sym;

	if (load_dynamic_symbols(file) == 0) {
		sym = scan(file, true, match, key);
		if (sym) {
			fill_symbol(sym, true, out);
			*name = name_of(&file->dynstr, sym);
			return 0;
		}
	}
	if (load_static_symbols(file) == 0) {
		sym = scan(file, false, match, key);
		if (sym) {
			fill_symbol(sym, false, out);
			*name = name_of(&file->strtab, sym);
			return 0;
		}
	}
	return -ENOENT;
}

/* A defined symbol of .dynsym and its number. */
static int find_dynamic(struct elf_file *file, const char *name, uint32_t *index, Elf64_Sym *sym)
{
	const Elf64_Sym *found;

	if (!file->dynamic.symtab || !file->dynamic.strtab)
		return -ENOENT;
	if (file->dynamic.gnu_hash)
		return find_in_gnu_hash(file, name, index, sym);
	if (file->dynamic.hash)
		return find_in_sysv_hash(file, name, index, sym);
	if (load_dynamic_symbols(file))
		return -ENOENT;
	found = scan(file, true, match_name, name);
	if (!found)
		return -ENOENT;
	*sym = *found;
	*index = (uint32_t)(found - symbol_of(&file->dynsym, 0));
	return 0;
}

int elf_file_symbol(struct elf_file *file, const char *name, bool also_symtab, struct elf_symbol *out)
{
	const Elf64_Sym *found;
	Elf64_Sym sym;
	uint32_t index;
	int err;

	err = find_dynamic(file, name, &index, &sym);
	if (err == 0) {
		fill_symbol(&sym, true, out);
		return 0;
	}
	if (err != -ENOENT || !also_symtab)
		return err;
	if (load_static_symbols(file))
		return -ENOENT;
	found = scan(file, false, match_name, name);
	if (!found)
		return -ENOENT;
	fill_symbol(found, false, out);
	return 0;
}

int elf_file_symbol_prefix(struct elf_file *file, const char *prefix, struct elf_symbol *out, const char **name_out)
{
	return scan_all(file, match_prefix, prefix, out, name_out);
}

int elf_file_function_at(struct elf_file *file, uint64_t vaddr, struct elf_symbol *out, const char **name_out)
{
	return scan_all(file, match_function_at, &vaddr, out, name_out);
}

static void load_relocations(struct elf_file *file)
{
	const struct elf_dynamic *dyn = &file->dynamic;

	/* an absent or broken table has no entries; the other may still answer */
	if (dyn->rela)
		elf_file_load_vaddr(file, dyn->rela, dyn->rela_size, &file->rela);
	if (dyn->jmprel)
		elf_file_load_vaddr(file, dyn->jmprel, dyn->jmprel_size, &file->jmprel);
}

static const Elf64_Rela *relocation_at(struct elf_file *file, const struct elf_table *table, uint64_t vaddr)
{
	const Elf64_Rela *rela = (const Elf64_Rela *)(const void *)table->data;

	if (!spend(file, table->len / sizeof(*rela)))
		return NULL;
	for (size_t i = 0; i < table->len / sizeof(*rela); i++)
		if (rela[i].r_offset == vaddr)
			return &rela[i];
	return NULL;
}

static const Elf64_Rela *find_relocation(struct elf_file *file, uint64_t vaddr)
{
	const Elf64_Rela *found;

	load_relocations(file);
	found = relocation_at(file, &file->rela, vaddr);
	return found ? found : relocation_at(file, &file->jmprel, vaddr);
}

int elf_file_pointer(struct elf_file *file, uint64_t vaddr, uint64_t *value)
{
	const Elf64_Rela *rela = find_relocation(file, vaddr);
	uint64_t in_file;
	Elf64_Sym sym;
	int err;

	/* a slot relocated by RELR holds its addend in the file, so RELR need not be decoded */
	err = elf_file_read(file, vaddr, &in_file, sizeof(in_file));
	if (err)
		return err;
	*value = in_file;
	if (!rela)
		return 0;
	switch (ELF64_R_TYPE(rela->r_info)) {
	case R_X86_64_RELATIVE:
		*value = (uint64_t)rela->r_addend;
		return 0;
	case R_X86_64_64:
	case R_X86_64_GLOB_DAT:
	case R_X86_64_JUMP_SLOT:
		err = read_dynsym(file, ELF64_R_SYM(rela->r_info), &sym);
		if (err)
			return err;
		if (!is_defined(&sym))
			return -ENOENT;
		*value = sym.st_value;
		if (ELF64_R_TYPE(rela->r_info) == R_X86_64_64)
			*value += (uint64_t)rela->r_addend;
		return 0;
	default:
		return -ENOENT;
	}
}

static bool table_names(struct elf_file *file, const struct elf_table *table, const char *name, uint32_t index)
{
	const Elf64_Rela *rela = (const Elf64_Rela *)(const void *)table->data;

	if (!spend(file, table->len / sizeof(*rela)))
		return false;
	for (size_t i = 0; i < table->len / sizeof(*rela); i++) {
		uint32_t type = ELF64_R_TYPE(rela[i].r_info);
		const Elf64_Sym *sym;

		if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT)
			continue;
		if (index) {
			if (ELF64_R_SYM(rela[i].r_info) == index)
				return true;
			continue;
		}
		sym = symbol_of(&file->dynsym, ELF64_R_SYM(rela[i].r_info));
		if (sym && strcmp(name_of(&file->dynstr, sym), name) == 0)
			return true;
	}
	return false;
}

bool elf_file_called_through_plt(struct elf_file *file, const char *name)
{
	uint32_t index = 0;
	Elf64_Sym sym;

	load_relocations(file);
	/* a defined symbol is in the hash table: comparing numbers spares comparing names */
	if (find_dynamic(file, name, &index, &sym)) {
		index = 0;
		if (load_dynamic_symbols(file))
			return false;
	}
	return table_names(file, &file->jmprel, name, index) || table_names(file, &file->rela, name, index);
}

int elf_file_slot_target(struct elf_file *file, uint64_t vaddr, const char **name_out)
{
	const Elf64_Rela *rela = find_relocation(file, vaddr);
	const Elf64_Sym *sym;
	uint32_t type;

	if (!rela)
		return -ENOENT;
	type = ELF64_R_TYPE(rela->r_info);
	if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64)
		return -ENOENT;
	if (load_dynamic_symbols(file))
		return -ENOENT;
	sym = symbol_of(&file->dynsym, ELF64_R_SYM(rela->r_info));
	if (!sym || name_of(&file->dynstr, sym)[0] == 0)
		return -ENOENT;
	*name_out = name_of(&file->dynstr, sym);
	return 0;
}

int elf_file_plt_target(struct elf_file *file, uint64_t vaddr, const char **name_out)
{
	static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};
	uint8_t code[4 + 6 + 1 + 6];
	int32_t displacement;
	size_t at = 0;

	if (elf_file_read(file, vaddr, code, sizeof(code)))
		return -ENOENT;
	if (memcmp(code, endbr64, sizeof(endbr64)) == 0)
		at = sizeof(endbr64);
	if (code[at] == 0x41 && code[at + 1] == 0xbb) /* mov r11d, number of the relocation: lld */
		at += 6;
	if (code[at] == 0xf2) /* bnd */
		at++;
	if (code[at] != 0xff || code[at + 1] != 0x25)
		return -ENOENT;
	memcpy(&displacement, code + at + 2, sizeof(displacement));
	return elf_file_slot_target(file, vaddr + at + 6 + (uint64_t)(int64_t)displacement, name_out);
}
