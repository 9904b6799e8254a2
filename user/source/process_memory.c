/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /proc/PID/mem, seen through /proc/PID/pagemap so that nothing is faulted in. Knows no runtime.
 * Owns its descriptors, the list of mappings and a small cache of what pagemap said.
 */
#include "source/process_memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "source/page_runs.h"

#define PAGE          4096ULL
#define MAX_REGIONS   (1u << 20)
#define MAX_THREADS   65536
#define MAX_ANCESTORS 16
#define BULK_BYTES    65536 /* reads of this size ask pagemap anew */
#define WINDOW_PAGES  64
#define WINDOWS       256

/* include/linux/sched.h: forked but did not exec. Cleared by exec only. */
#define PF_FORKNOEXEC 0x00000040

#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_FILE    (1ULL << 61)
#define PAGEMAP_PFN     ((1ULL << 55) - 1)

struct page_window {
	uint64_t first; /* page number, a multiple of WINDOW_PAGES; UINT64_MAX: empty */
	uint64_t entry[WINDOW_PAGES];
};

struct process_memory {
	struct memory memory;
	pid_t pid;
	int mem_fd, pagemap_fd;
	struct memory_region *regions;
	size_t region_count, region_room;
	struct strbuf paths; /* region.path is an offset into this until all are read */
	pid_t *threads;
	size_t thread_count;
	bool lineage_known, forked, parent_alive;
	struct ancestor {
		int pagemap_fd, mem_fd;
	} ancestors[MAX_ANCESTORS];
	size_t ancestor_count;
	bool ancestors_known;
	bool ancestors_complete; /* up to one that began with exec */
	struct page_runs *runs;
	struct page_window windows[WINDOWS];
};

static struct process_memory *self(struct memory *memory)
{
	return (struct process_memory *)memory;
}

static int open_proc(pid_t pid, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	return errno == ENOENT ? -ESRCH : -errno;
}

static FILE *open_proc_file(pid_t pid, const char *name, int *err)
{
	int fd = open_proc(pid, name);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	*err = fd < 0 ? fd : file ? 0 : -ENOMEM;
	if (fd >= 0 && !file)
		close(fd);
	return file;
}

static enum memory_kind kind_of(const char *path)
{
	if (strncmp(path, "/dev/hugepages", 14) == 0 || strncmp(path, "/anon_hugepage", 14) == 0)
		return MEMORY_KIND_HUGE;
	if (strncmp(path, "/dev/", 5) == 0 && strncmp(path, "/dev/shm/", 9) != 0 && strncmp(path, "/dev/zero", 9) != 0)
		return MEMORY_KIND_DEVICE;
	if (strncmp(path, "[v", 2) == 0)
		return MEMORY_KIND_SPECIAL;
	return MEMORY_KIND_ORDINARY;
}

static int add_region(struct process_memory *pm, const char *line)
{
	struct memory_region region = {0};
	char permissions[5];
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*x:%*x %*u %n", &region.start, &region.end,
		   permissions, &region.offset, &path) != 4 ||
	    strlen(permissions) != 4 || path <= 0 || region.end <= region.start)
		return 0;
	if (pm->region_count == MAX_REGIONS)
		return -E2BIG;
	if (pm->region_count == pm->region_room) {
		size_t room = pm->region_room ? pm->region_room * 2 : 256;
		struct memory_region *grown = realloc(pm->regions, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		pm->regions = grown;
		pm->region_room = room;
	}
	region.readable = permissions[0] == 'r';
	region.writable = permissions[1] == 'w';
	region.executable = permissions[2] == 'x';
	region.shared = permissions[3] == 's';
	region.kind = kind_of(line + path);
	region.path = (const char *)(uintptr_t)pm->paths.len;
	strbuf_add(&pm->paths, line + path, strlen(line + path) + 1);
	pm->regions[pm->region_count++] = region;
	return strbuf_error(&pm->paths);
}

