/* SPDX-License-Identifier: BSD-2-Clause */
/* /proc, read with suspicion. Knows no runtime and no BPF. */
#include "source/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/strbuf.h"

/* include/linux/sched.h */
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

static int proc_open(pid_t pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	return errno == ENOENT ? -ESRCH : -errno;
}

/* Appends a whole file of at most @limit bytes. */
static int proc_read(pid_t pid, const char *name, size_t limit, struct strbuf *out)
{
	char chunk[4096];
	ssize_t n;
	int fd;

	fd = proc_open(pid, name);
	if (fd < 0)
		return fd;
	while ((n = read(fd, chunk, sizeof(chunk))) > 0 && out->len < limit)
		strbuf_add(out, chunk, (size_t)n > limit - out->len ? limit - out->len : (size_t)n);
	n = n < 0 ? -errno : 0;
	close(fd);
	return n ? (int)n : strbuf_error(out);
}

static uint64_t tick_ns(void)
{
	long ticks = sysconf(_SC_CLK_TCK);

	return 1000000000ULL / (ticks > 0 ? (unsigned long)ticks : 100);
}

uint64_t procfs_start_ns(uint64_t exact_ns)
{
	return exact_ns - exact_ns % tick_ns();
}

int procfs_stat(pid_t pid, struct procfs_stat *out)
{
	struct strbuf text = STRBUF_INIT;
	unsigned long long start;
	unsigned int flags;
	const char *rest, *name;
	char state;
	int err;

	err = proc_read(pid, "stat", 4096, &text);
	if (err)
		goto out;
	/* The name may hold anything, parentheses too: fields count from the last one. */
	rest = strrchr(strbuf_str(&text), ')');
	if (!rest || sscanf(rest + 1, " %c %d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
			    &state, &out->parent, &flags, &start) != 4) {
		err = -EINVAL;
		goto out;
	}
	out->start_ns = start * tick_ns();
	name = strchr(strbuf_str(&text), '(');
	snprintf(out->name, sizeof(out->name), "%.*s", name ? (int)(rest - name - 1) : 0, name ? name + 1 : "");
	out->exiting = flags & PF_EXITING;
	out->kernel_thread = flags & PF_KTHREAD;
	out->zombie = state == 'Z' || state == 'X';
out:
	strbuf_fini(&text);
	return err;
}

uint64_t procfs_memory_bytes(pid_t pid)
{
	unsigned long long resident = 0, shared = 0;
	struct strbuf text = STRBUF_INIT;

	if (proc_read(pid, "statm", 256, &text) || sscanf(strbuf_str(&text), "%*u %llu %llu", &resident, &shared) != 2)
		resident = shared = 0;
	strbuf_fini(&text);
	return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool procfs_is_ending(pid_t pid)
{
	struct procfs_stat thread;
	struct dirent *entry;
	bool ending = true;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT;
	/* A thread's number opens its own files, too. */
	while (ending && (entry = readdir(dir)))
		ending = atoi(entry->d_name) <= 0 || procfs_stat(atoi(entry->d_name), &thread) || thread.exiting;
	closedir(dir);
	return ending;
}

int procfs_command(pid_t pid, struct strbuf *out)
{
	int err;

	err = proc_read(pid, "cmdline", PROCFS_MAX_COMMAND, out);
	if (!err && out->len && out->data[out->len - 1])
		strbuf_addc(out, 0);
	return err ? err : strbuf_error(out);
}

int procfs_user(pid_t pid, uint32_t *user)
{
	struct strbuf text = STRBUF_INIT;
	const char *line;
	int err;

	err = proc_read(pid, "status", 65536, &text);
	if (!err) {
		line = strstr(strbuf_str(&text), "\nUid:");
		if (!line || sscanf(line, " Uid: %" SCNu32, user) != 1)
			err = -EINVAL;
	}
	strbuf_fini(&text);
	return err;
}

int procfs_cgroup(pid_t pid, struct strbuf *out)
{
	struct strbuf text = STRBUF_INIT;
	const char *line, *path;
	int err;

	err = proc_read(pid, "cgroup", 65536, &text);
	if (err)
		goto out;
	line = strstr(strbuf_str(&text), "0::");
	if (line != strbuf_str(&text) && !(line && line[-1] == '\n'))
		line = strbuf_str(&text);
	path = strchr(line, '/');
	if (path)
		strbuf_add(out, path, strcspn(path, "\n"));
	err = strbuf_error(out);
out:
	strbuf_fini(&text);
	return err;
}

int procfs_refusal(pid_t pid, int err)
{
	return (err == -EPERM || err == -EACCES) && procfs_is_ending(pid) ? -ESRCH : err;
}

int procfs_may_look(pid_t pid)
{
	int fd = proc_open(pid, "mem");

	if (fd < 0)
		return procfs_refusal(pid, fd);
	close(fd);
	return 0;
}

bool procfs_parse_mapping(char *line, struct procfs_mapping *out)
{
	char permissions[5];
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %" SCNx32 ":%" SCNx32 " %" SCNu64 " %n", &out->start,
		   &out->end, permissions, &out->offset, &out->major, &out->minor, &out->inode, &path) != 7)
		return false;
	if (path <= 0 || !line[path] || !out->inode || out->end <= out->start)
		return false;
	out->path = line + path;
	return strlen(permissions) == 4 && permissions[2] == 'x';
}

