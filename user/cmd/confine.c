/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capabilities by libcap-ng, system calls by libseccomp.
 *
 * The filter is a list of what is refused, not of what is allowed. What libc, the decompressor and the
 * loader of a message catalogue call differs between their versions, and a call that is missing in a list
 * of allowed ones would break a report on a machine that nobody tried. What an attacker needs to get out
 * is a short and known list. A refused call fails with EPERM: the report is still written.
 */
#include "cmd/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/options.h"
#include "source/privilege.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- capabilities ---- */

static unsigned long long kept(const struct options *options, enum confine_task task)
{
	/* CAP_SYS_ADMIN is more than perf links: only it sees whose pages a forked child's are (census). */
	unsigned long long mask = PRIVILEGE_OTHERS | PRIVILEGE(CAP_CHECKPOINT_RESTORE) | PRIVILEGE(CAP_SYS_ADMIN);

	/* CAP_KILL: signals are passed on to a command that runs as another user. */
	if (task != CONFINE_CENSUS)
		mask |= PRIVILEGE_TRACE;
	if (task == CONFINE_TRACER)
		mask |= PRIVILEGE(CAP_KILL);
	/* A report, and snapshots beside it, may have to be made in a folder of the user who called sudo. */
	if (options->output && strcmp(options->output, "-") && !options->adopt)
		mask |= PRIVILEGE(CAP_DAC_OVERRIDE);
	return mask;
}

static int drop_capabilities(unsigned long long keep)
{
	bool bounding;

	if (capng_get_caps_process())
		return -errno;
	/* Without CAP_SETPCAP there is no way to; without exec nothing comes from there either. */
	bounding = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++) {
		bool stays = keep & PRIVILEGE(i) && capng_have_capability(CAPNG_PERMITTED, i);

		capng_update(stays ? CAPNG_ADD : CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, i);
		capng_update(CAPNG_DROP, CAPNG_INHERITABLE | CAPNG_BOUNDING_SET | CAPNG_AMBIENT, i);
	}
	if (bounding && capng_apply(CAPNG_SELECT_BOUNDS))
		return -EPERM;
	return capng_apply(CAPNG_SELECT_CAPS) || capng_apply(CAPNG_SELECT_AMBIENT) ? -EPERM : 0;
}

/* ---- system calls ---- */

static const int refused[] = {
	/* becoming another program or another user */
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(setuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setreuid),
	SCMP_SYS(setregid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setresgid),
	SCMP_SYS(setfsuid),
	SCMP_SYS(setfsgid),
	SCMP_SYS(setgroups),
	/* other processes */
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(process_madvise),
	SCMP_SYS(process_mrelease),
	SCMP_SYS(tkill),
	SCMP_SYS(rt_sigqueueinfo),
	SCMP_SYS(rt_tgsigqueueinfo),
	SCMP_SYS(pidfd_send_signal),
	SCMP_SYS(pidfd_getfd),
	/* the way out */
	SCMP_SYS(socket),
	SCMP_SYS(socketpair),
	SCMP_SYS(connect),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	/* the system */
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fspick),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(acct),
	SCMP_SYS(quotactl),
	SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(clock_adjtime),
	SCMP_SYS(ioperm),
	SCMP_SYS(iopl),
	SCMP_SYS(syslog),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	/* files that are not its own */
	SCMP_SYS(chmod),
	SCMP_SYS(fchmod),
	SCMP_SYS(fchmodat),
	SCMP_SYS(chown),
	SCMP_SYS(lchown),
	SCMP_SYS(fchown),
	SCMP_SYS(fchownat),
	SCMP_SYS(link),
	SCMP_SYS(linkat),
	SCMP_SYS(symlink),
	SCMP_SYS(symlinkat),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(rmdir),
	SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat),
	SCMP_SYS(mknod),
	SCMP_SYS(mknodat),
	SCMP_SYS(setxattr),
	SCMP_SYS(lsetxattr),
	SCMP_SYS(fsetxattr),
	SCMP_SYS(open_by_handle_at),
	/* doors into the kernel that nobody here uses */
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(userfaultfd),
};

