/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF files: see elf_file.h. The file is read with pread() and never mapped: whoever owns it may cut
 * it while we look, and that must be an error here, not a SIGBUS. Tables are read when first needed
 * and kept; the hash lookups read only the words they touch, because they are made for every
 * executable mapping of every followed process.
 *
 * What the dynamic linker uses (program headers, PT_DYNAMIC) comes first; section headers are only
 * asked for .symtab and for a build-id that no PT_NOTE covers. libelf is not used: it maps or reads
 * whole files and trusts more than is wanted here.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf/elf_file.h"
#include "elf/elf_file_internal.h"

#define MAX_PROGRAM_HEADERS 128
#define MAX_SECTIONS        4096
#define MAX_DYNAMIC         1024
#define MAX_TABLE_BYTES     (256u << 20)
#define MAX_NOTE_BYTES      65536

int elf_file_fail(struct elf_file *file, int err)
{
	if (!file->error)
		file->error = err;
	return err;
}

int elf_file_error(const struct elf_file *file)
{
	return file->error;
}

int elf_file_pread(struct elf_file *file, uint64_t offset, void *buf, size_t len)
{
	uint8_t *at = buf;

	if (offset > file->size || len > file->size - offset)
		return -EINVAL;
	while (len > 0) {
		ssize_t got = pread(file->fd, at, len, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return elf_file_fail(file, -errno);
		if (got == 0)
			return -EINVAL; /* cut since it was opened */
		at += got;
		offset += (uint64_t)got;
		len -= (size_t)got;
	}
	return 0;
}

int elf_file_load(struct elf_file *file, uint64_t offset, uint64_t len, struct elf_table *table)
{
	int err;

	if (table->data)
		return 0;
	if (len == 0)
		return -ENOENT;
	if (len > MAX_TABLE_BYTES || offset > file->size || len > file->size - offset)
		return -EINVAL;
	/* one byte more: a string table need not end in NUL */
	table->data = malloc((size_t)len + 1);
	if (!table->data)
		return elf_file_fail(file, -ENOMEM);
	err = elf_file_pread(file, offset, table->data, (size_t)len);
	if (err) {
		free(table->data);
		table->data = NULL;
		return err;
	}
	table->data[len] = 0;
	table->len = (size_t)len;
	return 0;
}

/* Bytes of the file from @vaddr to the end of its segment. */
static uint64_t segment_rest(const struct elf_file *file, uint64_t vaddr, uint64_t *offset)
{
	for (size_t i = 0; i < file->load_count; i++) {
		const struct elf_segment *load = &file->load[i];

		if (vaddr >= load->vaddr && vaddr - load->vaddr < load->file_size) {
			*offset = load->offset + (vaddr - load->vaddr);
			return load->file_size - (vaddr - load->vaddr);
		}
	}
	return 0;
}

int elf_file_offset(struct elf_file *file, uint64_t vaddr, uint64_t *offset)
{
	return segment_rest(file, vaddr, offset) ? 0 : -ERANGE;
}

int elf_file_vaddr(struct elf_file *file, uint64_t offset, uint64_t *vaddr)
{
	for (size_t i = 0; i < file->load_count; i++) {
		const struct elf_segment *load = &file->load[i];

		if (load->executable && offset >= load->offset && offset - load->offset < load->file_size) {
			*vaddr = load->vaddr + (offset - load->offset);
			return 0;
		}
	}
	return -ERANGE;
}

int elf_file_read(struct elf_file *file, uint64_t vaddr, void *buf, size_t len)
{
	uint64_t offset;

	if (segment_rest(file, vaddr, &offset) < len)
		return -ERANGE;
	return elf_file_pread(file, offset, buf, len);
}

int elf_file_load_vaddr(struct elf_file *file, uint64_t vaddr, uint64_t len, struct elf_table *table)
{
	uint64_t offset;

	if (table->data)
		return 0;
	if (len == 0)
		return -ENOENT;
	if (segment_rest(file, vaddr, &offset) < len)
		return -EINVAL;
	return elf_file_load(file, offset, len, table);
}

static int add_segment(struct elf_file *file, const Elf64_Phdr *ph)
{
	struct elf_segment *load = &file->load[file->load_count];

	if (ph->p_filesz == 0)
		return 0;
	if (ph->p_offset > file->size || ph->p_filesz > file->size - ph->p_offset ||
	    ph->p_vaddr > UINT64_MAX - ph->p_filesz)
		return -EINVAL;
	*load = (struct elf_segment){.vaddr = ph->p_vaddr,
				     .offset = ph->p_offset,
				     .file_size = ph->p_filesz,
				     .executable = ph->p_flags & PF_X};
	file->load_count++;
	return 0;
}

static void note_dynamic(struct elf_file *file, const Elf64_Dyn *entry)
{
	struct elf_dynamic *dyn = &file->dynamic;

	switch (entry->d_tag) {
	case DT_SYMTAB:
		dyn->symtab = entry->d_un.d_ptr;
		break;
	case DT_STRTAB:
		dyn->strtab = entry->d_un.d_ptr;
		break;
	case DT_STRSZ:
		dyn->strsz = entry->d_un.d_val;
		break;
	case DT_GNU_HASH:
		dyn->gnu_hash = entry->d_un.d_ptr;
		break;
	case DT_HASH:
		dyn->hash = entry->d_un.d_ptr;
		break;
	case DT_RELA:
		dyn->rela = entry->d_un.d_ptr;
		break;
	case DT_RELASZ:
		dyn->rela_size = entry->d_un.d_val;
		break;
	case DT_JMPREL:
		dyn->jmprel = entry->d_un.d_ptr;
		break;
	case DT_PLTRELSZ:
		dyn->jmprel_size = entry->d_un.d_val;
		break;
	default:
		break;
	}
}

static int read_dynamic(struct elf_file *file, const Elf64_Phdr *ph)
{
	size_t count = ph->p_filesz / sizeof(Elf64_Dyn);
	Elf64_Dyn *entries;
	int err;

	if (count > MAX_DYNAMIC)
		return -EINVAL;
	if (count == 0)
		return 0;
	entries = calloc(count, sizeof(*entries));
	if (!entries)
		return elf_file_fail(file, -ENOMEM);
	err = elf_file_pread(file, ph->p_offset, entries, count * sizeof(*entries));
	for (size_t i = 0; err == 0 && i < count && entries[i].d_tag != DT_NULL; i++)
		note_dynamic(file, &entries[i]);
	free(entries);
	return err;
}

static int read_program_headers(struct elf_file *file, const Elf64_Ehdr *eh)
{
	Elf64_Phdr ph[MAX_PROGRAM_HEADERS];
	int err = 0;

	if (eh->e_phnum == 0)
		return 0;
	if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phnum > MAX_PROGRAM_HEADERS)
		return -EINVAL;
	err = elf_file_pread(file, eh->e_phoff, ph, eh->e_phnum * sizeof(ph[0]));
	for (size_t i = 0; err == 0 && i < eh->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD)
			err = add_segment(file, &ph[i]);
		else if (ph[i].p_type == PT_DYNAMIC)
			err = read_dynamic(file, &ph[i]);
		else if (ph[i].p_type == PT_NOTE && file->note_count < ELF_MAX_NOTES)
			file->note[file->note_count++] = (struct elf_range){ph[i].p_offset, ph[i].p_filesz};
	}
	return err;
}

