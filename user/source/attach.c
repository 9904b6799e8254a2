/* SPDX-License-Identifier: BSD-2-Clause */
/* Uprobe links, by uprobe_multi or by perf events. Owns no program; an attachment owns its fds. */
#include "source/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/bpf.h of 6.6; the distribution's headers are older. */
#define ATTACH_TYPE_UPROBE_MULTI 48

struct link_create_uprobe_multi {
	__u32 prog_fd;
	__u32 target_fd;
	__u32 attach_type;
	__u32 flags;
	__aligned_u64 path;
	__aligned_u64 offsets;
	__aligned_u64 ref_ctr_offsets;
	__aligned_u64 cookies;
	__u32 cnt;
	__u32 multi_flags;
	__u32 pid;
	__u32 padding;
};

static int link_create_multi(int program_fd, const char *path, const uint64_t *offsets, const uint64_t *cookies,
			     size_t count)
{
	struct link_create_uprobe_multi attr = {
		.prog_fd = program_fd,
		.attach_type = ATTACH_TYPE_UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)offsets,
		.cookies = (uintptr_t)cookies,
		.cnt = count,
	};
	int fd;

	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	return fd >= 0 ? fd : -errno;
}

int attach_expected_type(struct bpf_program *program)
{
	return bpf_program__set_expected_attach_type(program, ATTACH_TYPE_UPROBE_MULTI);
}

/* Loads a program that does nothing. */
static int load_empty(struct bpf_prog_load_opts *opts)
{
	const struct bpf_insn empty[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_KPROBE, "bufscope_detect", "GPL", empty, 2, opts);
}

int attach_can_sleep(bool *can)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_SLEEPABLE);
	int program = load_empty(&opts);

	*can = program >= 0;
	if (program < 0)
		return errno == EINVAL ? 0 : -errno;
	close(program);
	return 0;
}

int attach_detect(enum attach_method *method)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = ATTACH_TYPE_UPROBE_MULTI);
	uint64_t offset = 0;
	int program, err;

	*method = ATTACH_PERF;
	program = load_empty(&opts);
	if (program < 0)
		return errno == EINVAL ? 0 : -errno;
	/* "/" is no regular file: a kernel that knows uprobe_multi says EBADF, others EINVAL. */
	err = link_create_multi(program, "/", &offset, NULL, 1);
	if (err == -EBADF)
		*method = ATTACH_MULTI;
	else if (err >= 0)
		close(err);
	close(program);
	return 0;
}

static int perf_type(const char *name)
{
	char path[96], text[16] = "";
	int fd, value;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/event_source/devices/%s/type", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	value = n > 0 ? atoi(text) : -EINVAL;
	close(fd);
	return value;
}

static int open_perf_uprobe(int type, const char *path, uint64_t offset)
{
	struct perf_event_attr attr = {
		.type = type,
		.size = sizeof(attr),
		.config1 = (uintptr_t)path,
		.config2 = offset,
	};
	int event = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);

	return event >= 0 ? event : -errno;
}

int attach_perf_allowed(void)
{
	int event, type = perf_type("uprobe");

	if (type < 0)
		return type;
	/* "/" is no regular file, which is found out only after the permission. */
	event = open_perf_uprobe(type, "/", 0);
	if (event >= 0)
		close(event);
	return event == -EACCES || event == -EPERM ? event : 0;
}

/* One perf event with one BPF link on it. The link keeps the event alive. */
static int link_create_perf(int type, int program_fd, const char *path, const struct attach_site *site)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .perf_event.bpf_cookie = site->cookie);
	int event, link;

	event = open_perf_uprobe(type, path, site->offset);
	if (event < 0)
		return event;
	link = bpf_link_create(program_fd, event, BPF_PERF_EVENT, &opts);
	if (link >= 0 && ioctl(event, PERF_EVENT_IOC_ENABLE, 0)) {
		close(link);
		link = -errno;
	}
	close(event);
	return link;
}

static int attach_multi(int program_fd, const char *path, const struct attach_site *sites, size_t count,
			struct attachment *out)
{
	uint64_t offsets[ATTACH_MAX_SITES], cookies[ATTACH_MAX_SITES];
	int fd;

	for (size_t i = 0; i < count; i++) {
		offsets[i] = sites[i].offset;
		cookies[i] = sites[i].cookie;
	}
	fd = link_create_multi(program_fd, path, offsets, cookies, count);
	if (fd < 0)
		return fd;
	out->fds[out->count++] = fd;
	return 0;
}

int attach_program(enum attach_method method, const struct bpf_program *program, const char *path,
		   const struct attach_site *sites, size_t count, struct attachment *out)
{
	int fd, type, program_fd = bpf_program__fd(program);

	out->count = 0;
	if (!count || count > ATTACH_MAX_SITES)
		return -EINVAL;
	if (method == ATTACH_MULTI)
		return attach_multi(program_fd, path, sites, count, out);
	type = perf_type("uprobe");
	if (type < 0)
		return type;
	for (size_t i = 0; i < count; i++) {
		fd = link_create_perf(type, program_fd, path, &sites[i]);
		if (fd < 0) {
			attachment_close(out);
			return fd;
		}
		out->fds[out->count++] = fd;
	}
	return 0;
}

void attachment_close(struct attachment *attachment)
{
	for (size_t i = 0; i < attachment->count; i++)
		close(attachment->fds[i]);
	attachment->count = 0;
}
