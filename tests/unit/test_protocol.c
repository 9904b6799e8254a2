// SPDX-License-Identifier: BSD-2-Clause
/* server/protocol: frames over a real socket pair, in pieces, cut off, too long; text never cut within a character. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/protocol.h"

struct pair {
	int ours, theirs;
	struct protocol_reader reader;
};

static int setup(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	pair->ours = fds[0];
	pair->theirs = fds[1];
	pair->reader.max = PROTOCOL_MAX_REQUEST;
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	protocol_reader_fini(&pair->reader);
	close(pair->ours);
	if (pair->theirs >= 0)
		close(pair->theirs);
	free(pair);
	return 0;
}

static void feed(struct pair *pair, const void *data, size_t len)
{
	assert_int_equal(write(pair->theirs, data, len), len);
}

static void hang_up(struct pair *pair)
{
	close(pair->theirs);
	pair->theirs = -1;
}

static void test_byte_by_byte(void **state)
{
	static const char two[] = "\0\0\0\2{}\0\0\0\3[1]";
	struct pair *pair = *state;

	assert_int_equal(protocol_read(&pair->reader, pair->ours), 0);
	for (size_t i = 0; i < sizeof(two) - 1; i++) {
		feed(pair, two + i, 1);
		assert_int_equal(protocol_read(&pair->reader, pair->ours), i == 5 || i == sizeof(two) - 2);
		if (i == 5)
			assert_string_equal(pair->reader.body, "{}");
	}
	assert_string_equal(pair->reader.body, "[1]");
	hang_up(pair);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), -EPIPE);
}

static void test_next_frame_stays_in_the_socket(void **state)
{
	struct pair *pair = *state;
	char rest[16];

	feed(pair, "\0\0\0\2{}\0\0\0\3", 10);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), 1);
	assert_int_equal(read(pair->ours, rest, sizeof(rest)), 4);
}

static void test_cut_off(void **state)
{
	struct pair *pair = *state;

	feed(pair, "\0\0\0\5{\"a", 7);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), 0);
	hang_up(pair);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), -ECONNRESET);
}

static void test_too_long(void **state)
{
	struct pair *pair = *state;

	feed(pair, "\0\1\0\1", 4);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), -EMSGSIZE);
	assert_null(pair->reader.body);
}

static void test_largest_and_empty(void **state)
{
	struct pair *pair = *state;
	char *body = calloc(1, PROTOCOL_MAX_REQUEST);

	feed(pair, "\0\0\0\0", 4);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), 1);
	assert_int_equal(pair->reader.len, 0);
	feed(pair, "\0\1\0\0", 4);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), 0);
	feed(pair, body, PROTOCOL_MAX_REQUEST);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), 1);
	assert_int_equal(pair->reader.len, PROTOCOL_MAX_REQUEST);
	free(body);
}

static void test_end_frame(void **state)
{
	struct pair *pair = *state;
	const char *message;
	int end, exit_status;
	json_t *frame;

	assert_int_equal(protocol_send(pair->theirs, protocol_end(3, "too much"), 0), 0);
	assert_int_equal(protocol_read(&pair->reader, pair->ours), 1);
	frame = json_loadb(pair->reader.body, pair->reader.len, 0, NULL);
	assert_int_equal(json_unpack(frame, "{s:b, s:i, s:s}", "end", &end, "exit", &exit_status, "message", &message),
			 0);
	assert_int_equal(end, 1);
	assert_int_equal(exit_status, 3);
	assert_string_equal(message, "too much");
	json_decref(frame);
	assert_int_equal(protocol_send(pair->theirs, NULL, 0), -ENOMEM);
}

/* Puts together the data frames there are now. */
static size_t collect(struct pair *pair, char *text, size_t max)
{
	size_t len = 0;

	pair->reader.max = PROTOCOL_MAX_ANSWER;
	while (protocol_read(&pair->reader, pair->ours) == 1) {
		json_t *frame = json_loadb(pair->reader.body, pair->reader.len, 0, NULL);
		const json_t *data = json_object_get(frame, "data");

		/* jansson refuses half a character, so that it is a string proves it whole. */
		assert_true(json_is_string(data));
		assert_in_range(json_string_length(data), 1, PROTOCOL_MAX_DATA);
		assert_true(len + json_string_length(data) <= max);
		memcpy(text + len, json_string_value(data), json_string_length(data));
		len += json_string_length(data);
		json_decref(frame);
	}
	return len;
}

static void test_stream_never_cuts_characters(void **state)
{
	static const char *const characters[] = {"a", "\u00e9", "\u2713", "\U0001f600"};
	struct pair *pair = *state;

	for (size_t shift = 0; shift < 5; shift++) {
		for (size_t which = 0; which < 4; which++) {
			size_t size = strlen(characters[which]), len = 0, max = 70000;
			char *sent = malloc(max), *got = malloc(max);
			FILE *stream = protocol_stream(pair->theirs, 0);

			assert_non_null(stream);
			while (len < shift)
				sent[len++] = 'x';
			for (; len + size <= max; len += size)
				memcpy(sent + len, characters[which], size);
			assert_int_equal(fwrite(sent, 1, len, stream), len);
			assert_int_equal(fflush(stream), 0);
			fclose(stream);
			assert_int_equal(collect(pair, got, max), len);
			assert_memory_equal(sent, got, len);
			free(sent);
			free(got);
		}
	}
}

static void test_stream_tells_that_nobody_reads(void **state)
{
	struct pair *pair = *state;
	FILE *stream = protocol_stream(pair->ours, 0);

	hang_up(pair);
	fputs("text", stream);
	assert_int_not_equal(fflush(stream), 0);
	fclose(stream);
}

/* Nobody reads: what the socket holds is taken, then the time is over. */
static void test_send_gives_up(void **state)
{
	struct pair *pair = *state;
	int err = 0;

	for (int i = 0; !err && i < 100000; i++)
		err = protocol_send(pair->ours, protocol_end(0, "nobody reads this"), 1);
	assert_int_equal(err, -ETIMEDOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_next_frame_stays_in_the_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_largest_and_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_frame, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream_never_cuts_characters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream_tells_that_nobody_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_gives_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