/* Whatever else a value can be is refused. */
static const unsigned int signals_sent[] = {0, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGSTOP, SIGCONT};
static const unsigned int bpf_commands[] = {
	BPF_MAP_LOOKUP_ELEM,  BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM,    BPF_MAP_LOOKUP_AND_DELETE_ELEM,
	BPF_MAP_GET_NEXT_KEY, BPF_LINK_CREATE,     BPF_OBJ_GET_INFO_BY_FD,
};

static int refuse(scmp_filter_ctx filter, int call, struct scmp_arg_cmp comparison)
{
	return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 1, comparison);
}

/* Refuses @call unless its argument is one of @allowed, all of them below 64. */
static int allow_only(scmp_filter_ctx filter, int call, unsigned int argument, const unsigned int *allowed,
		      size_t count)
{
	unsigned long long mask = 0;
	int err;

	for (size_t i = 0; i < count; i++)
		mask |= 1ull << allowed[i];
	err = refuse(filter, call, SCMP_CMP(argument, SCMP_CMP_GE, 64));
	for (unsigned int value = 0; value < 64; value++) {
		if (!err && !(mask & 1ull << value))
			err = refuse(filter, call, SCMP_CMP(argument, SCMP_CMP_EQ, value));
	}
	return err;
}

/* A frozen process is only stopped and let go. */
static int refuse_ptrace(scmp_filter_ctx filter, bool freeze)
{
	static const unsigned int writes[] = {
		PTRACE_POKETEXT, PTRACE_POKEDATA,  PTRACE_POKEUSER,   PTRACE_SETREGS,    PTRACE_SETFPREGS,
		PTRACE_KILL,     PTRACE_SETREGSET, PTRACE_SETSIGINFO, PTRACE_SETSIGMASK,
	};
	int err = 0;

#ifdef __SANITIZE_ADDRESS__
	freeze = true; /* the leak checker stops the process's threads in this way */
#endif
	if (!freeze)
		return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ptrace), 0);
	for (size_t i = 0; !err && i < COUNT(writes); i++)
		err = refuse(filter, SCMP_SYS(ptrace), SCMP_A0(SCMP_CMP_EQ, writes[i]));
	return err;
}

static int refuse_namespaces(scmp_filter_ctx filter)
{
	static const unsigned int flags[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
					     CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};
	int err;

	/* A filter cannot see its flags; libc takes clone() then, for threads too. */
	err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	for (size_t i = 0; !err && i < COUNT(flags); i++)
		err = refuse(filter, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i]));
	return err;
}

static int refuse_calls(const struct options *options, enum confine_task task)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int err = filter ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < COUNT(refused); i++) {
		if (task != CONFINE_SERVICE || refused[i] != SCMP_SYS(unlink))
			err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
	}
	/* abort() signals the thread itself. */
	if (!err)
		err = refuse(filter, SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid()));
	if (!err)
		err = allow_only(filter, SCMP_SYS(kill), 1, signals_sent, COUNT(signals_sent));
	/* No program is loaded any more, so none that writes to a process. */
	if (!err)
		err = allow_only(filter, SCMP_SYS(bpf), 0, bpf_commands,
				 task != CONFINE_CENSUS ? COUNT(bpf_commands) : 0);
	if (!err)
		err = refuse_ptrace(filter, options->freeze);
	if (!err)
		err = refuse_namespaces(filter);
	/* Sets no_new_privs as well. */
	if (!err)
		err = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return err;
}

int confine(const struct options *options, enum confine_task task)
{
	int err = drop_capabilities(kept(options, task));

	if (err) {
		log_error("cannot give up capabilities: %s", strerror(-err));
		return err;
	}
	err = refuse_calls(options, task);
	if (err)
		log_error("cannot give up system calls (seccomp): %s", strerror(-err));
	return err;
}
