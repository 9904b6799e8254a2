/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * demo-workload: a language model's demo on eight chips, as far as the allocator sees it. It ends a
 * run with 381 buffers (403.84 MB) still allocated, in numbers and megabytes per chip that were
 * once seen on a real machine.
 *
 *   demo-workload [--kill | --until STOP [--wait]]
 *
 *   --kill          dies of SIGKILL in the middle of inference, all 381 alive
 *   --until STOP    the program ends, without freeing, at: before-cleanup, after-close, after-gc;
 *                   or runs to its normal end: exit (default)
 *   --wait          prints "ready STOP" at every stop and at the start, and goes on when a line arrives
 */
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <unistd.h>
#include <vector>

#include "standin.h"

namespace
{
constexpr int kChips = 8;
constexpr uint64_t kMegabyte = 1 << 20;
constexpr uint64_t kTile = 2048; /* a 32x32 tile of bfloat16 */
constexpr uint64_t kTraceBytes = 12503040;

struct Row {
	int buffers;
	double megabytes;
};
const Row kDram[kChips] = {{21, 19.43}, {25, 59.83}, {19, 24.79},  {18, 8.77},
			   {17, 8.16},  {25, 67.30}, {20, 158.31}, {18, 8.78}};
const Row kL1[kChips] = {{28, 6.14}, {27, 5.94}, {27, 6.00}, {27, 6.42},
			 {28, 5.72}, {27, 5.93}, {27, 5.94}, {27, 6.38}};

/* Sizes, in tiles, that weights and caches come in; largest first. */
const uint64_t kTiles[] = {16384, 8192, 4096, 3584, 2048, 1536, 1024, 896, 768, 512, 448, 384, 256, 224,
			   192,   128,  112,  96,   64,   48,   32,   24,  16,  12,  8,   4,   2,   1};

using Buffers = std::vector<standin_buffer *>;

struct Options {
	bool kill = false;
	bool wait = false;
	std::string until = "exit";
};

[[noreturn]] void die(const char *text)
{
	fprintf(stderr, "demo-workload: %s\n", text);
	_exit(1);
}

standin_buffer *allocate(standin_device *chip, standin_type type, uint64_t bytes, uint64_t page)
{
	standin_buffer *buffer = standin_alloc(chip, type, bytes, page, STANDIN_ALLOC_TRACKED);

	if (!buffer)
		die(standin_error());
	return buffer;
}

void free_all(Buffers &buffers)
{
	for (standin_buffer *buffer : buffers)
		standin_drop(buffer);
	buffers.clear();
}

/*
 * @row.buffers sizes that add up to @row.megabytes: each the largest usual size below twice the
 * mean of what is left, the last one what remains (a vector of 64-byte rows).
 */
std::vector<uint64_t> split(const Row &row)
{
	uint64_t left = static_cast<uint64_t>(row.megabytes * kMegabyte) / 64 * 64;
	std::vector<uint64_t> sizes;

	for (int remaining = row.buffers; remaining > 1; remaining--) {
		size_t i = 0;

		while (i + 1 < std::size(kTiles) && kTiles[i] * kTile >= 2 * left / remaining)
			i++;
		sizes.push_back(kTiles[i] * kTile);
		left -= sizes.back();
	}
	sizes.push_back(left);
	return sizes;
}

uint64_t page_of(uint64_t bytes)
{
	return bytes % kTile ? 64 : kTile;
}

/* The first half of a chip's buffers is weights, the other the KV cache: DRAM first, then L1. */
void load(standin_device *const *chips, const Row *rows, standin_type type, bool weights, Buffers &held)
{
	for (int chip = 0; chip < kChips; chip++) {
		std::vector<uint64_t> sizes = split(rows[chip]);
		size_t half = sizes.size() / 2;

		for (size_t i = weights ? 0 : half; i < (weights ? half : sizes.size()); i++)
			held.push_back(allocate(chips[chip], type, sizes[i], page_of(sizes[i])));
	}
}

/* One token: activations come and go, addresses are used again and again. */
void infer(standin_device *const *chips, int token)
{
	for (int chip = 0; chip < kChips; chip++) {
		Buffers activations;

		for (int layer = 0; layer < 3; layer++) {
			activations.push_back(allocate(chips[chip], STANDIN_L1, (16 + 8 * layer) * kTile, kTile));
			activations.push_back(allocate(chips[chip], STANDIN_DRAM, (4 + token % 4) * kTile, kTile));
		}
		free_all(activations);
	}
}

void stop(const Options &options, const char *name)
{
	if (options.wait) {
		char line[64];

		printf("books {\"name\": \"%s\", \"pid\": %d}\nready %s\n", name, getpid(), name);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			_exit(97);
	}
	if (options.until == name && options.until != "exit") {
		fflush(stdout);
		_exit(0);
	}
}

void phase(const char *text)
{
	printf("demo: %s\n", text);
	fflush(stdout);
}

void run(const Options &options)
{
	standin_device *chips[kChips];
	Buffers early, held, trace, program_cache;

	stop(options, "start");
	phase("open 8 devices");
	for (int i = 0; i < kChips; i++) {
		chips[i] = standin_open_chip(i);
		early.push_back(allocate(chips[i], STANDIN_L1_SMALL, 4096, 4096));
	}
	phase("load weights and embeddings");
	load(chips, kDram, STANDIN_DRAM, true, held);
	load(chips, kL1, STANDIN_L1, true, held);
	phase("create the KV cache");
	load(chips, kDram, STANDIN_DRAM, false, held);
	load(chips, kL1, STANDIN_L1, false, held);
	free_all(early);
	phase("capture a trace, run inference");
	for (standin_device *chip : chips) {
		trace.push_back(allocate(chip, STANDIN_TRACE, kTraceBytes, kTile));
		program_cache.push_back(allocate(chip, STANDIN_DRAM, 36864, kTile));
	}
	for (int token = 0; token < 12; token++)
		infer(chips, token);
	stop(options, "before-cleanup");
	phase("clear the program cache, release the trace");
	free_all(program_cache);
	free_all(trace);
	if (options.kill) {
		phase("killed");
		raise(SIGKILL);
	}
	phase("close the devices (the model is still referenced)");
	for (standin_device *chip : chips)
		standin_close(chip, STANDIN_CLOSE_BULK);
	stop(options, "after-close");
	phase("drop the model, collect garbage");
	free_all(held);
	stop(options, "after-gc");
	for (standin_device *chip : chips)
		standin_drop_device(chip);
	phase("exit");
	stop(options, "exit");
}
} // namespace

int main(int argc, char **argv)
{
	Options options;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--kill"))
			options.kill = true;
		else if (!strcmp(argv[i], "--wait"))
			options.wait = true;
		else if (!strcmp(argv[i], "--until") && i + 1 < argc)
			options.until = argv[++i];
		else
			die("usage: demo-workload [--kill | --until before-cleanup|after-close|after-gc|exit] [--wait]");
	}
	run(options);
	return 0;
}
