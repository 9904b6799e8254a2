/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors, numbering and buffering of a session's outputs. Owns the descriptors it opened. */
#include "cmd/report.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "cmd/options.h"
#include "cmd/output.h"
#include "cmd/summary.h"
#include "view/event_view.h"
#include "view/text_view.h"

#define MAX_PENDING (256u << 20)  /* bytes of event lines that wait for a slow reader */
#define FULL_LOSSES 3             /* lines about lost records before they are merged */
#define LOSS_NS     1000000000ull /* what comes within it is one line then */

struct report {
	const struct options *options;
	bool unnamed;  /* the descriptors were given: their names mean nothing here */
	int fd;        /* the report's */
	int events_fd; /* -1: none */
	unsigned int snapshots;
	struct event_view stream; /* every event, to events_fd */
	struct event_view screen; /* what a person wants to see while it happens, to stderr */
	struct strbuf pending;    /* event lines not yet written */
	size_t written;           /* of pending */
	uint64_t dropped;         /* events for which there was no more room */
	bool failed;              /* said once */
	struct {
		unsigned int said;
		uint32_t pid;
		uint64_t time_ns;         /* of the last line */
		struct event_lost unsaid; /* since then */
	} loss;
};

/* ---- how it looks ---- */

static struct style style_of(const struct options *options, int fd)
{
	struct style style = {.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8")};
	struct winsize size;
	const char *term;

	if (!isatty(fd))
		return style;
	term = getenv("TERM");
	style.colour = options->color && term && strcmp(term, "dumb");
	if (!ioctl(fd, TIOCGWINSZ, &size))
		style.width = size.ws_col;
	return style;
}

/* ---- opening ---- */

int report_open_fds(const struct options *options, int report_fd, int events_fd, struct report **out)
{
	struct report *report = calloc(1, sizeof(*report));

	if (!report) {
		log_error("out of memory");
		return -ENOMEM;
	}
	report->options = options;
	report->unnamed = true;
	report->fd = report_fd;
	report->events_fd = events_fd;
	report->stream.json = options->events_json;
	report->stream.style = style_of(options, events_fd);
	report->screen.style = style_of(options, STDERR_FILENO);
	*out = report;
	return 0;
}

int report_open(const struct options *options, struct report **out)
{
	int fd = output_open(options->output), events_fd = -1, err = 0;

	if (fd < 0)
		return fd;
	if (options->events) {
		events_fd = output_open(options->events);
		err = events_fd < 0 ? events_fd : 0;
	}
	if (!err)
		err = report_open_fds(options, fd, events_fd, out);
	if (err) {
		close(fd);
		if (events_fd >= 0)
			close(events_fd);
		return err;
	}
	(*out)->unnamed = false;
	return 0;
}

void report_close(struct report *report)
{
	if (!report)
		return;
	event_view_fini(&report->stream);
	event_view_fini(&report->screen);
	strbuf_fini(&report->pending);
	close(report->fd);
	if (report->events_fd >= 0)
		close(report->events_fd);
	free(report);
}

/* ---- writing ---- */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int write_json(int fd, const struct snapshot *snapshot)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), err;
	FILE *file = copy >= 0 ? fdopen(copy, "w") : NULL;

	if (!file) {
		if (copy >= 0)
			close(copy);
		return -ENOMEM;
	}
	err = summary_json(file, snapshot, NULL);
	if (fclose(file) && !err)
		err = -errno;
	return err;
}

/* Tables that follow each other are told apart by their time. */
static void add_heading(struct strbuf *text)
{
	time_t now = (time_t)(clock_ns(CLOCK_REALTIME) / 1000000000);
	struct tm local;
	char line[64];

	if (localtime_r(&now, &local) && strftime(line, sizeof(line), "--- %Y-%m-%d %H:%M:%S ---\n", &local))
		strbuf_adds(text, line);
}

static int write_text(const struct report *report, int fd, const struct snapshot *snapshot, bool last)
{
	struct text_view view = {
		.style = style_of(report->options, fd),
		.max_buffers = report->options->buffers == OPTIONS_ALL_BUFFERS ? TEXT_VIEW_ALL_BUFFERS
									       : report->options->buffers,
	};
	struct strbuf text = STRBUF_INIT;
	int err;

	if (!last)
		add_heading(&text);
	err = text_view_summary(&text, &view, snapshot);
	if (!err)
		err = output_write(fd, strbuf_str(&text), text.len);
	strbuf_fini(&text);
	return err;
}

static int write_snapshot(struct report *report, int fd, const struct snapshot *snapshot, const char *what, bool last)
{
	int err;

	err = report->options->format == FORMAT_JSON ? write_json(fd, snapshot)
						     : write_text(report, fd, snapshot, last);
	if (err)
		log_error("cannot write the %s: %s", what, strerror(-err));
	return err;
}

