// SPDX-License-Identifier: BSD-2-Clause
/*
 * How many events a second the model takes in from memory, on one core, and what a live buffer costs.
 * A million live buffers of one process, then random churn over them. Prints; judges nothing unless
 * BUFSCOPE_BENCH_MIN_EVENTS or BUFSCOPE_BENCH_MAX_BYTES is set.
 *
 *   bench_model [LIVE-BUFFERS [CHURN-PAIRS [CHIPS]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "event.h"
#include "model/model.h"

static uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Objects of 192 bytes side by side, as a C++ heap would place them. */
static uint64_t bench_object(uint64_t i)
{
	return UINT64_C(0x7f0000000000) + i * 192;
}

/* Made beforehand and small, so that the clock sees the model and one reused event, as in a drain. */
struct bench_step {
	uint32_t kind;
	uint32_t object;
};

static void bench_event(struct event *event, const struct bench_step *step, uint64_t time_ns)
{
	uint64_t i = step->object;

	event->kind = (enum event_kind)step->kind;
	event->process = 1;
	event->thread = 1000 + (uint32_t)(i & 7);
	event->time_ns = time_ns;
	event->buffer.object = bench_object(i);
	event->buffer.device_object = 0x5000;
	event->buffer.allocator = 0x6000;
	event->buffer.address = i * 2048 & UINT32_MAX;
	event->buffer.size_bytes = 2048 * (1 + i % 128);
	event->buffer.page_size_bytes = 2048u << (i & 3);
	event->buffer.type = i & 1 ? MEMORY_L1 : MEMORY_DRAM;
}

static void bench_apply(struct model *model, const struct event *event)
{
	if (model_apply(model, event)) {
		fprintf(stderr, "bench_model: out of memory\n");
		exit(1);
	}
}

static void bench_start(struct model *model, uint32_t chips)
{
	struct event event = {.kind = EVENT_BIRTH, .process = 1, .time_ns = 1};

	event.birth.how = BIRTH_LAUNCH;
	event.birth.pid = 4242;
	bench_apply(model, &event);
	event = (struct event){.kind = EVENT_DEVICE, .process = 1, .time_ns = 2};
	event.device.device_object = 0x5000;
	event.device.readable = true;
	event.device.chip_count = chips;
	for (uint32_t i = 0; i < chips; i++)
		event.device.chips[i] = (int32_t)i;
	bench_apply(model, &event);
}

static double bench_rate(const char *what, uint64_t events, uint64_t ns)
{
	double rate = (double)events * 1e9 / (double)ns;

	printf("%-10s %10llu events  %8.1f ns each  %6.2f million a second\n", what, (unsigned long long)events,
	       (double)ns / (double)events, rate / 1e6);
	return rate;
}

static uint64_t bench_run(struct model *model, const struct bench_step *steps, size_t count, uint64_t *clock_ns)
{
	struct event event = {.kind = EVENT_ALLOCATE};
	uint64_t start = bench_now_ns();

	for (size_t i = 0; i < count; i++) {
		bench_event(&event, &steps[i], ++*clock_ns);
		bench_apply(model, &event);
	}
	return bench_now_ns() - start;
}

enum { BENCH_BATCH = 8192 };

/* A random live buffer is freed and allocated again at once. */
static void bench_churn(struct bench_step *steps, uint32_t live, uint64_t *random)
{
	for (int i = 0; i < BENCH_BATCH; i++) {
		uint32_t object = (uint32_t)(bench_random(random) % live);

		steps[2 * i] = (struct bench_step){EVENT_FREE, object};
		steps[2 * i + 1] = (struct bench_step){EVENT_ALLOCATE, object};
	}
}

/*
 * Many random buffers are freed, then allocated in another order: no allocation finds a cache line
 * that the free just before has warmed.
 */
static void bench_shuffle(struct bench_step *steps, uint32_t live, uint64_t *random)
{
	uint32_t stride = 1 + (uint32_t)(bench_random(random) % (live / BENCH_BATCH));
	uint32_t first = (uint32_t)(bench_random(random) % live);

	for (uint32_t i = 0; i < BENCH_BATCH; i++) {
		/* Multiplying by an odd number permutes the batch. */
		uint32_t object = (uint32_t)((first + (uint64_t)(i * 4097 % BENCH_BATCH) * stride) % live);

		steps[i] = (struct bench_step){EVENT_FREE, object};
		steps[2 * BENCH_BATCH - 1 - i] = (struct bench_step){EVENT_ALLOCATE, object};
	}
}

static double bench_measure(struct model *model, uint32_t live, uint64_t pairs, bool shuffled)
{
	struct bench_step *steps = malloc(2 * BENCH_BATCH * sizeof(*steps));
	uint64_t random = 88172645463325252ULL, clock_ns = live, spent = 0, done;

	if (!steps)
		exit(1);
	for (done = 0; done < pairs; done += BENCH_BATCH) {
		if (shuffled)
			bench_shuffle(steps, live, &random);
		else
			bench_churn(steps, live, &random);
		spent += bench_run(model, steps, 2 * BENCH_BATCH, &clock_ns);
	}
	free(steps);
	return bench_rate(shuffled ? "shuffle" : "churn", 2 * done, spent);
}

static double bench_measure_fill(struct model *model, uint32_t live)
{
	struct bench_step *steps = malloc(live * sizeof(*steps));
	uint64_t clock_ns = 2, spent;

	if (!steps)
		exit(1);
	for (uint32_t i = 0; i < live; i++)
		steps[i] = (struct bench_step){EVENT_ALLOCATE, i};
	spent = bench_run(model, steps, live, &clock_ns);
	free(steps);
	return bench_rate("fill", live, spent);
}

static int bench_judge(double rate, double bytes)
{
	const char *min = getenv("BUFSCOPE_BENCH_MIN_EVENTS");
	const char *max = getenv("BUFSCOPE_BENCH_MAX_BYTES");

	if (min && rate < atof(min))
		return 1;
	return max && bytes > atof(max);
}

int main(int argc, char **argv)
{
	uint32_t live = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 1000000;
	uint64_t pairs = argc > 2 ? strtoull(argv[2], NULL, 0) : 5000000;
	uint32_t chips = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 0) : 1;
	struct model_options options = {.keep_ended = true, .max_unmatched_frees = 100};
	struct model *model = model_new(&options);
	double churn, shuffle, bytes;

	if (!model || live < BENCH_BATCH || !chips || chips > EVENT_MAX_CHIPS) {
		fprintf(stderr, "usage: bench_model [LIVE (at least %d) [PAIRS [CHIPS]]]\n", BENCH_BATCH);
		return 2;
	}
	bench_start(model, chips);
	bench_measure_fill(model, live);
	bytes = (double)model_memory_bytes(model) / (double)live;
	printf("%-10s %10zu bytes   %8.1f bytes a live buffer (%u chip%s)\n", "memory", model_memory_bytes(model),
	       bytes, chips, chips == 1 ? "" : "s");
	churn = bench_measure(model, live, pairs, false);
	shuffle = bench_measure(model, live, pairs, true);
	if (model_live_count(model) != live) {
		fprintf(stderr, "bench_model: %llu live buffers, not %u\n", (unsigned long long)model_live_count(model),
			live);
		return 1;
	}
	model_free(model);
	return bench_judge(churn < shuffle ? churn : shuffle, bytes);
}
