/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a session's outputs go: the report, numbered snapshots, the event stream, and the lines that
 * a person at a terminal sees meanwhile. Chooses the view; the views do the rest.
 */
#ifndef BUFSCOPE_CMD_REPORT_H
#define BUFSCOPE_CMD_REPORT_H

struct notice;
struct options;
struct report;
struct snapshot;

/* Opens the files named by the options. 0 or -errno, logged with the file's name. */
int report_open(const struct options *options, struct report **out);
/* The same on descriptors that somebody else opened (kept by the caller until report_close()); -1: none. */
int report_open_fds(const struct options *options, int report_fd, int events_fd, struct report **out);
void report_close(struct report *report);

void report_notice(struct report *report, const struct notice *notice);
void report_interval(struct report *report, const struct snapshot *snapshot);
/* To the next numbered file beside the report (FILE.1, ...), to the report's terminal if it is one, or to @fd. */
int report_snapshot(struct report *report, const struct snapshot *snapshot, int fd);
int report_final(struct report *report, const struct snapshot *snapshot);

/* Hands buffered event lines to the system; called once a round, so that they never delay the drain. */
void report_flush(struct report *report);

#endif