static int read_headers(struct elf_file *file)
{
	Elf64_Ehdr eh;
	int err;

	if (file->size < SELFMAG)
		return -ENOEXEC;
	if (file->size < sizeof(eh)) {
		err = elf_file_pread(file, 0, &eh, SELFMAG);
		if (err)
			return err;
		return memcmp(eh.e_ident, ELFMAG, SELFMAG) == 0 ? -EINVAL : -ENOEXEC;
	}
	err = elf_file_pread(file, 0, &eh, sizeof(eh));
	if (err)
		return err;
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0)
		return -ENOEXEC;
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB || eh.e_machine != EM_X86_64)
		return -ENOTSUP;
	file->section_offset = eh.e_shoff;
	file->section_count = eh.e_shentsize == sizeof(Elf64_Shdr) && eh.e_shnum <= MAX_SECTIONS ? eh.e_shnum : 0;
	return read_program_headers(file, &eh);
}

int elf_file_open(int fd, const char *name, struct elf_file **out)
{
	struct elf_file *file;
	struct stat st;
	int err;

	(void)name; /* errors go back to the caller, who knows the path and whether they matter */
	*out = NULL;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < 0)
		return -EINVAL;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->size = (uint64_t)st.st_size;
	file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	err = file->fd < 0 ? -errno : read_headers(file);
	if (err) {
		elf_file_close(file);
		return err;
	}
	*out = file;
	return 0;
}