static int read_regions(struct process_memory *pm)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	int err;
	FILE *file = open_proc_file(pm->pid, "maps", &err);

	if (!file)
		return err;
	while (!err && (len = getline(&line, &size, file)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = 0;
		err = add_region(pm, line);
	}
	if (!err && ferror(file))
		err = -ESRCH;
	free(line);
	fclose(file);
	for (size_t i = 0; i < pm->region_count; i++)
		pm->regions[i].path = pm->paths.data + (uintptr_t)pm->regions[i].path;
	return err;
}

struct stat_facts {
	pid_t parent;
	unsigned int flags;
	uint64_t code, stack; /* where exec has put them: the same in a copy made by fork */
};

static int read_stat(pid_t pid, struct stat_facts *out)
{
	char text[1024];
	const char *rest;
	ssize_t n;
	int fd = open_proc(pid, "stat");

	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = 0;
	/* the name may hold anything, parentheses too: fields count from the last one */
	rest = strrchr(text, ')');
	if (!rest ||
	    sscanf(rest + 1,
		   " %*c %d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %*u %*d %*u "
		   "%" SCNu64 " %*u %" SCNu64,
		   &out->parent, &out->flags, &out->code, &out->stack) != 4)
		return -EINVAL;
	return 0;
}

/* Was @pid forked from the process that is its parent now? Otherwise that one has died. */
static bool is_copy_of_parent(const struct stat_facts *child)
{
	struct stat_facts parent;

	return child->parent > 1 && read_stat(child->parent, &parent) == 0 && child->stack > 1 &&
	       parent.stack == child->stack && parent.code == child->code;
}

static int read_threads(struct process_memory *pm)
{
	char path[64];
	struct dirent *entry;
	size_t room = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pm->pid);
	dir = opendir(path);
	if (!dir)
		return -ESRCH;
	while ((entry = readdir(dir)) && pm->thread_count < MAX_THREADS) {
		pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);

		if (thread <= 0 || thread == pm->pid)
			continue;
		if (pm->thread_count == room) {
			pid_t *grown = realloc(pm->threads, (room = room ? room * 2 : 64) * sizeof(*grown));

			if (!grown) {
				closedir(dir);
				return -ENOMEM;
			}
			pm->threads = grown;
		}
		pm->threads[pm->thread_count++] = thread;
	}
	closedir(dir);
	return 0;
}

static int op_region(struct memory *memory, size_t index, struct memory_region *out)
{
	struct process_memory *pm = self(memory);

	if (index >= pm->region_count)
		return -ENOENT;
	*out = pm->regions[index];
	return 0;
}

static bool fill_window(struct process_memory *pm, struct page_window *window, uint64_t first)
{
	ssize_t n = pread(pm->pagemap_fd, window->entry, sizeof(window->entry), (off_t)(first * 8));

	if (n < 0)
		n = 0;
	memset((uint8_t *)window->entry + n, 0, sizeof(window->entry) - (size_t)n);
	window->first = first;
	return n > 0;
}

/* A page that was seen is believed to be still there; one that was not is asked for again. */
static bool is_present(struct process_memory *pm, uint64_t address, size_t len, bool anew)
{
	uint64_t last = (address + len - 1) / PAGE;

	for (uint64_t page = address / PAGE; page <= last; page++) {
		uint64_t first = page / WINDOW_PAGES * WINDOW_PAGES;
		struct page_window *window = &pm->windows[page / WINDOW_PAGES % WINDOWS];
		bool filled = false;

		if (window->first != first || (anew && (page == first || page == address / PAGE)))
			filled = fill_window(pm, window, first);
		if (!(window->entry[page - first] & PAGEMAP_PRESENT) && !filled)
			fill_window(pm, window, first);
		if (!(window->entry[page - first] & PAGEMAP_PRESENT))
			return false;
	}
	return true;
}

static int op_read(struct memory *memory, uint64_t address, void *buf, size_t len)
{
	struct process_memory *pm = self(memory);
	ssize_t n;

	if (!len)
		return 0;
	if (address + len < address || address + len > INT64_MAX || !is_present(pm, address, len, len >= BULK_BYTES))
		return -EFAULT;
	n = pread(pm->mem_fd, buf, len, (off_t)address);
	if (n == 0)
		return -ESRCH; /* the address space is gone */
	return n == (ssize_t)len ? 0 : -EFAULT;
}

