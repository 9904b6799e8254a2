/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs of present pages, from /proc/PID/pagemap. Keeps what the last question to the kernel brought. */
#include "source/page_runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PAGE       4096ULL
#define MAX_RUNS   512
#define READ_PAGES 8192 /* 32 MiB of addresses a read */

#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAPPED (1ULL << 62)

/* include/uapi/linux/fs.h, Linux 6.7; the build's headers may be older. */
#define SCAN_PRESENT (1ULL << 3)
#define SCAN_SWAPPED (1ULL << 4)
#define SCAN_ZERO    (1ULL << 5) /* the page of zeros: read, but never written */

struct scan_run {
	uint64_t start, end, categories;
};

struct scan_question {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_question)

struct page_runs {
	int fd;
	bool no_scan;        /* the kernel does not know the question */
	uint64_t start, end; /* what is known: */
	struct scan_run run[MAX_RUNS];
	size_t count, next; /* next: where the last answer came from */
	uint64_t counted;   /* up to here missing bytes were counted */
	uint64_t *entries;
};

int page_runs_new(int pagemap_fd, struct page_runs **out)
{
	struct page_runs *runs = calloc(1, sizeof(*runs));

	*out = runs;
	if (!runs)
		return -ENOMEM;
	runs->fd = pagemap_fd;
	return 0;
}

void page_runs_free(struct page_runs *runs)
{
	if (!runs)
		return;
	free(runs->entries);
	free(runs);
}

static int ask_runs(struct page_runs *runs, uint64_t from, uint64_t to)
{
	struct scan_question question = {
		.size = sizeof(question),
		.start = from,
		.end = to,
		.vec = (uint64_t)(uintptr_t)runs->run,
		.vec_len = MAX_RUNS,
		.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
		.return_mask = SCAN_PRESENT | SCAN_SWAPPED | SCAN_ZERO,
	};
	int n = ioctl(runs->fd, SCAN_IOCTL, &question);

	if (n < 0)
		return -errno;
	runs->count = (size_t)n;
	runs->end = question.walk_end > from ? question.walk_end : to;
	/* a full vector ends before the next run */
	if (n == MAX_RUNS && runs->run[n - 1].end < runs->end)
		runs->end = runs->run[n - 1].end;
	return 0;
}

static int read_runs(struct page_runs *runs, uint64_t from, uint64_t to)
{
	size_t pages = (size_t)((to - from) / PAGE), got;
	ssize_t n;

	if (!runs->entries)
		runs->entries = malloc(READ_PAGES * sizeof(*runs->entries));
	if (!runs->entries)
		return -ENOMEM;
	if (pages > READ_PAGES)
		pages = READ_PAGES;
	n = pread(runs->fd, runs->entries, pages * 8, (off_t)(from / PAGE * 8));
	if (n <= 0)
		return -ESRCH;
	got = (size_t)n / 8;
	runs->count = 0;
	for (size_t i = 0; i < got; i++) {
		uint64_t at = from + i * PAGE, kind = 0;
		struct scan_run *last = runs->count ? &runs->run[runs->count - 1] : NULL;

		if (runs->entries[i] & PAGEMAP_PRESENT)
			kind = SCAN_PRESENT;
		else if (runs->entries[i] & PAGEMAP_SWAPPED)
			kind = SCAN_SWAPPED;
		if (!kind)
			continue;
		if (last && last->end == at && last->categories == kind) {
			last->end = at + PAGE;
			continue;
		}
		if (runs->count == MAX_RUNS) {
			runs->end = at;
			return 0;
		}
		runs->run[runs->count++] = (struct scan_run){at, at + PAGE, kind};
	}
	runs->end = from + got * PAGE;
	return got ? 0 : -ESRCH;
}

static int ask(struct page_runs *runs, uint64_t from, uint64_t to)
{
	int err = -ENOTTY;

	runs->start = from;
	runs->end = from;
	runs->count = runs->next = 0;
	runs->counted = from;
	if (!runs->no_scan) {
		err = ask_runs(runs, from, to);
		runs->no_scan = err == -ENOTTY || err == -EINVAL || err == -EOPNOTSUPP;
	}
	if (runs->no_scan)
		err = read_runs(runs, from, to);
	return err;
}

int page_runs_next(struct page_runs *runs, uint64_t from, uint64_t to, struct memory_run *run, uint64_t *missing_bytes)
{
	from = from / PAGE * PAGE;
	to = (to + PAGE - 1) / PAGE * PAGE;
	while (from < to) {
		int err = 0;

		if (from < runs->start || from >= runs->end || from < runs->counted)
			err = ask(runs, from, to);
		if (err)
			return err;
		for (; runs->next < runs->count; runs->next++) {
			const struct scan_run *found = &runs->run[runs->next];

			if (found->end <= from)
				continue;
			if (found->start >= to)
				return -ENOENT;
			if (found->categories & SCAN_ZERO)
				continue;
			run->start = found->start > from ? found->start : from;
			run->end = found->end < to ? found->end : to;
			if (found->categories & SCAN_PRESENT)
				return 0;
			*missing_bytes += run->end - run->start;
			runs->counted = run->end;
		}
		from = runs->end;
	}
	return -ENOENT;
}
