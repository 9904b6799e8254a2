// SPDX-License-Identifier: BSD-2-Clause
/* Metrics over HTTP, by libmicrohttpd; see metrics.h. */
#include "server/metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"

#define METRICS_MAX_READERS     32
#define METRICS_TIMEOUT_SECONDS 10u
#define METRICS_READER_BYTES    ((size_t)16384) /* for a request's head */
#define METRICS_MAX_ADDRESS     255
#define METRICS_PATH            "/metrics"
#define METRICS_FORMATS         2

static const struct {
	enum metrics_format format;
	const char *content_type;
} metrics_formats[METRICS_FORMATS] = {
	{METRICS_OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"},
	{METRICS_TEXT, "text/plain; version=0.0.4; charset=utf-8"},
};

struct metrics {
	struct MHD_Daemon *daemon;
	int fd;    /* an epoll of the daemon's own and of: */
	int timer; /* when the daemon wants to be run without anything to read */
	metrics_render render;
	void *context;
	struct {
		struct MHD_Response *response; /* or NULL; readers share it */
		uint64_t fresh_until_ns;
	} cached[METRICS_FORMATS];
};

static uint64_t metrics_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- answers ---- */

static enum MHD_Result metrics_answer_short(struct MHD_Connection *connection, unsigned int status, const char *text)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/* NULL: it failed. */
static struct MHD_Response *metrics_make_response(struct metrics *metrics, size_t format)
{
	struct strbuf text = STRBUF_INIT;
	struct MHD_Response *response;

	if (metrics->render(metrics->context, metrics_formats[format].format, &text) || strbuf_error(&text)) {
		strbuf_fini(&text);
		return NULL;
	}
	response = MHD_create_response_from_buffer(text.len, text.data, MHD_RESPMEM_MUST_FREE);
	if (!response)
		strbuf_fini(&text);
	else
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, metrics_formats[format].content_type);
	return response;
}

static void metrics_forget(struct metrics *metrics, size_t format)
{
	if (metrics->cached[format].response)
		MHD_destroy_response(metrics->cached[format].response);
	metrics->cached[format].response = NULL;
}

/* Of a text that was begun at @begun_ns and is ready now. */
static uint64_t metrics_fresh_until_ns(uint64_t begun_ns)
{
	uint64_t now = metrics_now_ns(), fresh = METRICS_FRESH_MS * UINT64_C(1000000);
	uint64_t share = METRICS_SHARE * (now - begun_ns);

	return now + (share > fresh ? share : fresh);
}

static enum MHD_Result metrics_answer(struct metrics *metrics, struct MHD_Connection *connection)
{
	const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	size_t format = accept && strstr(accept, "application/openmetrics-text") ? 0 : 1;
	uint64_t now = metrics_now_ns();

