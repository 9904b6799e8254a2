/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cost of one event, as ratios measured side by side in one run: our program against an empty
 * one and against the cheapest ring event, on the same instruction of this program itself. Rounds
 * are interleaved, so that a machine whose speed drifts does not favour one of them; medians count.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "elf/elf_file.h"
#include "runtime/runtime.h"
#include "source/live.h"
#include "bench.skel.h"

#define ROUNDS 31
#define HITS   20000

/* An object as the runtime lays it out; the device object and its vtable stand in for the real ones. */
struct device {
	uint64_t vtable, padding[2];
	int32_t id;
};

static struct device device;
static uint64_t window[10] = {0, 8192, 0, 0, 0, 0, 1, 4096, 0x1000, 2048};
static struct {
	uint64_t weak[2];
	union {
		uint64_t window[10];
		uint64_t pointer;
	};
} plain_object, indirect_object;

static atomic_uint sink;

__attribute__((noinline, used)) static void touch(void *object)
{
	atomic_fetch_add_explicit(&sink, (uintptr_t)object & 1, memory_order_relaxed);
}

/* Starts with a push, as track_allocate() does in every release of the runtime. */
__attribute__((noinline, used, visibility("default"))) void bench_target(void *unused, void *object);
asm(".globl bench_target\n"
    ".type bench_target, @function\n"
    "bench_target:\n"
    "	push %rbx\n"
    "	mov %rsi, %rdi\n"
    "	call bench_touch\n"
    "	pop %rbx\n"
    "	ret\n"
    ".size bench_target, . - bench_target\n");