int report_snapshot(struct report *report, const struct snapshot *snapshot, int fd)
{
	const char *output = report->options->output;
	char path[PATH_MAX];
	int own = -1, err;

	if (fd < 0 && output && strcmp(output, "-") && !report->unnamed) {
		snprintf(path, sizeof(path), "%s.%u", output, ++report->snapshots);
		own = output_open(path);
		if (own < 0)
			return own;
		fd = own;
	}
	err = write_snapshot(report, fd >= 0 ? fd : report->fd, snapshot, "snapshot", false);
	if (own >= 0)
		close(own);
	return err;
}

void report_interval(struct report *report, const struct snapshot *snapshot)
{
	write_snapshot(report, report->fd, snapshot, "table", false);
}

/* ---- events ---- */

/* Writes what the reader takes without making us wait; with @all, everything. */
static void write_pending(struct report *report, bool all)
{
	struct pollfd ready = {.fd = report->events_fd, .events = POLLOUT};
	size_t left, chunk;
	int err = 0;

	while (!err && report->written < report->pending.len) {
		if (!all && (poll(&ready, 1, 0) <= 0 || !(ready.revents & (POLLOUT | POLLERR | POLLHUP))))
			return;
		left = report->pending.len - report->written;
		/* A pipe that is ready takes at least this much at once. */
		chunk = left < PIPE_BUF ? left : PIPE_BUF;
		err = output_write(report->events_fd, report->pending.data + report->written, chunk);
		report->written += chunk;
	}
	strbuf_reset(&report->pending);
	report->written = 0;
	if (err && !report->failed) {
		report->failed = true;
		log_error("cannot write the events, no more will be written: %s", strerror(-err));
	}
}

static bool wanted_on_screen(enum notice_kind kind)
{
	return kind == NOTICE_UNMATCHED_FREE || kind == NOTICE_CLEAR || kind == NOTICE_LOST;
}

/*
 * Records are lost in bursts, hundreds of them a second: the first few are told as they come, then
 * what came together in a second. False: nothing to be told now. The report has the sums.
 */
static bool merge_loss(struct report *report, struct notice *notice)
{
	uint32_t pid = notice->process ? notice->process->pid : 0;
	struct event_lost *unsaid = &report->loss.unsaid;

	if (pid != report->loss.pid)
		memset(unsaid, 0, sizeof(*unsaid));
	report->loss.pid = pid;
	unsaid->allocations += notice->lost.allocations;
	unsaid->frees += notice->lost.frees;
	unsaid->others += notice->lost.others;
	if (report->loss.said >= FULL_LOSSES && notice->time_ns < report->loss.time_ns + LOSS_NS)
		return false;
	report->loss.said++;
	report->loss.time_ns = notice->time_ns;
	notice->lost = *unsaid;
	memset(unsaid, 0, sizeof(*unsaid));
	return true;
}

static void show(struct report *report, const struct notice *notice)
{
	struct strbuf text = STRBUF_INIT;
	struct notice merged = *notice;

	if (notice->kind == NOTICE_LOST && !merge_loss(report, &merged))
		return;
	if (!event_view_notice(&text, &report->screen, &merged))
		output_write(STDERR_FILENO, strbuf_str(&text), text.len);
	strbuf_fini(&text);
}

void report_notice(struct report *report, const struct notice *notice)
{
	if (!report->options->quiet && wanted_on_screen(notice->kind))
		show(report, notice);
	if (report->events_fd < 0 || report->failed)
		return;
	if (report->pending.len - report->written > MAX_PENDING) {
		report->dropped++;
		return;
	}
	if (event_view_notice(&report->pending, &report->stream, notice))
		report->dropped++;
}

void report_flush(struct report *report)
{
	if (report->events_fd >= 0 && report->pending.len)
		write_pending(report, false);
}

int report_final(struct report *report, const struct snapshot *snapshot)
{
	struct strbuf text = STRBUF_INIT;
	int err;

	if (!report->options->quiet && !event_view_finish(&text, &report->screen))
		output_write(STDERR_FILENO, strbuf_str(&text), text.len);
	strbuf_fini(&text);
	if (report->events_fd >= 0) {
		event_view_finish(&report->pending, &report->stream);
		if (report->pending.len)
			write_pending(report, true);
		if (report->dropped)
			log_error("%llu event lines were dropped: their reader was too slow",
				  (unsigned long long)report->dropped);
	}
	err = write_snapshot(report, report->fd, snapshot, "report", true);
	return err || !(report->failed || report->dropped) ? err : -EIO;
}
