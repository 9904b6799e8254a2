/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks the dynamic loader of a program. Owns nothing that outlives a call. */
#include "cmd/linked.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/launch.h"

#define LOADER_SECONDS 5 /* a loader that hangs must not keep the command from starting */

/* The loader that a dynamically linked program names. */
static bool find_loader(const char *program, char loader[PATH_MAX])
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	bool found = false;
	int fd;

	fd = open(program, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return false;
	if (pread(fd, &header, sizeof(header), 0) != sizeof(header) || memcmp(header.e_ident, ELFMAG, SELFMAG) ||
	    header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(segment))
		goto out;
	for (unsigned int i = 0; i < header.e_phnum && !found; i++) {
		if (pread(fd, &segment, sizeof(segment), (off_t)(header.e_phoff + i * sizeof(segment))) !=
		    sizeof(segment))
			goto out;
		if (segment.p_type != PT_INTERP || segment.p_filesz < 2 || segment.p_filesz >= PATH_MAX)
			continue;
		if (pread(fd, loader, segment.p_filesz, (off_t)segment.p_offset) != (ssize_t)segment.p_filesz)
			goto out;
		found = loader[0] == '/' && !loader[segment.p_filesz - 1];
	}
out:
	close(fd);
	return found;
}

static void visit_list(FILE *list, linked_visitor visit, void *context)
{
	char *line = NULL, *start, *end;
	size_t size = 0;

	/* "	libx.so.1 => /lib/libx.so.1 (0x00007f...)" or "	/lib64/ld-linux-x86-64.so.2 (0x...)" */
	while (getline(&line, &size, list) > 0) {
		start = strstr(line, "=> /");
		start = start ? start + 3 : strchr(line, '/');
		end = start ? strstr(start, " (0x") : NULL;
		if (!end)
			continue;
		*end = 0;
		visit(context, start);
	}
	free(line);
}

static void list_in_child(const char *loader, const char *program, const char *run_as, int out)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(1);
	if (run_as && launch_become(run_as))
		_exit(1);
	alarm(LOADER_SECONDS);
	execl(loader, loader, "--list", program, (char *)NULL);
	_exit(1);
}

void linked_visit(const char *command, const char *run_as, linked_visitor visit, void *context)
{
	char program[PATH_MAX], loader[PATH_MAX];
	int ends[2];
	FILE *list;
	pid_t pid;

	if (!launch_find(command, X_OK, program))
		return;
	visit(context, program);
	if (!find_loader(program, loader) || pipe2(ends, O_CLOEXEC))
		return;
	pid = fork();
	if (pid == 0)
		list_in_child(loader, program, run_as, ends[1]);
	close(ends[1]);
	list = pid > 0 ? fdopen(ends[0], "r") : NULL;
	if (list) {
		visit_list(list, visit, context);
		fclose(list);
	} else {
		close(ends[0]);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}
