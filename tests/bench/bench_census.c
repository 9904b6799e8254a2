/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast a census goes through a big process, and how much memory it takes itself.
 *
 *   bench_census [GIB [BUFFERS]]        default 8 GiB, 1000000 buffers
 *
 * A child holds the memory, full of words that look like heap; the census is this process's. For
 * comparison the same memory is copied once without looking at it.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../unit/census_case.h"
#include "source/process_memory.h"

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void fill(uint8_t *from, uint8_t *to)
{
	uint64_t seed = (uint64_t)(uintptr_t)from;

	for (; from + 8 <= to; from += 8) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		*(uint64_t *)(uintptr_t)from = seed & 0x7fffffffff8ULL;
	}
}

static void build(struct census_case *c, uint8_t *arena, size_t size, size_t buffers)
{
	size_t blocks[MEMORY_TYPE_COUNT], gap;

	for (size_t i = 0; i < MEMORY_TYPE_COUNT; i++)
		blocks[i] = buffers / MEMORY_TYPE_COUNT + 1;
	case_init(c, arena, size, blocks);
	gap = (size - c->at) / (buffers + 1) / 16 * 16;
	for (size_t type = 0; type < MEMORY_TYPE_COUNT; type++) {
		for (size_t i = 0; i + 1 < blocks[type]; i++) {
			size_t start = c->at;

			case_add_buffer(c, (enum memory_type)type, CASE_FIRST + i * CASE_BLOCK);
			fill(arena + c->at, arena + start + gap);
			c->at = start + gap;
		}
	}
	fill(arena + c->at, arena + size);
}

static void child(struct census_case *c, uint8_t *arena, size_t size, size_t buffers, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	build(c, arena, size, buffers);
	if (write(ready, "", 1) != 1)
		_exit(1);
	pause();
	_exit(0);
}

static double copy_only(pid_t pid, uint8_t *arena, size_t size)
{
	static uint8_t buf[1 << 20];
	double start = now();
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY);
	for (size_t at = 0; at < size; at += sizeof(buf))
		if (pread(fd, buf, sizeof(buf), (off_t)((uintptr_t)arena + at)) < 0)
			break;
	close(fd);
	return now() - start;
}

static int measure(struct census_case *c, pid_t pid, uint8_t *arena, size_t size)
{
	struct memory *memory;
	struct rusage usage;
	struct census census;
	double start, copied, taken;
	int err = process_memory_open(pid, &memory);

	if (err)
		return err;
	copied = copy_only(pid, arena, size);
	c->input.memory = memory;
	start = now();
	err = tt_metal_runtime.census(&c->input, &census);
	taken = now() - start;
	getrusage(RUSAGE_SELF, &usage);
	printf("census %.2f s for %.2f GiB: %.2f GiB/s, %.2f times as long as copying alone; %zu buffers, %" PRIu64
	       " unconfirmed, %" PRIu64 " unexplained, %u rounds; %ld MB of memory\n",
	       taken, (double)census.scanned_bytes / (1 << 30), (double)census.scanned_bytes / (1 << 30) / taken,
	       taken / copied, census.confirmed_count, census.unconfirmed, census.unexplained_blocks, census.rounds,
	       usage.ru_maxrss / 1024);
	census_fini(&census);
	memory_close(memory);
	return err;
}

int main(int argc, char **argv)
{
	size_t size = (size_t)(argc > 1 ? strtod(argv[1], NULL) * (1 << 30) : 8e0 * (1 << 30)) & ~(size_t)0xfff;
	size_t buffers = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000000;
	uint8_t *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct census_case *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int ready[2], err;
	char byte;
	pid_t pid;

	if (arena == MAP_FAILED || c == MAP_FAILED || pipe(ready))
		return 1;
	pid = fork();
	if (pid == 0)
		child(c, arena, size, buffers, ready[1]);
	close(ready[1]);
	err = read(ready[0], &byte, 1) == 1 ? measure(c, pid, arena, size) : -ESRCH;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (err)
		fprintf(stderr, "bench_census: %s\n", strerror(-err));
	return err ? 1 : 0;
}
