/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Puts a BPF program on places in a file, in the fastest way the kernel has: one uprobe_multi link
 * (6.6 and newer; by the raw system call, as Debian 12's libbpf does not know it), else one perf
 * event and link per place. Both act on the file, so on every process that maps it, now or later.
 */
#ifndef BUFSCOPE_SOURCE_ATTACH_H
#define BUFSCOPE_SOURCE_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_program;

enum attach_method {
	ATTACH_PERF = 1,  /* detaching takes about 0.1 s a place, one after the other */
	ATTACH_MULTI = 2, /* about 20 ms for all of them */
};

struct attach_site {
	uint64_t offset; /* in the file */
	uint64_t cookie;
};

#define ATTACH_MAX_SITES 8

struct attachment {
	int fds[ATTACH_MAX_SITES]; /* of links; closing the last reference detaches */
	size_t count;
};

/*
 * Finds out what the kernel has by trying, not by version. A program that is to be attached with
 * ATTACH_MULTI must have attach_expected_type() set before it is loaded. 0 or -errno.
 */
int attach_detect(enum attach_method *method);
/* May this process use ATTACH_PERF? -EACCES on kernels that want CAP_SYS_ADMIN for it; else 0 or -errno. */
int attach_perf_allowed(void);
int attach_expected_type(struct bpf_program *program);
/* Whether a program on a uprobe may fault pages in (6.0), by trying. 0 or -errno. */
int attach_can_sleep(bool *can);

/*
 * Attaches to @path, in the order of @sites. On error nothing stays attached. 0, -EPERM, -ENOENT,
 * -EINVAL (the kernel refuses a place), -EMFILE, ...
 */
int attach_program(enum attach_method method, const struct bpf_program *program, const char *path,
		   const struct attach_site *sites, size_t count, struct attachment *out);
void attachment_close(struct attachment *attachment);

#endif
