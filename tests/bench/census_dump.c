// SPDX-License-Identifier: BSD-2-Clause
/*
 * Takes a census and prints all of it as JSON, one library a line; for tests and for looking.
 *
 *   census_dump -p PID | --core FILE [--sysroot DIR]  [--report] [--repeat N]
 *
 * Exit status 0: every census is exact; 3: one is not; 1: none could be taken.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "runtime/census.h"
#include "source/core_memory.h"
#include "source/process_memory.h"
#include "source/survey.h"

struct options {
	pid_t pid;
	const char *core, *sysroot;
	bool report;
	int repeat;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void print_devices(const struct census *census)
{
	printf("\"devices\": [");
	for (size_t i = 0; i < census->device_count; i++) {
		const struct census_device *d = &census->devices[i];

		printf("%s{\"object\": %" PRIu64
		       ", \"mesh\": %s, \"open\": %s, \"readable\": %s, \"inherited\": %s, \"chips\": [",
		       i ? ", " : "", d->device.device_object, d->device.is_mesh ? "true" : "false",
		       d->open ? "true" : "false", d->device.readable ? "true" : "false",
		       d->inherited ? "true" : "false");
		for (uint32_t k = 0; k < d->device.chip_count; k++)
			printf("%s%d", k ? ", " : "", d->device.chips[k]);
		printf("]}");
	}
	printf("], ");
}

static void print_books(const struct census *census)
{
	printf("\"allocators\": [");
	for (size_t i = 0; i < census->allocator_count; i++) {
		const struct census_allocator *a = &census->allocators[i];

		printf("%s{\"object\": %" PRIu64 ", \"device\": %d, \"sub_device\": %d, \"by_buffers\": %s}",
		       i ? ", " : "", a->object, a->device == CENSUS_NONE ? -1 : (int)a->device, a->sub_device,
		       a->by_buffers ? "true" : "false");
	}
	printf("], \"books\": [");
	for (size_t i = 0; i < census->book_count; i++) {
		const struct census_book *b = &census->books[i];

		printf("%s{\"allocator\": %d, \"list\": %u, \"type\": \"%s\", \"state\": \"%s\", \"why\": \"%s\", \"banks\": %u, "
		       "\"bank_bytes\": %" PRIu64 ", \"first_address\": %" PRIu64 ", \"used_bytes\": %" PRIu64
		       ", \"free_bytes\": %" PRIu64 ", \"largest_free_bytes\": %" PRIu64 ", \"blocks\": [",
		       i ? ", " : "", b->allocator == CENSUS_NONE ? -1 : (int)b->allocator, b->list,
		       memory_type_name(b->type), census_state_name(b->state), b->why ? b->why : "", b->banks,
		       b->bank_bytes, b->first_address, b->used_bytes, b->free_bytes, b->largest_free_bytes);
		for (size_t k = 0; k < b->block_count; k++) {
			const struct census_block *block = &census->blocks[b->first_block + k];

			printf("%s[%" PRIu64 ", %" PRIu64 ", %s]", k ? ", " : "", block->address, block->bytes,
			       block->owner == CENSUS_NONE ? "false" : "true");
		}
		printf("]}");
	}
	printf("], ");
}

static void print_buffers(const struct census *census)
{
	printf("\"buffers\": [");
	for (size_t i = 0; i < census->buffer_count; i++) {
		const struct census_buffer *b = &census->buffers[i];

		printf("%s{\"object\": %" PRIu64 ", \"device\": %" PRIu64 ", \"allocator\": %" PRIu64
		       ", \"type\": \"%s\", \"address\": %" PRIu64 ", \"size\": %" PRIu64 ", \"page_size\": %" PRIu64
		       ", \"footprint\": %" PRIu64 ", \"verdict\": \"%s\"}",
		       i ? ", " : "", b->object, b->device_object, b->allocator,
		       memory_type_name((enum memory_type)b->type), b->address, b->size_bytes, b->page_size_bytes,
		       census_footprint(census, b), census_verdict_name((enum census_verdict)b->verdict));
	}
	printf("], ");
}

static bool print(const struct survey_library *library, const struct census *census, double seconds)
{
	static const char *const origins[] = {"unknown", "own", "inherited"};
	struct rusage usage;
	const char *reason;
	bool exact = census_is_exact(census, &reason);

	getrusage(RUSAGE_SELF, &usage);
	printf("{\"library\": \"%s\", \"build_id\": \"%s\", \"exact\": %s, \"reason\": \"%s\", \"origin\": \"%s\", \"sign\": \"%s\", ",
	       library->path, library->build_id, exact ? "true" : "false", reason ? reason : "",
	       origins[census->origin], census->origin_sign ? census->origin_sign : "");
	print_devices(census);
	print_books(census);
	print_buffers(census);
	printf("\"confirmed\": %zu, \"unconfirmed\": %" PRIu64 ", \"closed\": %" PRIu64
	       ", \"unexplained_blocks\": %" PRIu64 ", \"unread_books\": %" PRIu64 ", \"orphan_lists\": %" PRIu64
	       ", \"scanned_bytes\": %" PRIu64 ", \"missing_bytes\": %" PRIu64
	       ", \"rounds\": %u, \"seconds\": %.4f, \"max_rss_kb\": %ld}\n",
	       census->confirmed_count, census->unconfirmed, census->closed, census->unexplained_blocks,
	       census->unread_books, census->orphan_lists, census->scanned_bytes, census->missing_bytes, census->rounds,
	       seconds, usage.ru_maxrss);
	return exact;
}

static int run(struct options *options, struct memory *memory, bool *exact)
{
	struct core_files files = {.memory = memory, .sysroot = options->sysroot};
	struct survey survey;
	int err, result = -ENOENT;

	err = options->core ? survey_find(memory, core_memory_open_file, &files, &survey)
			    : survey_find(memory, survey_open_mapped, &options->pid, &survey);
	if (err)
		fprintf(stderr, "census_dump: finding libraries: %s\n", strerror(-err));
	for (size_t i = 0; i < survey.count && !err; i++) {
		struct census census;
		double start = now();

		if (options->report)
			fprintf(stderr, "%s\n%s", survey.libraries[i].path, strbuf_str(&survey.libraries[i].report));
		err = survey_census(memory, &survey.libraries[i], &census);
		if (err)
			fprintf(stderr, "census_dump: %s: %s\n", survey.libraries[i].path, strerror(-err));
		else
			*exact = print(&survey.libraries[i], &census, now() - start) && *exact;
		result = err;
		census_fini(&census);
	}
	if (!err && !survey.count)
		fprintf(stderr, "census_dump: no runtime's library in it (%zu files could not be opened)\n",
			survey.unopened);
	survey_fini(&survey);
	return err ? err : result;
}

static bool parse(int argc, char **argv, struct options *options)
{
	options->repeat = 1;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--report"))
			options->report = true;
		else if (i + 1 == argc)
			return false;
		else if (!strcmp(argv[i], "-p"))
			options->pid = (pid_t)strtol(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--core"))
			options->core = argv[++i];
		else if (!strcmp(argv[i], "--sysroot"))
			options->sysroot = argv[++i];
		else if (!strcmp(argv[i], "--repeat"))
			options->repeat = (int)strtol(argv[++i], NULL, 10);
		else
			return false;
	}
	return (options->pid > 0) != (options->core != NULL);
}

int main(int argc, char **argv)
{
	struct options options = {0};
	struct memory *memory;
	bool exact = true;
	int err = 0;

	if (!parse(argc, argv, &options)) {
		fprintf(stderr, "census_dump -p PID | --core FILE [--sysroot DIR]  [--report] [--repeat N]\n");
		return 2;
	}
	for (int i = 0; i < options.repeat && !err; i++) {
		err = options.core ? core_memory_open(options.core, &memory)
				   : process_memory_open(options.pid, &memory);
		if (err) {
			fprintf(stderr, "census_dump: %s\n", strerror(-err));
			return 1;
		}
		err = run(&options, memory, &exact);
		memory_close(memory);
	}
	return err ? 1 : exact ? 0 : 3;
}
