/* SPDX-License-Identifier: BSD-2-Clause */
/* Headers and notes of a core file. Owns the descriptor and the lists. */
#include "source/core_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_NOTE_BYTES (64u << 20)
#define MAX_MAPPINGS   (1u << 20)
#define ZSTD_MAGIC     0xfd2fb528u

/* Offsets in the kernel's structs for x86-64: include/uapi/linux/elfcore.h, arch/x86/include/uapi/asm/ptrace.h */
#define PRSTATUS_BYTES  336
#define PRSTATUS_SIGNAL 12
#define PRSTATUS_PID    32
#define PRSTATUS_RSP    (112 + 19 * 8)
#define PRPSINFO_BYTES  136
#define PRPSINFO_FLAGS  8
#define PRPSINFO_USER   16
#define PRPSINFO_PID    24
#define PRPSINFO_ARGS   56

static int read_at(const struct core_file *core, uint64_t offset, void *buf, size_t len)
{
	if (offset > core->size || len > core->size - offset)
		return -EINVAL;
	return pread(core->fd, buf, len, (off_t)offset) == (ssize_t)len ? 0 : -EIO;
}

static int by_start(const void *a, const void *b)
{
	const struct core_segment *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int mapping_by_start(const void *a, const void *b)
{
	const struct core_mapping *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void add_segment(struct core_file *core, const Elf64_Phdr *header)
{
	struct core_segment *segment = &core->segments[core->segment_count];
	uint64_t left = header->p_offset < core->size ? core->size - header->p_offset : 0;

	if (!header->p_memsz || header->p_vaddr + header->p_memsz < header->p_vaddr)
		return;
	*segment = (struct core_segment){.start = header->p_vaddr,
					 .end = header->p_vaddr + header->p_memsz,
					 .offset = header->p_offset,
					 .flags = header->p_flags};
	segment->dumped = header->p_filesz < header->p_memsz ? header->p_filesz : header->p_memsz;
	segment->there = segment->dumped < left ? segment->dumped : left;
	core->cut_bytes += segment->dumped - segment->there;
	core->segment_count++;
}

static uint64_t word(const uint8_t *data, size_t index)
{
	uint64_t value;

	memcpy(&value, data + index * 8, sizeof(value));
	return value;
}

/* NT_FILE: count, page size, then {start, end, offset in pages} each, then the names. */
static int read_mappings(struct core_file *core, const uint8_t *data, size_t len)
{
	const char *name, *end;
	uint64_t count, page;

	if (core->mappings || len < 16)
		return 0;
	count = word(data, 0);
	page = word(data, 1);
	if (count > MAX_MAPPINGS || 16 + count * 24 > len)
		return -EINVAL;
	core->strings = malloc(len + 1);
	core->mappings = calloc(count ? count : 1, sizeof(*core->mappings));
	if (!core->strings || !core->mappings)
		return -ENOMEM;
	memcpy(core->strings, data, len);
	core->strings[len] = 0;
	name = core->strings + 16 + count * 24;
	end = core->strings + len;
	for (uint64_t i = 0; i < count && name < end; i++) {
		struct core_mapping *mapping = &core->mappings[core->mapping_count++];

		*mapping = (struct core_mapping){.start = word(data, 2 + i * 3),
						 .end = word(data, 3 + i * 3),
						 .offset = word(data, 4 + i * 3) * page,
						 .path = name};
		name += strlen(name) + 1;
	}
	qsort(core->mappings, core->mapping_count, sizeof(*core->mappings), mapping_by_start);
	return 0;
}

static int add_thread(struct core_file *core, const uint8_t *data)
{
	struct core_thread *thread;
	uint16_t signal;

	if (core->thread_count == CORE_MAX_THREADS)
		return 0;
	if (core->thread_count % 64 == 0) {
		thread = realloc(core->threads, (core->thread_count + 64) * sizeof(*thread));
		if (!thread)
			return -ENOMEM;
		core->threads = thread;
	}
	thread = &core->threads[core->thread_count];
	memcpy(&thread->id, data + PRSTATUS_PID, sizeof(thread->id));
	memcpy(&thread->stack_pointer, data + PRSTATUS_RSP, sizeof(thread->stack_pointer));
	/* the first is the one that died */
	memcpy(&signal, data + PRSTATUS_SIGNAL, sizeof(signal));
	if (core->thread_count++ == 0)
		core->signal = signal;
	return 0;
}

static int on_note(struct core_file *core, uint32_t type, const uint8_t *data, size_t len)
{
	if (type == NT_FILE)
		return read_mappings(core, data, len);
	if (type == NT_PRSTATUS && len >= PRSTATUS_BYTES)
		return add_thread(core, data);
	if (type == NT_PRPSINFO && len >= PRPSINFO_BYTES && !core->info_known) {
		core->info_known = true;
		core->flags = word(data, PRPSINFO_FLAGS / 8);
		memcpy(&core->user, data + PRPSINFO_USER, sizeof(core->user));
		memcpy(&core->pid, data + PRPSINFO_PID, sizeof(core->pid));
		memcpy(core->command, data + PRPSINFO_ARGS, sizeof(core->command) - 1);
	}
	return 0;
}

static int read_notes(struct core_file *core, uint64_t offset, uint64_t len)
{
	uint8_t *data;
	size_t at = 0;
	int err;

	if (offset >= core->size)
		return 0;
	if (len > core->size - offset)
		len = core->size - offset;
	if (len > MAX_NOTE_BYTES)
		len = MAX_NOTE_BYTES;
	data = malloc(len ? len : 1);
	if (!data)
		return -ENOMEM;
	err = read_at(core, offset, data, len);
	while (!err && len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr header;
		size_t name, content;

		memcpy(&header, data + at, sizeof(header));
		at += sizeof(header);
		name = ((size_t)header.n_namesz + 3) & ~(size_t)3;
		content = ((size_t)header.n_descsz + 3) & ~(size_t)3;
		if (name > len - at || header.n_descsz > len - at - name)
			break;
		if (header.n_namesz == 5 && memcmp(data + at, "CORE", 5) == 0)
			err = on_note(core, header.n_type, data + at + name, header.n_descsz);
		if (content > len - at - name)
			break;
		at += name + content;
	}
	free(data);
	return err;
}

/* More segments than the header's field holds: then the first section header says how many. */
static int count_segments(struct core_file *core, const Elf64_Ehdr *header, uint64_t *count)
{
	Elf64_Shdr section;
	int err;

	*count = header->e_phnum;
	if (header->e_phnum != PN_XNUM)
		return 0;
	err = read_at(core, header->e_shoff, &section, sizeof(section));
	if (!err)
		*count = section.sh_info;
	return err;
}

static int read_segments(struct core_file *core, const Elf64_Ehdr *header)
{
	uint64_t count;
	int err = count_segments(core, header, &count);

	if (err)
		return err;
	if (header->e_phentsize != sizeof(Elf64_Phdr) || !count || count > CORE_MAX_SEGMENTS ||
	    header->e_phoff > core->size || count > (core->size - header->e_phoff) / sizeof(Elf64_Phdr))
		return -EINVAL;
	core->segments = calloc(count, sizeof(*core->segments));
	if (!core->segments)
		return -ENOMEM;
	for (uint64_t i = 0; i < count && !err; i++) {
		Elf64_Phdr segment;

		err = read_at(core, header->e_phoff + i * sizeof(segment), &segment, sizeof(segment));
		if (!err && segment.p_type == PT_NOTE)
			err = read_notes(core, segment.p_offset, segment.p_filesz);
		else if (!err && segment.p_type == PT_LOAD)
			add_segment(core, &segment);
	}
	qsort(core->segments, core->segment_count, sizeof(*core->segments), by_start);
	return err;
}

static int open_plain(const char *path, struct core_file *core)
{
	struct stat status;
	uint32_t magic = 0;
	int plain;

	core->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (core->fd < 0 || fstat(core->fd, &status))
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	core->size = (uint64_t)status.st_size;
	if (read_at(core, 0, &magic, sizeof(magic)))
		return -ENOEXEC;
	if (magic != ZSTD_MAGIC)
		return 0;
	plain = core_file_decompress(core->fd);
	if (plain < 0)
		return plain;
	close(core->fd);
	core->fd = plain;
	if (fstat(plain, &status))
		return -errno;
	core->size = (uint64_t)status.st_size;
	return 0;
}

static bool has_name(const struct core_file *core, uint64_t address)
{
	for (size_t i = 0; i < core->mapping_count && core->mappings[i].start <= address; i++)
		if (address < core->mappings[i].end)
			return true;
	return false;
}

/*
 * The kernel leaves out private memory that was never written to. That is not missing; but where no
 * private memory is in the core at all, not even a stack, somebody has set it to be left out.
 */
static void find_left_out(struct core_file *core)
{
	bool any = false;

	for (size_t i = 0; i < core->segment_count && !any; i++)
		any = (core->segments[i].flags & PF_W) && core->segments[i].dumped &&
		      !has_name(core, core->segments[i].start);
	for (size_t i = 0; i < core->segment_count && any; i++) {
		struct core_segment *segment = &core->segments[i];

		if (segment->dumped || !(segment->flags & PF_W) || has_name(core, segment->start))
			continue;
		segment->left_out = true;
		core->left_out_bytes += segment->end - segment->start;
	}
}

int core_file_open(const char *path, struct core_file *core)
{
	Elf64_Ehdr header;
	int err;

	memset(core, 0, sizeof(*core));
	core->fd = -1;
	err = open_plain(path, core);
	if (err)
		return err;
	if (read_at(core, 0, &header, sizeof(header)) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
	    header.e_type != ET_CORE)
		return -ENOEXEC;
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
	    header.e_machine != EM_X86_64)
		return -ENOTSUP;
	err = read_segments(core, &header);
	if (!err && !core->mappings)
		err = -ENODATA;
	if (!err)
		find_left_out(core);
	return err;
}

void core_file_close(struct core_file *core)
{
	if (core->fd >= 0)
		close(core->fd);
	free(core->segments);
	free(core->mappings);
	free(core->strings);
	free(core->threads);
	memset(core, 0, sizeof(*core));
	core->fd = -1;
}