/* Reads parts[0..count), which are all believed to be there. Returns how many were tried. */
static int read_parts(struct process_memory *pm, struct memory_part **parts, size_t count)
{
	struct iovec local[IOV_MAX], remote[IOV_MAX];
	size_t done = 0;

	while (done < count) {
		ssize_t n;

		for (size_t i = done; i < count; i++) {
			local[i] = (struct iovec){parts[i]->buf, parts[i]->len};
			remote[i] = (struct iovec){(void *)(uintptr_t)parts[i]->address, parts[i]->len};
		}
		n = process_vm_readv(pm->pid, local + done, count - done, remote + done, count - done, 0);
		if (n < 0 && errno == ESRCH)
			return -ESRCH;
		/* it stops at the first that cannot be read, and says only how many bytes came before */
		while (done < count && n >= (ssize_t)parts[done]->len) {
			n -= parts[done]->len;
			parts[done++]->ok = true;
		}
		if (done < count)
			done++;
	}
	return 0;
}

static int op_read_many(struct memory *memory, struct memory_part *parts, size_t count)
{
	struct process_memory *pm = self(memory);
	struct memory_part *here[IOV_MAX];
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		struct memory_part *part = &parts[i];

		part->ok = false;
		if (!part->len || part->address + part->len < part->address ||
		    !is_present(pm, part->address, part->len, false))
			continue;
		here[n++] = part;
		if (n == IOV_MAX) {
			err = read_parts(pm, here, n);
			n = 0;
		}
	}
	return err || !n ? err : read_parts(pm, here, n);
}

static int op_present(struct memory *memory, uint64_t from, uint64_t to, struct memory_run *run,
		      uint64_t *missing_bytes)
{
	return page_runs_next(self(memory)->runs, from, to, run, missing_bytes);
}

static int op_lineage(struct memory *memory, struct memory_lineage *out)
{
	struct process_memory *pm = self(memory);

	*out = (struct memory_lineage){.known = pm->lineage_known,
				       .forked = pm->forked,
				       .parent_alive = pm->parent_alive,
				       .thread_count = pm->thread_count};
	return 0;
}

/* /proc/PID/task/TID/syscall: "running", or the number, arguments, then stack pointer and program counter. */
static int op_thread(struct memory *memory, size_t index, struct memory_thread *out)
{
	struct process_memory *pm = self(memory);
	char name[64], text[512], *word, *save = NULL;
	uint64_t before = 0, last = 0;
	int fd, words = 0;
	ssize_t n;

	if (index >= pm->thread_count)
		return -ENOENT;
	snprintf(name, sizeof(name), "task/%d/syscall", pm->threads[index]);
	fd = open_proc(pm->pid, name);
	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = 0;
	for (word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save), words++) {
		before = last;
		last = strtoull(word, NULL, 16);
	}
	if (words < 3)
		return -EBUSY;
	*out = (struct memory_thread){.id = pm->threads[index], .stack_pointer = before};
	return 0;
}

/* The processes this one was copied from, one after the other; beyond an exec there is nothing to inherit. */
static void open_ancestors(struct process_memory *pm)
{
	struct stat_facts facts;
	pid_t pid = pm->pid;

	pm->ancestors_known = true;
	while (pm->ancestor_count < MAX_ANCESTORS && read_stat(pid, &facts) == 0) {
		struct ancestor *ancestor = &pm->ancestors[pm->ancestor_count];

		if (!(facts.flags & PF_FORKNOEXEC)) {
			pm->ancestors_complete = true;
			return;
		}
		if (!is_copy_of_parent(&facts))
			return;
		ancestor->pagemap_fd = open_proc(facts.parent, "pagemap");
		if (ancestor->pagemap_fd < 0)
			return;
		ancestor->mem_fd = open_proc(facts.parent, "mem"); /* without it, only its values are not known */
		pm->ancestor_count++;
		pid = facts.parent;
	}
}

