/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many short processes, each of which uses the stand-in runtime:
 *
 *   standin-many LIBRARY [BUFFERS]
 *
 * Each line of standard input is a number: so many children are forked, one after the other. A child loads the
 * library, allocates and frees, keeps one buffer and ends; with BUFFERS it keeps so many and stays instead, until
 * its parent ends. Then "done NUMBER" is printed.
 * The parent never maps the library, so that nobody follows its children before they use it.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "standin.h"

static void use(const char *path, long keep)
{
	__typeof__(&standin_open_mesh) open_mesh;
	__typeof__(&standin_alloc) alloc;
	__typeof__(&standin_drop) drop;
	struct standin_device *mesh;
	void *library;

	library = dlopen(path, RTLD_NOW);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		_exit(1);
	}
	open_mesh = (__typeof__(open_mesh))dlsym(library, "standin_open_mesh");
	alloc = (__typeof__(alloc))dlsym(library, "standin_alloc");
	drop = (__typeof__(drop))dlsym(library, "standin_drop");
	mesh = open_mesh(2);
	for (int i = 0; i < 3; i++)
		drop(alloc(mesh, STANDIN_DRAM, 4096, 2048, STANDIN_ALLOC_TRACKED));
	for (long i = 0; i < keep; i++) {
		if (!alloc(mesh, STANDIN_DRAM, 2048, 2048, STANDIN_ALLOC_TRACKED))
			_exit(1);
	}
}

/* One that stays says so when it has all its buffers. */
static void child(const char *path, long stay, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	use(path, stay ? stay : 1);
	if (!stay)
		_exit(0);
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static int make(const char *path, long stay, const int *ready)
{
	int status;
	char byte;
	pid_t pid;

	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid)
		child(path, stay, ready[1]);
	if (stay)
		return read(ready[0], &byte, 1) == 1 ? 0 : -1;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -1;
}

int main(int argc, char **argv)
{
	long number, stay = argc > 2 ? atol(argv[2]) : 0;
	int ready[2];

	if (argc < 2 || pipe(ready))
		return 2;
	while (scanf("%ld", &number) == 1) {
		for (long i = 0; i < number; i++) {
			if (make(argv[1], stay, ready)) {
				fprintf(stderr, "child %ld failed\n", i);
				return 1;
			}
		}
		printf("done %ld\n", number);
		fflush(stdout);
	}
	return 0;
}
