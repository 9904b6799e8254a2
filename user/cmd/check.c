/* SPDX-License-Identifier: BSD-2-Clause */
/* bufscope check: what can be watched, without watching anything. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/check_file.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "elf/elf_file.h"
#include "runtime/runtime.h"
#include "source/live.h"
#include "source/privilege.h"
#include "source/procfs.h"

struct check_options {
	pid_t pid;
	const char *file;
};

static const struct argp_option argp_options[] = {
	{"pid", 'p', "PID", 0, "Check the device runtimes that this process maps", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct check_options *options = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		options_quiet_argp(state);
		return 0;
	case 'p':
		options->pid = options_pid(arg, state);
		return 0;
	case ARGP_KEY_ARG:
		if (options->file)
			options_error(state, "one file at a time");
		options->file = arg;
		return 0;
	case ARGP_KEY_END:
		if (options->file && options->pid)
			options_error(state, "a file or a process, not both");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int check_path(const char *path)
{
	int fd, err;

	fd = procfs_open_regular(path);
	if (fd < 0) {
		log_error("cannot read \"%s\": %s", path, fd == -EINVAL ? "not a regular file" : strerror(-fd));
		return CMD_EXIT_FAILED;
	}
	err = check_library(fd, path, stdout);
	close(fd);
	return err ? CMD_EXIT_FAILED : CMD_EXIT_DONE;
}

struct check_process {
	pid_t pid;
	uint64_t last_inode; /* mappings of one file follow each other */
	int found, refused, unreadable;
};

static bool is_runtime(int fd, const char *path)
{
	struct elf_file *file;
	bool found = false;

	if (elf_file_open(fd, path, &file))
		return false;
	for (size_t i = 0; runtime_all[i] && !found; i++)
		found = runtime_all[i]->recognise(file);
	elf_file_close(file);
	return found;
}

static int check_mapping(void *context, const struct procfs_mapping *mapping)
{
	struct check_process *process = context;
	int fd;

	if (mapping->inode == process->last_inode)
		return 0;
	process->last_inode = mapping->inode;
	fd = procfs_open_mapping(process->pid, mapping);
	if (fd == -EPERM || fd == -EACCES)
		process->unreadable++;
	if (fd < 0)
		return 0;
	if (is_runtime(fd, mapping->path)) {
		process->found++;
		if (check_library(fd, mapping->path, stdout))
			process->refused++;
	}
	close(fd);
	return 0;
}

static int check_pid(pid_t pid)
{
	struct check_process process = {.pid = pid};
	struct procfs_stat stat;
	int err;

	err = procfs_stat(pid, &stat);
	if (!err && stat.kernel_thread) {
		log_error("process %d is a kernel thread: it has no device buffers", pid);
		return CMD_EXIT_FAILED;
	}
	if (!err)
		err = procfs_mappings(pid, check_mapping, &process);
	if (err == -ESRCH)
		log_error("cannot look into process %d: no such process", pid);
	else if (err)
		privilege_log(err, PRIVILEGE_OTHERS, "cannot look into process %d", pid);
	if (err)
		return CMD_EXIT_FAILED;
	if (!process.found && process.unreadable) {
		privilege_log(-EPERM, PRIVILEGE_OTHERS | PRIVILEGE(CAP_CHECKPOINT_RESTORE),
			      "cannot read what process %d maps", pid);
		return CMD_EXIT_FAILED;
	}
	if (!process.found) {
		printf("process %d maps no supported device runtime (yet)\n", pid);
		return CMD_EXIT_FAILED;
	}
	return process.refused ? CMD_EXIT_FAILED : CMD_EXIT_DONE;
}

static int check_machine(void)
{
	struct live_options options = {.ring_bytes = 1 << 16};
	struct utsname name;
	struct live *live;

	if (!uname(&name))
		printf("kernel:      %s %s\n", name.release, name.machine);
	/* The whole of it is tried: types, programs, maps, the events of process life. */
	if (live_open(&options, &live)) {
		printf("tracing:     not possible\n");
		return CMD_EXIT_FAILED;
	}
	printf("tracing:     possible\n");
	printf("attaching:   %s\n",
	       live_method(live) == ATTACH_MULTI
		       ? "uprobe_multi (all probes of a library at once)"
		       : "perf links (one by one; detaching takes about 0.1 s each, after the report)");
	printf("runtimes:   ");
	for (size_t i = 0; runtime_all[i]; i++)
		printf(" %s", runtime_all[i]->name);
	printf("\nnot counted: device memory that is no buffer of the runtime: circular buffers, kernel configuration, "
	       "firmware, arenas\n");
	live_close(live);
	return CMD_EXIT_DONE;
}

int cmd_check(int argc, char **argv)
{
	static const struct argp argp = {
		.options = argp_options,
		.parser = parse,
		.args_doc = "[FILE]",
		.doc = "Tells whether this machine can trace, or whether a process's or a file's device runtime is supported, "
		       "with the offsets that were learnt from its machine code.\v"
		       "The exit status is 0 when it can be watched, 1 when not.",
	};
	struct check_options options = {0};

	argv[0] = (char *)"bufscope check";
	argp_err_exit_status = CMD_EXIT_USAGE;
	options_parse(&argp, argc, argv, 0, &options);
	if (options.file)
		return check_path(options.file);
	return options.pid ? check_pid(options.pid) : check_machine();
}
