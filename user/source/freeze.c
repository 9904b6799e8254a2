/* SPDX-License-Identifier: BSD-2-Clause */
/* PTRACE_SEIZE and PTRACE_INTERRUPT: no signal reaches the process, and none of its own is lost. */
#include "source/freeze.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static bool is_stopped(const struct freeze *freeze, pid_t thread)
{
	for (size_t i = 0; i < freeze->count; i++) {
		if (freeze->threads[i].thread == thread)
			return true;
	}
	return false;
}

/* 1: stopped; 0: it has ended. */
static int stop_thread(struct freeze *freeze, pid_t thread)
{
	size_t capacity = freeze->capacity ? 2 * freeze->capacity : 64;
	struct frozen_thread *grown;
	int status;

	if (freeze->count == freeze->capacity) {
		grown = realloc(freeze->threads, capacity * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		freeze->threads = grown;
		freeze->capacity = capacity;
	}
	if (ptrace(PTRACE_SEIZE, thread, NULL, NULL))
		return errno == ESRCH ? 0 : -errno;
	/* From here on it has to be let go again. */
	freeze->threads[freeze->count++] = (struct frozen_thread){.thread = thread};
	if (ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) && errno != ESRCH)
		return -errno;
	while (waitpid(thread, &status, __WALL) < 0) {
		if (errno != EINTR)
			return errno == ECHILD ? 0 : -errno;
	}
	if (!WIFSTOPPED(status))
		freeze->count--;
	/* Not our interruption but a signal that came first: it must not be lost. */
	else if (status >> 16 == 0)
		freeze->threads[freeze->count - 1].signal = WSTOPSIG(status);
	return WIFSTOPPED(status);
}

/* Stops those that are not yet; returns how many, or -errno. */
static int stop_all(pid_t pid, struct freeze *freeze)
{
	int stopped = 0, err = 0;
	struct dirent *entry;
	char path[48];
	pid_t thread;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	while (err >= 0 && (entry = readdir(dir))) {
		thread = atoi(entry->d_name);
		if (thread <= 0 || is_stopped(freeze, thread))
			continue;
		err = stop_thread(freeze, thread);
		stopped += err > 0;
	}
	closedir(dir);
	return err < 0 ? err : stopped;
}

int freeze_begin(pid_t pid, struct freeze *freeze)
{
	int n;

	memset(freeze, 0, sizeof(*freeze));
	freeze->since_ns = now_ns();
	/* Threads that still run may start others: until a look finds none that runs. */
	do {
		n = stop_all(pid, freeze);
	} while (n > 0);
	if (!n && !freeze->count)
		n = -ESRCH;
	if (n < 0)
		freeze_end(freeze);
	return n;
}

uint64_t freeze_end(struct freeze *freeze)
{
	for (size_t i = 0; i < freeze->count; i++)
		ptrace(PTRACE_DETACH, freeze->threads[i].thread, NULL, (long)freeze->threads[i].signal);
	free(freeze->threads);
	freeze->threads = NULL;
	freeze->count = freeze->capacity = 0;
	return now_ns() - freeze->since_ns;
}
