// SPDX-License-Identifier: BSD-2-Clause
/*
 * Serves the metrics of a model that a script on stdin fills: what there is between a snapshot and an
 * HTTP reader, without BPF. One command a line; after each "ready COMMAND" comes on stdout.
 *
 *	process N NAME            a process with a runtime; NAME: its command, %XX are bytes
 *	allocate N OBJECT CHIPS TYPE BYTES   on the chips 0 to CHIPS - 1; TYPE: 0 to 3
 *	free N OBJECT
 *	books N CHIPS TYPE CAPACITY USED
 *	chip N NUMBER PCI         which chip a number of it is
 *	exit N
 *	fail                      rendering fails from here on
 *	summary FILE              the same moment as JSON
 *	renders                   how often the metrics were made: "renders COUNT"
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "model_case.h"
#include "server/metrics.h"
#include "view/json_view.h"
#include "view/metrics_view.h"

struct server {
	struct model_case c;
	struct metrics_figures figures;
	struct metrics *metrics;
	unsigned long renders;
	bool failing;
};

static void count(void *context, const struct notice *notice)
{
	struct server *server = context;

	metrics_count(&server->figures.totals, notice);
}

static int render(void *context, enum metrics_format format, struct strbuf *out)
{
	struct server *server = context;
	struct snapshot *snapshot;
	int err;

	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	server->figures.snapshot_realtime_ns = (uint64_t)now.tv_sec * CASE_SECOND + (uint64_t)now.tv_nsec;
	server->figures.memory_bytes = model_memory_bytes(server->c.model);
	server->renders++;
	if (server->failing)
		return -ENOMEM;
	snapshot = case_snapshot(&server->c);
	if (!snapshot)
		return -ENOMEM;
	err = (format == METRICS_OPENMETRICS ? metrics_write : metrics_write_text)(snapshot, &server->figures, out);
	snapshot_free(snapshot);
	return err;
}

static int summary(struct server *server, const char *path)
{
	const struct json_view view = {.version = "test"};
	struct snapshot *snapshot = case_snapshot(&server->c);
	FILE *file = fopen(path, "w");
	int err = -EIO;

	if (file && snapshot)
		err = json_view_summary(file, &view, snapshot);
	if (file && fclose(file))
		err = -EIO;
	snapshot_free(snapshot);
	return err;
}

/* A command as one argument: NUL-terminated. */
static void birth(struct server *server, uint32_t process, const char *name)
{
	char command[512];
	size_t len = 0;

	while (*name && len < sizeof(command) - 1) {
		unsigned int byte;

		if (*name == '%' && sscanf(name + 1, "%2x", &byte) == 1) {
			command[len++] = (char)byte;
			name += 3;
		} else {
			command[len++] = *name++;
		}
	}
	command[len++] = '\0';
	case_birth_command(&server->c, process, BIRTH_LAUNCH, 0, command, len);
	case_runtime(&server->c, process, 0, true);
}

static void books(struct server *server, uint32_t process, uint32_t chips, unsigned int type, const uint64_t bytes[2])
{
	struct event event = {.kind = EVENT_BOOKS};

	event.books = (struct event_books){
		.allocator = chips + 1,
		.device_object = chips,
		.type = type,
		.state = BOOKS_READ,
		.banks = 1,
		.capacity_bytes = bytes[0],
		.used_bytes = bytes[1],
		.free_bytes = bytes[0] - bytes[1],
		.largest_free_bytes = bytes[0] - bytes[1],
	};
	case_device(&server->c, process, chips, 0, chips);
	case_apply(&server->c, &event, process);
	case_census(&server->c, process, NULL);
}

static int obey(struct server *server, const char *line)
{
	struct model_case *c = &server->c;
	uint64_t object, bytes[2];
	uint32_t process, chips;
	unsigned int type;
	char text[512], pci[16];

	if (sscanf(line, "process %" SCNu32 " %511s", &process, text) == 2) {
		birth(server, process, text);
	} else if (sscanf(line, "allocate %" SCNu32 " %" SCNu64 " %" SCNu32 " %u %" SCNu64, &process, &object, &chips,
			  &type, bytes) == 5) {
		/* The number of chips stands for the device object. */
		case_device(c, process, chips, 0, chips);
		case_alloc(c, process, object, chips, type, bytes[0]);
	} else if (sscanf(line, "free %" SCNu32 " %" SCNu64, &process, &object) == 2) {
		case_free(c, process, object, 1);
	} else if (sscanf(line, "books %" SCNu32 " %" SCNu32 " %u %" SCNu64 " %" SCNu64, &process, &chips, &type, bytes,
			  bytes + 1) == 5) {
		books(server, process, chips, type, bytes);
	} else if (sscanf(line, "chip %" SCNu32 " %" SCNu32 " %15s", &process, &chips, pci) == 3) {
		case_chip(c, process, (int32_t)chips, pci, 0x1234);
	} else if (sscanf(line, "exit %" SCNu32, &process) == 1) {
		case_exit(c, process, 0, 0);
	} else if (!strcmp(line, "fail")) {
		server->failing = true;
	} else if (sscanf(line, "summary %511s", text) == 1) {
		c->err = summary(server, text);
	} else if (!strcmp(line, "renders")) {
		printf("renders %lu\n", server->renders);
	} else {
		return -EINVAL;
	}
	return c->err;
}

/* Until stdin ends. */
static int serve(struct server *server)
{
	struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
				{.fd = metrics_fd(server->metrics), .events = POLLIN}};
	char line[1024];

	/* Not a line more than it asks for: poll() must see the rest. */
	setvbuf(stdin, NULL, _IONBF, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready serving\n");
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (fds[1].revents)
			metrics_dispatch(server->metrics);
		if (!fds[0].revents)
			continue;
		if (!fgets(line, sizeof(line), stdin))
			return 0;
		line[strcspn(line, "\n")] = '\0';
		if (obey(server, line)) {
			fprintf(stderr, "cannot do \"%s\"\n", line);
			return 1;
		}
		printf("ready %s\n", strtok(line, " "));
	}
}

int main(int argc, char **argv)
{
	struct server server = {.figures = {.version = "test",
					    .start_realtime_ns = 1700000000 * CASE_SECOND,
					    .probe_hits = METRICS_UNKNOWN,
					    .probe_ns = METRICS_UNKNOWN,
					    .drain_records = METRICS_UNKNOWN,
					    .drain_ns = METRICS_UNKNOWN}};
	int status;

	if (argc != 2) {
		fprintf(stderr, "usage: metrics-server ADDRESS\n");
		return 2;
	}
	case_init(&server.c);
	if (!server.c.model || metrics_open(argv[1], render, &server, &server.metrics))
		return 1;
	model_set_listener(server.c.model, count, &server);
	status = serve(&server);
	metrics_close(server.metrics);
	case_fini(&server.c);
	return status;
}
