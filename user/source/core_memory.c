/* SPDX-License-Identifier: BSD-2-Clause */
/* A core file as memory. Owns the core file and the list of regions made of it. */
#include "source/core_memory.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "elf/elf_file.h"
#include "source/core_file.h"

#define PF_FORKNOEXEC  0x00000040 /* include/linux/sched.h */
#define MAX_NOTE_BYTES 4096
#define MAX_BUILD_ID   64
#define MAX_HEADERS    64

struct core_memory {
	struct memory memory;
	struct core_file core;
	struct memory_region *regions; /* one a segment, and mapped files of which nothing was dumped */
	size_t region_count;
};

static struct core_memory *self(const struct memory *memory)
{
	return (struct core_memory *)(uintptr_t)memory;
}

static const struct core_mapping *mapping_at(const struct core_file *core, uint64_t address)
{
	size_t low = 0, high = core->mapping_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (core->mappings[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < core->mapping_count && core->mappings[low].start <= address ? &core->mappings[low] : NULL;
}

/* The segment that has @address, or the first behind it; segment_count if there is none. */
static size_t segment_from(const struct core_file *core, uint64_t address)
{
	size_t low = 0, high = core->segment_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (core->segments[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int region_by_start(const void *a, const void *b)
{
	const struct memory_region *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static struct memory_region make_region(const struct core_segment *segment, const struct core_mapping *mapping)
{
	struct memory_region region = {.start = segment->start,
				       .end = segment->end,
				       .readable = segment->flags & PF_R,
				       .writable = segment->flags & PF_W,
				       .executable = segment->flags & PF_X,
				       .path = mapping ? mapping->path : ""};

	if (mapping)
		region.offset = mapping->offset + (segment->start - mapping->start);
	/*
	 * A core does not say which mappings were shared. Device memory always is, and has a name;
	 * what else was shared has a file's name and is not dumped unless somebody asked for it.
	 */
	if (mapping && strncmp(mapping->path, "/dev/", 5) == 0)
		region.kind = MEMORY_KIND_DEVICE;
	region.shared = mapping && !segment->dumped;
	return region;
}

static int make_regions(struct core_memory *cm)
{
	const struct core_file *core = &cm->core;

	cm->regions = calloc(core->segment_count + core->mapping_count + 1, sizeof(*cm->regions));
	if (!cm->regions)
		return -ENOMEM;
	for (size_t i = 0; i < core->segment_count; i++)
		cm->regions[cm->region_count++] =
			make_region(&core->segments[i], mapping_at(core, core->segments[i].start));
	/* A debugger leaves out the segments of code, which is in the files; it may be any of these. */
	for (size_t i = 0; i < core->mapping_count; i++) {
		const struct core_mapping *mapping = &core->mappings[i];
		size_t index = segment_from(core, mapping->start);

		if (mapping->end > mapping->start &&
		    (index == core->segment_count || core->segments[index].start >= mapping->end))
			cm->regions[cm->region_count++] = (struct memory_region){.start = mapping->start,
										 .end = mapping->end,
										 .readable = true,
										 .executable = true,
										 .shared = true,
										 .path = mapping->path,
										 .offset = mapping->offset};
	}
	qsort(cm->regions, cm->region_count, sizeof(*cm->regions), region_by_start);
	return 0;
}

static int op_region(struct memory *memory, size_t index, struct memory_region *out)
{
	struct core_memory *cm = self(memory);

	if (index >= cm->region_count)
		return -ENOENT;
	*out = cm->regions[index];
	return 0;
}

static int op_read(struct memory *memory, uint64_t address, void *buf, size_t len)
{
	const struct core_file *core = &self(memory)->core;
	uint8_t *out = buf;

	while (len) {
		size_t index = segment_from(core, address), part;
		const struct core_segment *segment = &core->segments[index];

		if (index == core->segment_count || address < segment->start ||
		    address - segment->start >= segment->there)
			return -EFAULT;
		part = segment->there - (address - segment->start) < len
			       ? (size_t)(segment->there - (address - segment->start))
			       : len;
		if (pread(core->fd, out, part, (off_t)(segment->offset + (address - segment->start))) != (ssize_t)part)
			return -EFAULT;
		out += part;
		address += part;
		len -= part;
	}
	return 0;
}

static int op_read_many(struct memory *memory, struct memory_part *parts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		parts[i].ok = parts[i].len && op_read(memory, parts[i].address, parts[i].buf, parts[i].len) == 0;
	return 0;
}

/* The first run of the file that is no hole, in [from, end) of @segment. Untouched pages are holes. */
static bool find_data(const struct core_file *core, const struct core_segment *segment, uint64_t from, uint64_t end,
		      struct memory_run *run)
{
	uint64_t base = segment->offset - segment->start;
	off_t data = lseek(core->fd, (off_t)(from + base), SEEK_DATA), hole;

	if (data < 0 && errno != ENXIO) {
		*run = (struct memory_run){from, end}; /* a file system without holes */
		return true;
	}
	if (data < 0 || (uint64_t)data - base >= end)
		return false;
	hole = lseek(core->fd, data, SEEK_HOLE);
	run->start = ((uint64_t)data - base) & ~7ULL;
	if (run->start < from)
		run->start = from;
	run->end = hole < 0 || (uint64_t)hole - base > end ? end : (uint64_t)hole - base;
	return run->end > run->start;
}

static int op_present(struct memory *memory, uint64_t from, uint64_t to, struct memory_run *run,
		      uint64_t *missing_bytes)
{
	const struct core_file *core = &self(memory)->core;

	for (size_t i = segment_from(core, from); i < core->segment_count && core->segments[i].start < to; i++) {
		const struct core_segment *segment = &core->segments[i];
		uint64_t there = segment->start + segment->there;
		uint64_t start = from > segment->start ? from : segment->start;
		uint64_t end = to < segment->end ? to : segment->end;

		if (start < there && find_data(core, segment, start, there < end ? there : end, run))
			return 0;
		if (end > there && !segment->left_out)
			*missing_bytes += end - (start > there ? start : there);
	}
	return -ENOENT;
}

static int op_lineage(struct memory *memory, struct memory_lineage *out)
{
	const struct core_file *core = &self(memory)->core;

	*out = (struct memory_lineage){.known = core->info_known,
				       .forked = core->flags & PF_FORKNOEXEC,
				       .thread_count = core->thread_count ? core->thread_count - 1 : 0};
	return 0;
}

static int op_thread(struct memory *memory, size_t index, struct memory_thread *out)
{
	const struct core_file *core = &self(memory)->core;

	for (size_t i = 0; i < core->thread_count; i++) {
		if (core->threads[i].id == core->pid)
			continue;
		if (index-- > 0)
			continue;
		*out = (struct memory_thread){.id = core->threads[i].id,
					      .stack_pointer = core->threads[i].stack_pointer};
		return 0;
	}
	return -ENOENT;
}

static int op_shared(struct memory *memory, uint64_t address)
{
	(void)memory;
	(void)address;
	return -ENOTSUP;
}

static int op_ancestor_read(struct memory *memory, size_t index, uint64_t address, void *buf, size_t len)
{
	(void)memory;
	(void)index;
	(void)address;
	(void)buf;
	(void)len;
	return -ESRCH;
}

static void op_close(struct memory *memory)
{
	struct core_memory *cm = self(memory);

	core_file_close(&cm->core);
	free(cm->regions);
	free(cm);
}

static const struct memory_ops ops = {
	.region = op_region,
	.read = op_read,
	.read_many = op_read_many,
	.present = op_present,
	.lineage = op_lineage,
	.thread = op_thread,
	.shared_with_ancestor = op_shared,
	.ancestor_read = op_ancestor_read,
	.close = op_close,
};

int core_memory_open(const char *path, struct memory **out)
{
	struct core_memory *cm = calloc(1, sizeof(*cm));
	int err;

	*out = NULL;
	if (!cm)
		return -ENOMEM;
	cm->memory.ops = &ops;
	err = core_file_open(path, &cm->core);
	if (!err)
		err = make_regions(cm);
	if (err) {
		op_close(&cm->memory);
		return err;
	}
	*out = &cm->memory;
	return 0;
}

void core_memory_facts(const struct memory *memory, struct core_facts *out)
{
	const struct core_file *core = &self(memory)->core;

	*out = (struct core_facts){.pid = core->pid,
				   .signal = core->signal,
				   .user = core->user,
				   .command = core->command,
				   .left_out_bytes = core->left_out_bytes,
				   .cut_bytes = core->cut_bytes};
}

/* The build-id in a note segment of the library, as hex; false when it is not in it or was not dumped. */
static bool find_build_id(struct memory *memory, uint64_t notes, uint64_t len, char *hex)
{
	uint8_t data[MAX_NOTE_BYTES];
	size_t at = 0;

	if (len > sizeof(data))
		len = sizeof(data);
	if (op_read(memory, notes, data, len))
		return false;
	while (len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr header;
		size_t name;

		memcpy(&header, data + at, sizeof(header));
		at += sizeof(header);
		name = ((size_t)header.n_namesz + 3) & ~(size_t)3;
		if (name > len - at || header.n_descsz > len - at - name)
			return false;
		if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == 4 && memcmp(data + at, "GNU", 4) == 0 &&
		    header.n_descsz <= MAX_BUILD_ID) {
			for (size_t i = 0; i < header.n_descsz; i++)
				snprintf(hex + 2 * i, 3, "%02x", data[at + name + i]);
			return true;
		}
		at += name + (((size_t)header.n_descsz + 3) & ~(size_t)3);
		if (at > len)
			return false;
	}
	return false;
}

/* The build-id of the library that is mapped at @region, from its first page in the core. */
static bool build_id_in_core(struct core_memory *cm, const struct memory_region *region, char *hex)
{
	const struct core_mapping *first = NULL;
	Elf64_Ehdr header;

	for (size_t i = 0; i < cm->core.mapping_count && cm->core.mappings[i].start <= region->start; i++)
		if (cm->core.mappings[i].offset == 0 && strcmp(cm->core.mappings[i].path, region->path) == 0)
			first = &cm->core.mappings[i];
	if (!first || op_read(&cm->memory, first->start, &header, sizeof(header)) ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(Elf64_Phdr) ||
	    header.e_phnum > MAX_HEADERS)
		return false;
	for (size_t i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		if (op_read(&cm->memory, first->start + header.e_phoff + i * sizeof(segment), &segment,
			    sizeof(segment)))
			return false;
		if (segment.p_type == PT_NOTE &&
		    find_build_id(&cm->memory, first->start + segment.p_vaddr, segment.p_memsz, hex))
			return true;
	}
	return false;
}

/* Below @sysroot nothing leads out of it, whatever the path or a link says. */
static int open_below(const char *sysroot, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, .resolve = RESOLVE_IN_ROOT};
	int root, fd;

	if (!sysroot) {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		return fd >= 0 ? fd : -errno;
	}
	root = open(sysroot, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0)
		fd = -errno;
	close(root);
	return fd;
}

static bool has_build_id(int fd, const char *wanted)
{
	struct elf_file *file;
	bool same;

	if (elf_file_open(fd, "", &file))
		return false;
	same = strcmp(elf_file_build_id(file), wanted) == 0;
	elf_file_close(file);
	return same;
}

int core_memory_open_file(void *context, const struct memory_region *region)
{
	const struct core_files *files = context;
	char wanted[2 * MAX_BUILD_ID + 1] = "", by_id[2 * MAX_BUILD_ID + 32];
	bool known = build_id_in_core(self(files->memory), region, wanted);
	int fd = open_below(files->sysroot, region->path);

	if (fd >= 0 && known && !has_build_id(fd, wanted)) {
		close(fd);
		fd = -ENOENT;
	}
	/* a folder of files by their build-id, as debuggers keep it */
	if (fd < 0 && known && files->sysroot && strlen(wanted) > 2) {
		snprintf(by_id, sizeof(by_id), "/.build-id/%.2s/%s", wanted, wanted + 2);
		fd = open_below(files->sysroot, by_id);
		if (fd >= 0 && !has_build_id(fd, wanted)) {
			close(fd);
			fd = -ENOENT;
		}
	}
	return fd >= 0 ? fd : -ENOENT;
}