	if (now >= metrics->cached[format].fresh_until_ns)
		metrics_forget(metrics, format);
	if (!metrics->cached[format].response) {
		metrics->cached[format].response = metrics_make_response(metrics, format);
		metrics->cached[format].fresh_until_ns = metrics_fresh_until_ns(now);
	}
	if (!metrics->cached[format].response)
		return metrics_answer_short(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	return MHD_queue_response(connection, MHD_HTTP_OK, metrics->cached[format].response);
}

/* libmicrohttpd's signature: it has these eight. */
static enum MHD_Result metrics_request(void *context, struct MHD_Connection *connection, const char *url,
				       const char *method, const char *version, const char *data, size_t *data_len,
				       void **request)
{
	static char begun;

	(void)version;
	(void)data;
	/* The first call comes with the head; an answer is due at the next, after what the reader sends. */
	if (!*request) {
		*request = &begun;
		return MHD_YES;
	}
	if (*data_len) {
		*data_len = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return metrics_answer_short(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
	if (strcmp(url, METRICS_PATH))
		return metrics_answer_short(connection, MHD_HTTP_NOT_FOUND, "metrics are at " METRICS_PATH "\n");
	return metrics_answer(context, connection);
}

/* ---- the address ---- */

/* Takes HOST and PORT out of @copy, which it changes. @host NULL: the loopback. False: it is no address. */
static bool metrics_split(char *copy, char **host, char **port)
{
	char *colon = strrchr(copy, ':'), *end;

	*host = NULL;
	*port = copy;
	if (colon) {
		*colon = '\0';
		*port = colon + 1;
		*host = colon == copy ? NULL : copy;
	}
	if (*host && **host == '[') {
		end = *host + strlen(*host) - 1;
		if (*end != ']')
			return false;
		*end = '\0';
		++*host;
	} else if (*host && strchr(*host, ':')) {
		return false; /* of [::1]:9187 the brackets are missing */
	}
	return **port && strspn(*port, "0123456789") == strlen(*port) && strlen(*port) <= 5 && atoi(*port) <= 65535 &&
	       (!*host || **host);
}

bool metrics_is_address(const char *address)
{
	char copy[METRICS_MAX_ADDRESS + 1], *host, *port;
	size_t len = strlen(address);

	if (len > METRICS_MAX_ADDRESS)
		return false;
	memcpy(copy, address, len + 1);
	return metrics_split(copy, &host, &port);
}

static int metrics_bind(const struct addrinfo *info)
{
	int fd, on = 1, err;

	fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, METRICS_MAX_READERS)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* A listening socket or -errno, logged. */
static int metrics_listen(const char *address)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	char copy[METRICS_MAX_ADDRESS + 1], *host, *port;
	struct addrinfo *info = NULL;
	int fd, failed;

	if (!metrics_is_address(address)) {
		log_error("\"%s\" is no address for metrics: PORT, HOST:PORT or [HOST]:PORT", address);
		return -EINVAL;
	}
	snprintf(copy, sizeof(copy), "%s", address);
	metrics_split(copy, &host, &port);
	failed = getaddrinfo(host ? host : "127.0.0.1", port, &hints, &info);
	if (failed) {
		log_error("cannot serve metrics at %s: %s", address, gai_strerror(failed));
		return -EADDRNOTAVAIL;
	}
	fd = metrics_bind(info);
	if (fd < 0)
		log_error("cannot serve metrics at %s: %s", address,
			  fd == -EADDRINUSE ? "the port is taken; choose another" : strerror(-fd));
	freeaddrinfo(info);
	return fd;
}

static void metrics_say(int listening)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	char host[NI_MAXHOST], port[NI_MAXSERV];
	bool six;

	if (getsockname(listening, (struct sockaddr *)&name, &len) ||
	    getnameinfo((struct sockaddr *)&name, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	six = name.ss_family == AF_INET6;
	log_info("metrics at http://%s%s%s:%s%s", six ? "[" : "", host, six ? "]" : "", port, METRICS_PATH);
}

/* ---- the loop ---- */

/* When the daemon must be run next although nothing may arrive. */
static void metrics_set_timer(struct metrics *metrics)
{
	struct itimerspec spec = {0};
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(metrics->daemon, &ms) == MHD_YES) {
		spec.it_value.tv_sec = (time_t)(ms / 1000);
		/* All zero would switch it off. */
		spec.it_value.tv_nsec = (long)(ms % 1000) * 1000000 + 1;
	}
	timerfd_settime(metrics->timer, 0, &spec, NULL);
}

int metrics_fd(const struct metrics *metrics)
{
	return metrics->fd;
}

static unsigned int metrics_readers(struct metrics *metrics)
{
	return MHD_get_daemon_info(metrics->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

void metrics_dispatch(struct metrics *metrics)
{
	unsigned int readers;
	uint64_t expired;

	/* Nothing there is no failure: the timer is only one of the reasons. */
	if (read(metrics->timer, &expired, sizeof(expired)) < 0 && errno != EAGAIN)
		log_debug("metrics: timer: %s", strerror(errno));
	/* When all places are taken it listens no more, and again only at the beginning of a run. */
	do {
		readers = metrics_readers(metrics);
		MHD_run(metrics->daemon);
	} while (metrics_readers(metrics) < readers);
	metrics_set_timer(metrics);
}

static int metrics_watch(struct metrics *metrics)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(metrics->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	struct epoll_event event = {.events = EPOLLIN};

	if (!info)
		return -EINVAL;
	metrics->fd = epoll_create1(EPOLL_CLOEXEC);
	metrics->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (metrics->fd < 0 || metrics->timer < 0 || epoll_ctl(metrics->fd, EPOLL_CTL_ADD, info->epoll_fd, &event) ||
	    epoll_ctl(metrics->fd, EPOLL_CTL_ADD, metrics->timer, &event))
		return -errno;
	return 0;
}

int metrics_open(const char *address, metrics_render render, void *context, struct metrics **out)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));
	int listening, err;

	if (!metrics) {
		log_error("out of memory");
		return -ENOMEM;
	}
	metrics->fd = metrics->timer = -1;
	metrics->render = render;
	metrics->context = context;
	listening = metrics_listen(address);
	if (listening < 0) {
		err = listening;
		goto fail;
	}
	metrics->daemon =
		MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, metrics_request, metrics, MHD_OPTION_LISTEN_SOCKET,
				 listening, MHD_OPTION_CONNECTION_LIMIT, (unsigned int)METRICS_MAX_READERS,
				 MHD_OPTION_CONNECTION_TIMEOUT, METRICS_TIMEOUT_SECONDS,
				 MHD_OPTION_CONNECTION_MEMORY_LIMIT, METRICS_READER_BYTES, MHD_OPTION_END);
	err = metrics->daemon ? metrics_watch(metrics) : -ENOMEM;
	if (err) {
		if (!metrics->daemon)
			close(listening); /* otherwise it is the daemon's */
		log_error("cannot serve metrics at %s: %s", address, strerror(-err));
		goto fail;
	}
	metrics_say(listening);
	*out = metrics;
	return 0;
fail:
	metrics_close(metrics);
	return err;
}

void metrics_close(struct metrics *metrics)
{
	if (!metrics)
		return;
	for (size_t i = 0; i < METRICS_FORMATS; i++)
		metrics_forget(metrics, i);
	if (metrics->daemon)
		MHD_stop_daemon(metrics->daemon);
	if (metrics->fd >= 0)
		close(metrics->fd);
	if (metrics->timer >= 0)
		close(metrics->timer);
	free(metrics);
}
