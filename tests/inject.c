/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the n-th call of one kind fail in the first thread of the program it is preloaded into, and in
 * no child of it:
 *
 *	INJECT=KIND:N INJECT_LOG=FILE LD_PRELOAD=inject.so PROGRAM...
 *
 * KIND: malloc (and calloc, realloc), open, mmap, bpf, perf_event_open, epoll, read (and pread,
 * process_vm_readv). The log is made when the call has failed. N = 0: nothing fails; the log gets the
 * numbers of those calls that no earlier one was like. Alike are calls with the same @FRAMES innermost
 * frames that are the program's own: KIND:0:FRAMES.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_STACKS   8192
#define STACK_FRAMES 32

static struct {
	char kind[32];
	unsigned long at, count, frames;
	int log_fd;
	void *program; /* where it is loaded */
	pid_t pid;     /* 0: not yet */
	bool busy;     /* what we do ourselves does not count */
	uint64_t stacks[MAX_STACKS];
	size_t stack_count;
} inject = {.log_fd = -1};

static void note(void)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "%lu\n", inject.count);

	if (write(inject.log_fd, line, (size_t)len) != len)
		_exit(98);
}

static void note_new_stack(void)
{
	void *frames[STACK_FRAMES];
	int depth = backtrace(frames, STACK_FRAMES);
	uint64_t hash = 0;
	Dl_info info;

	for (unsigned long i = 0, own = 0; i < (unsigned long)depth && own < inject.frames; i++) {
		if (!dladdr(frames[i], &info) || info.dli_fbase != inject.program)
			continue;
		own++;
		hash = (hash ^ (uintptr_t)frames[i]) * 0x9e3779b97f4a7c15ull;
	}
	for (size_t i = 0; i < inject.stack_count; i++)
		if (inject.stacks[i] == hash)
			return;
	if (inject.stack_count < MAX_STACKS)
		inject.stacks[inject.stack_count++] = hash;
	note();
}

/* The disassembler writes to what it asked for without looking: nothing of ours could help it. */
static bool is_capstone(void *caller)
{
	Dl_info info;

	return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "libcapstone");
}

static bool fails(const char *kind, int error, void *caller)
{
	/* Other threads: the sanitizer's own start of a thread does not stand it. */
	if (!inject.pid || inject.busy || strcmp(kind, inject.kind) || gettid() != inject.pid)
		return false;
	if (is_capstone(caller))
		return false;
	inject.busy = true;
	inject.count++;
	if (!inject.at)
		note_new_stack();
	else if (inject.count == inject.at)
		note();
	inject.busy = false;
	if (!inject.at || inject.count != inject.at)
		return false;
	errno = error;
	return true;
}

__attribute__((constructor)) static void start(void)
{
	const char *what = getenv("INJECT"), *log = getenv("INJECT_LOG");
	Dl_info info;
	void *frame;

	if (!what || !log || sscanf(what, "%31[^:]:%lu:%lu", inject.kind, &inject.at, &inject.frames) < 2)
		return;
	inject.log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (inject.log_fd < 0)
		_exit(98);
	backtrace(&frame, 1); /* loads what it needs */
	if (dladdr((void *)getauxval(AT_ENTRY), &info))
		inject.program = info.dli_fbase;
	unsetenv("LD_PRELOAD");
	unsetenv("INJECT");
	inject.pid = getpid();
}

#define REAL(name)                     \
	static __typeof__(&name) real; \
	if (!real)                     \
	real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
	REAL(malloc);
	return fails("malloc", ENOMEM, CALLER) ? NULL : real(size);
}

void *realloc(void *old, size_t size)
{
	REAL(realloc);
	return fails("malloc", ENOMEM, CALLER) ? NULL : real(old, size);
}

/* dlsym() may ask for memory itself. */
void *calloc(size_t count, size_t size)
{
	static char early[4096];
	static size_t used;
	static bool looking;
	static __typeof__(&calloc) real;

	if (!real && !looking) {
		looking = true;
		real = (__typeof__(&calloc))dlsym(RTLD_NEXT, "calloc");
	}
	if (!real) {
		used += (count * size + 15) & ~(size_t)15;
		return used <= sizeof(early) ? early + used - ((count * size + 15) & ~(size_t)15) : NULL;
	}
	return fails("malloc", ENOMEM, CALLER) ? NULL : real(count, size);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	REAL(open);
	va_start(ap, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return fails("open", EMFILE, CALLER) ? -1 : real(path, flags, mode);
}

/* What is built for large files calls it so; on x86-64 they are the same. */
int open64(const char *path, int flags, ...) __attribute__((alias("open")));

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
	REAL(mmap);
	return fails("mmap", ENOMEM, CALLER) ? MAP_FAILED : real(address, len, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t len, int protection, int flags, int fd, off_t offset) __attribute__((alias("mmap")));

long syscall(long number, ...)
{
	long a[6];
	va_list ap;

	REAL(syscall);
	va_start(ap, number);
	for (size_t i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_bpf && fails("bpf", ENOMEM, CALLER))
		return -1;
	if (number == SYS_perf_event_open && fails("perf_event_open", EMFILE, CALLER))
		return -1;
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int epoll_create1(int flags)
{
	REAL(epoll_create1);
	return fails("epoll", EMFILE, CALLER) ? -1 : real(flags);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	REAL(epoll_ctl);
	return fails("epoll", ENOSPC, CALLER) ? -1 : real(epoll, what, fd, event);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
	REAL(epoll_wait);
	return fails("epoll", EINTR, CALLER) ? -1 : real(epoll, events, max, timeout);
}

ssize_t read(int fd, void *buf, size_t len)
{
	REAL(read);
	return fails("read", EIO, CALLER) ? -1 : real(fd, buf, len);
}

ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	REAL(pread);
	return fails("read", EIO, CALLER) ? -1 : real(fd, buf, len, offset);
}

ssize_t pread64(int fd, void *buf, size_t len, off_t offset) __attribute__((alias("pread")));

ssize_t process_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals, const struct iovec *remote,
			 unsigned long remotes, unsigned long flags)
{
	REAL(process_vm_readv);
	return fails("read", EFAULT, CALLER) ? -1 : real(pid, local, locals, remote, remotes, flags);
}