int procfs_lines(const char *path, int (*visit)(void *context, char *line), void *context)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	FILE *file;

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	while (!err && (len = getline(&line, &size, file)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = 0;
		err = visit(context, line);
	}
	/* Otherwise the address space went away meanwhile, or there was no memory for a line. */
	if (!err && !feof(file))
		err = ferror(file) ? -ESRCH : -ENOMEM;
	free(line);
	fclose(file);
	return err;
}

/* Calls @visit for every line of the process's maps, until it returns something else than 0. */
static int walk_maps(pid_t pid, int (*visit)(void *context, char *line), void *context)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	return procfs_lines(path, visit, context);
}

struct mapping_visit {
	int (*visit)(void *context, const struct procfs_mapping *mapping);
	void *context;
};

static int visit_mapping(void *context, char *line)
{
	struct mapping_visit *visit = context;
	struct procfs_mapping mapping;

	return procfs_parse_mapping(line, &mapping) ? visit->visit(visit->context, &mapping) : 0;
}

int procfs_mappings(pid_t pid, int (*visit)(void *context, const struct procfs_mapping *mapping), void *context)
{
	struct mapping_visit mappings = {.visit = visit, .context = context};

	return walk_maps(pid, visit_mapping, &mappings);
}

struct address_visit {
	uint64_t address;
	struct procfs_mapping *out;
};

static int visit_address(void *context, char *line)
{
	struct procfs_mapping mapping = {0};
	struct address_visit *visit = context;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %" SCNx32 ":%" SCNx32 " %" SCNu64, &mapping.start,
		   &mapping.end, &mapping.offset, &mapping.major, &mapping.minor, &mapping.inode) != 6 ||
	    visit->address < mapping.start || visit->address >= mapping.end)
		return 0;
	*visit->out = mapping;
	return 1;
}

int procfs_mapping_at(pid_t pid, uint64_t address, struct procfs_mapping *out)
{
	struct address_visit visit = {.address = address, .out = out};
	int err;

	memset(out, 0, sizeof(*out));
	err = walk_maps(pid, visit_address, &visit);
	return err > 0 ? 0 : err ? err : -EFAULT;
}

int procfs_open_regular(const char *path)
{
	char link[48];
	struct stat st;
	int place, fd;

	/* First only a handle to it, which opens nothing; then that very file. */
	place = open(path, O_PATH | O_CLOEXEC);
	if (place < 0)
		return -errno;
	if (fstat(place, &st) || !S_ISREG(st.st_mode)) {
		close(place);
		return -EINVAL;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", place);
	/* Whoever holds a lease on the file would make us wait for it, 45 s as a rule. */
	fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = -errno;
	close(place);
	return fd;
}

int procfs_open_mapping(pid_t pid, const struct procfs_mapping *mapping)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, mapping->start, mapping->end);
	return procfs_open_regular(path);
}

int procfs_read_memory(pid_t pid, uint64_t address, void *buf, size_t len)
{
	struct iovec local = {.iov_base = buf, .iov_len = len};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)address, .iov_len = len};
	ssize_t n;

	n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}