void elf_file_close(struct elf_file *file)
{
	if (!file)
		return;
	free(file->dynsym.data);
	free(file->dynstr.data);
	free(file->symtab.data);
	free(file->strtab.data);
	free(file->rela.data);
	free(file->jmprel.data);
	free(file->sections);
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

int elf_file_sections(struct elf_file *file)
{
	Elf64_Shdr *sections;
	int err;

	if (file->sections)
		return 0;
	if (file->section_count == 0)
		return -ENOENT;
	sections = calloc(file->section_count, sizeof(*sections));
	if (!sections)
		return elf_file_fail(file, -ENOMEM);
	err = elf_file_pread(file, file->section_offset, sections, file->section_count * sizeof(*sections));
	if (err) {
		free(sections);
		return err;
	}
	file->sections = sections;
	return 0;
}

static bool build_id_from_note(struct elf_file *file, const uint8_t *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		size_t name_len, desc_len;

		memcpy(&note, data + at, sizeof(note));
		at += sizeof(note);
		name_len = ((size_t)note.n_namesz + 3) & ~(size_t)3;
		desc_len = ((size_t)note.n_descsz + 3) & ~(size_t)3;
		if (name_len > len - at || desc_len > len - at - name_len)
			return false;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(data + at, "GNU", 4) == 0 &&
		    note.n_descsz > 0 && note.n_descsz <= (sizeof(file->build_id) - 1) / 2) {
			const uint8_t *id = data + at + name_len;

			for (size_t i = 0; i < note.n_descsz; i++) {
				file->build_id[2 * i] = digits[id[i] >> 4];
				file->build_id[2 * i + 1] = digits[id[i] & 15];
			}
			return true;
		}
		at += name_len + desc_len;
	}
	return false;
}

static bool build_id_at(struct elf_file *file, uint64_t offset, uint64_t len)
{
	uint8_t *data;
	bool found = false;

	if (len == 0 || len > MAX_NOTE_BYTES)
		return false;
	data = malloc((size_t)len);
	if (!data)
		return false;
	if (elf_file_pread(file, offset, data, (size_t)len) == 0)
		found = build_id_from_note(file, data, (size_t)len);
	free(data);
	return found;
}

const char *elf_file_build_id(struct elf_file *file)
{
	if (file->build_id_known)
		return file->build_id;
	file->build_id_known = true;
	for (size_t i = 0; i < file->note_count; i++)
		if (build_id_at(file, file->note[i].offset, file->note[i].len))
			return file->build_id;
	if (elf_file_sections(file) == 0)
		for (size_t i = 0; i < file->section_count; i++)
			if (file->sections[i].sh_type == SHT_NOTE &&
			    build_id_at(file, file->sections[i].sh_offset, file->sections[i].sh_size))
				break;
	return file->build_id;
}