__attribute__((used)) void bench_touch(void *object);
void bench_touch(void *object)
{
	touch(object);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

static double hit(void *object)
{
	uint64_t start = now();

	for (int i = 0; i < HITS; i++)
		bench_target(NULL, object);
	return (double)(now() - start) / HITS;
}

static atomic_bool stop;
static atomic_ulong records;
static struct live *live;
static struct ring_buffer *cheapest_ring;

static void count_record(void *context, const void *record, size_t len)
{
	(void)context;
	(void)record;
	(void)len;
	records++;
}

static int skip_record(void *context, void *data, size_t len)
{
	(void)context;
	(void)data;
	(void)len;
	return 0;
}

/* Both rings are read in the same way: a tick, no wake-ups. */
static void *reader(void *argument)
{
	(void)argument;
	while (!stop) {
		live_drain(live, count_record, NULL, 1 << 20);
		ring_buffer__consume(cheapest_ring);
		usleep(1000);
	}
	return NULL;
}

struct contender {
	const char *name;
	int program; /* 0: ours */
	struct library_plan *plan;
	void *object;
	double ns[ROUNDS], to_empty[ROUNDS], to_cheapest[ROUNDS];
};

static void make_plan(struct library_plan *plan, struct elf_file *file, bool indirect)
{
	static const struct runtime runtime = {.name = "bench"};
	struct elf_symbol symbol;

	memset(plan, 0, sizeof(*plan));
	plan->runtime = &runtime;
	if (elf_file_symbol(file, "bench_target", true, &symbol) ||
	    place_entry(file, symbol.vaddr, symbol.size, &plan->probes[0].place)) {
		fprintf(stderr, "bench_probe: no place for a probe in myself\n");
		exit(1);
	}
	plan->probe_count = 1;
	plan->probes[0].role = PROBE_ALLOCATE;
	plan->probes[0].argument = 1;
	plan->read.indirect = indirect;
	plan->read.pointer_offset = 16;
	plan->read.window_offset = indirect ? 0 : 16;
	plan->read.window_len = 80;
	plan->walk.chip_id_offset = 24;
}

/* One round of one contender: attach, warm up, measure, detach. */
static double round_of(struct contender *contender, struct bench *bench, enum attach_method method)
{
	const struct place *place = &contender->plan->probes[0].place;
	struct attach_site site = {.offset = place->file_offset,
				   .cookie = WIRE_COOKIE(PROBE_ALLOCATE, 1, 0, place->vaddr)};
	struct live_attachment ours;
	struct attachment other;
	double ns;
	int err;

	if (contender->program) {
		err = attach_program(method, contender->program == 1 ? bench->progs.empty : bench->progs.cheapest,
				     "/proc/self/exe", &site, 1, &other);
	} else {
		live_set_library(live, 0, contender->plan);
		memset(&ours, 0, sizeof(ours));
		err = attach_program(method, live_object_program(live), "/proc/self/exe", &site, 1, &ours.parts[0]);
	}
	if (err) {
		fprintf(stderr, "bench_probe: cannot attach: %s\n", strerror(-err));
		exit(1);
	}
	hit(contender->object);
	ns = hit(contender->object);
	if (contender->program)
		attachment_close(&other);
	else
		live_attachment_close(&ours);
	return ns;
}

int main(void)
{
	static struct library_plan plain, indirect;
	struct contender contenders[] = {
		{.name = "empty program", .program = 1, .plan = &plain, .object = &plain_object},
		{.name = "cheapest ring event", .program = 2, .plan = &plain, .object = &plain_object},
		{.name = "bufscope, plain object", .plan = &plain, .object = &plain_object},
		{.name = "bufscope, behind a pointer", .plan = &indirect, .object = &indirect_object},
	};
	const size_t count = sizeof(contenders) / sizeof(contenders[0]);
	struct live_options options = {0};
	struct bench *bench;
	struct elf_file *file;
	uint32_t process;
	pthread_t thread;
	int fd;

	fd = open("/proc/self/exe", O_RDONLY);
	if (fd < 0 || elf_file_open(fd, "bench_probe", &file)) {
		fprintf(stderr, "bench_probe: cannot read myself\n");
		return 1;
	}
	make_plan(&plain, file, false);
	make_plan(&indirect, file, true);
	/* The device must pass the vtable test, or each hit would tell of it again. */
	plain.walk.chip_vtable = indirect.walk.chip_vtable = plain.probes[0].place.vaddr;
	device.vtable = (uintptr_t)bench_target;
	window[0] = (uintptr_t)&device;
	memcpy(plain_object.window, window, sizeof(window));
	indirect_object.pointer = (uintptr_t)window;
	if (live_open(&options, &live))
		return 1;
	bench = bench__open();
	if (!bench)
		return 1;
	if (live_method(live) == ATTACH_MULTI) {
		attach_expected_type(bench->progs.empty);
		attach_expected_type(bench->progs.cheapest);
	}
	if (bench__load(bench))
		return 1;
	cheapest_ring = ring_buffer__new(bpf_map__fd(bench->maps.ring), skip_record, NULL, NULL);
	if (!cheapest_ring || live_follow(live, (uint32_t)getpid(), 0, false, &process))
		return 1;
	pthread_create(&thread, NULL, reader, NULL);
	for (size_t round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < count; i++) {
			contenders[i].ns[round] = round_of(&contenders[i], bench, live_method(live));
			contenders[i].to_empty[round] = contenders[i].ns[round] / contenders[0].ns[round];
			contenders[i].to_cheapest[round] = i ? contenders[i].ns[round] / contenders[1].ns[round] : 0;
		}
	}
	stop = true;
	pthread_join(thread, NULL);
	printf("%-28s %10s %12s %14s   medians of %d rounds of %d hits, %s\n", "", "ns a hit", "to empty",
	       "to cheapest", ROUNDS, HITS, live_method(live) == ATTACH_MULTI ? "uprobe_multi" : "perf links");
	for (size_t i = 0; i < count; i++) {
		printf("%-28s %10.0f %11.2fx", contenders[i].name, median(contenders[i].ns, ROUNDS),
		       median(contenders[i].to_empty, ROUNDS));
		if (i)
			printf(" %13.2fx", median(contenders[i].to_cheapest, ROUNDS));
		printf("\n");
	}
	printf("records read: %lu\n", (unsigned long)records);
	/* Each round of ours hits twice HITS times; the two device records come on top. */
	return records >= 2ul * 2 * ROUNDS * HITS ? 0 : 1;
}
