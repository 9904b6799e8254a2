/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes what the service reads from a client: frames out of a socket, and the options in them. The first
 * byte tells where the stream is cut in two, as a client may send it in pieces.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "cmd/query.h"
#include "fuzz.h"
#include "server/protocol.h"

#define MAX_MESSAGE 256

static void check_list(const struct selection_list *list)
{
	FUZZ_ASSERT(list->count <= SELECTION_MAX);
}

static void check_name(const char *name)
{
	if (!name)
		return;
	FUZZ_ASSERT(*name && strlen(name) <= QUERY_MAX_NAME);
	fuzz_assert_printable(name, strlen(name));
	FUZZ_ASSERT(!strpbrk(name, " \n\"'<>&\\"));
}

static void check_query(const struct query *query)
{
	FUZZ_ASSERT(query->format <= QUERY_CSV && query->selection.order <= SELECTION_BY_PID);
	FUZZ_ASSERT(!(query->selection.types >> MEMORY_TYPE_COUNT));
	FUZZ_ASSERT(!query->style.width || (query->style.width >= 40 && query->style.width <= 10000));
	FUZZ_ASSERT(!query->selection.one_user); /* nobody's to choose */
	check_list(&query->selection.pids);
	check_list(&query->selection.users);
	check_list(&query->selection.devices);
	check_name(query->name);
	check_name(query->from);
	check_name(query->to);
}

static void check_body(const struct protocol_reader *reader)
{
	json_t *request = json_loadb(reader->body, reader->len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *options = json_object_get(request, "options");
	char message[MAX_MESSAGE] = "";
	struct query query;

	FUZZ_ASSERT(reader->len <= PROTOCOL_MAX_REQUEST);
	if (!options)
		options = request;
	if (json_is_object(options) && !query_parse(options, &query, message, sizeof(message))) {
		check_query(&query);
		FUZZ_ASSERT(!*message);
	} else if (json_is_object(options)) {
		FUZZ_ASSERT(*message && strlen(message) < sizeof(message) - 1 && !strchr(message, '\n'));
		fuzz_assert_printable(message, strlen(message));
	}
	json_decref(request);
}

/* Everything that can be read now. 0, or what ended the stream. */
static int drain(struct protocol_reader *reader, int fd)
{
	int got;

	while ((got = protocol_read(reader, fd)) == 1)
		check_body(reader);
	FUZZ_ASSERT(got <= 0 && reader->have <= sizeof(reader->head) + reader->len);
	return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct protocol_reader reader = {.max = PROTOCOL_MAX_REQUEST};
	size_t cut = fuzz_byte(&data, &len) * len / 255;
	int fds[2], got;
	bool inside;

	FUZZ_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
	FUZZ_ASSERT(write(fds[1], data, cut) == (ssize_t)cut);
	got = drain(&reader, fds[0]);
	if (!got) {
		FUZZ_ASSERT(write(fds[1], data + cut, len - cut) == (ssize_t)(len - cut));
		got = drain(&reader, fds[0]);
	}
	close(fds[1]);
	/* Its end is seen as that, and where it was. */
	inside = reader.have;
	if (!got)
		FUZZ_ASSERT(drain(&reader, fds[0]) == (inside ? -ECONNRESET : -EPIPE));
	else
		FUZZ_ASSERT(got == -EMSGSIZE);
	protocol_reader_fini(&reader);
	close(fds[0]);
	return 0;
}
