/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What /proc tells of a process. A process may end at any moment and everything it names is its own
 * choice: all answers are copies, bounded, and -ESRCH is an ordinary result.
 */
#ifndef BUFSCOPE_SOURCE_PROCFS_H
#define BUFSCOPE_SOURCE_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct strbuf;

#define PROCFS_MAX_COMMAND 65536 /* bytes of a command line that are kept */

struct procfs_stat {
	uint64_t start_ns; /* CLOCK_BOOTTIME, in steps of a clock tick (10 ms) */
	pid_t parent;      /* 0: none */
	bool kernel_thread;
	char name[16]; /* the kernel's, cut off */
	bool exiting;  /* this thread is on its way out */
	bool zombie;   /* the leader is a zombie; other threads may run */
};

/* The start time that /proc shows for a process that the kernel started at @exact_ns. */
uint64_t procfs_start_ns(uint64_t exact_ns);
/* 0, -ESRCH, -EINVAL. */
int procfs_stat(pid_t pid, struct procfs_stat *out);
/* All its threads are on their way out: none of them runs in user mode again. Also when it is gone. */
bool procfs_is_ending(pid_t pid);
/* argv, each argument NUL-terminated, cut off at PROCFS_MAX_COMMAND. 0, -ESRCH. Empty for kernel threads and zombies. */
int procfs_command(pid_t pid, struct strbuf *out);
/*
 * What it means that a look at the process gave @err: once a process has let go of its memory, its files in
 * /proc are root's, whose it ever was. Then it is -ESRCH that the others get; otherwise @err.
 */
int procfs_refusal(pid_t pid, int err);
/* Would the kernel let us look into its memory and mappings? 0, -EACCES, -ESRCH. */
int procfs_may_look(pid_t pid);
/* Its memory that is no file's, as far as it is present; 0 when it is gone. */
uint64_t procfs_memory_bytes(pid_t pid);
/* Real uid. 0, -ESRCH. */
int procfs_user(pid_t pid, uint32_t *user);
/* The path in the v2 hierarchy, or in the first one there is. 0, -ESRCH. */
int procfs_cgroup(pid_t pid, struct strbuf *out);

/* One executable mapping of a file. */
struct procfs_mapping {
	uint64_t start, end, offset;
	uint64_t inode; /* never 0 */
	uint32_t major, minor;
	const char *path; /* as the kernel shows it: may end in " (deleted)", may be anything */
};

/*
 * Calls @visit for every executable file mapping. A non-zero return ends the walk and is returned.
 * 0, -ESRCH, -EACCES, -ENOMEM.
 */
int procfs_mappings(pid_t pid, int (*visit)(void *context, const struct procfs_mapping *mapping), void *context);

/* The mapping that holds @address, of any kind (no path; inode 0: of no file). 0, -EFAULT, -ESRCH, -EACCES, -ENOMEM. */
int procfs_mapping_at(pid_t pid, uint64_t address, struct procfs_mapping *out);

/* Splits one line of /proc/PID/maps (without newline; is changed). False: not an executable file mapping, or malformed. */
bool procfs_parse_mapping(char *line, struct procfs_mapping *out);

/*
 * Calls @visit for every line of a process's file, without newline, until it returns something else than 0,
 * which is returned. 0, -ESRCH (also: it went away meanwhile), -EACCES, -ENOMEM.
 */
int procfs_lines(const char *path, int (*visit)(void *context, char *line), void *context);

/*
 * Opens a file for reading if it is a regular one: opening a FIFO would block, opening a device may do
 * anything. A descriptor or -errno; -EINVAL for other kinds, -EAGAIN: somebody holds a lease on it.
 */
int procfs_open_regular(const char *path);

/* Opens the file behind a mapping, also when it was deleted or is in another mount namespace. A descriptor or -errno. */
int procfs_open_mapping(pid_t pid, const struct procfs_mapping *mapping);

/* Reads @len bytes of the process's memory. 0, -ESRCH, -EPERM, -EFAULT (not all of it is there). */
int procfs_read_memory(pid_t pid, uint64_t address, void *buf, size_t len);

#endif