static bool is_present_in(const struct ancestor *ancestor, uint64_t address, size_t len)
{
	uint64_t entry;

	for (uint64_t page = address / PAGE; page <= (address + len - 1) / PAGE; page++) {
		if (pread(ancestor->pagemap_fd, &entry, 8, (off_t)(page * 8)) != 8 || !(entry & PAGEMAP_PRESENT))
			return false;
	}
	return true;
}

static int op_ancestor_read(struct memory *memory, size_t index, uint64_t address, void *buf, size_t len)
{
	struct process_memory *pm = self(memory);
	const struct ancestor *ancestor;

	if (!pm->ancestors_known)
		open_ancestors(pm);
	if (index >= pm->ancestor_count)
		return pm->ancestors_complete ? -ENOENT : -ESRCH;
	ancestor = &pm->ancestors[index];
	if (ancestor->mem_fd < 0 || !is_present_in(ancestor, address, len) ||
	    pread(ancestor->mem_fd, buf, len, (off_t)address) != (ssize_t)len)
		return -EFAULT;
	return 0;
}

static int op_shared(struct memory *memory, uint64_t address)
{
	struct process_memory *pm = self(memory);
	off_t at = (off_t)(address / PAGE * 8);
	uint64_t ours, theirs;

	if (!pm->ancestors_known)
		open_ancestors(pm);
	if (pread(pm->pagemap_fd, &ours, 8, at) != 8 || !(ours & PAGEMAP_PRESENT))
		return -EFAULT;
	if (!(ours & PAGEMAP_PFN))
		return -EPERM; /* page numbers are for CAP_SYS_ADMIN */
	if (ours & PAGEMAP_FILE)
		return -EINVAL;
	for (size_t i = 0; i < pm->ancestor_count; i++)
		if (pread(pm->ancestors[i].pagemap_fd, &theirs, 8, at) == 8 && (theirs & PAGEMAP_PRESENT) &&
		    (theirs & PAGEMAP_PFN) == (ours & PAGEMAP_PFN))
			return 1;
	return 0;
}

static void op_close(struct memory *memory)
{
	struct process_memory *pm = self(memory);

	for (size_t i = 0; i < pm->ancestor_count; i++) {
		close(pm->ancestors[i].pagemap_fd);
		if (pm->ancestors[i].mem_fd >= 0)
			close(pm->ancestors[i].mem_fd);
	}
	if (pm->mem_fd >= 0)
		close(pm->mem_fd);
	page_runs_free(pm->runs);
	if (pm->pagemap_fd >= 0)
		close(pm->pagemap_fd);
	free(pm->regions);
	free(pm->threads);
	strbuf_fini(&pm->paths);
	free(pm);
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

int process_memory_open(pid_t pid, struct memory **out)
{
	struct process_memory *pm = calloc(1, sizeof(*pm));
	struct stat_facts facts;
	int err;

	*out = NULL;
	if (!pm)
		return -ENOMEM;
	pm->memory.ops = &ops;
	pm->memory.live = true;
	pm->pid = pid;
	pm->pagemap_fd = -1;
	for (size_t i = 0; i < WINDOWS; i++)
		pm->windows[i].first = UINT64_MAX;
	pm->mem_fd = open_proc(pid, "mem");
	err = pm->mem_fd < 0 ? pm->mem_fd : 0;
	if (!err) {
		pm->pagemap_fd = open_proc(pid, "pagemap");
		err = pm->pagemap_fd < 0 ? pm->pagemap_fd : page_runs_new(pm->pagemap_fd, &pm->runs);
	}
	if (!err)
		err = read_regions(pm);
	if (!err)
		err = read_threads(pm);
	if (err) {
		op_close(&pm->memory);
		return err;
	}
	pm->lineage_known = read_stat(pid, &facts) == 0;
	pm->forked = pm->lineage_known && (facts.flags & PF_FORKNOEXEC);
	pm->parent_alive = pm->forked && is_copy_of_parent(&facts);
	*out = &pm->memory;
	return 0;
}
