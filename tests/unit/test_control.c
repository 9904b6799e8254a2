// SPDX-License-Identifier: BSD-2-Clause
/* server/control: time limits, by a clock that the test turns, and what the callbacks can do. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"
#include "server/control.h"
#include "server/protocol.h"

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

static time_t turned; /* seconds that have passed by the test's will */

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int err = __real_clock_gettime(clock, now);

	now->tv_sec += turned;
	return err;
}

struct service {
	struct loop *loop;
	struct control *control;
	char folder[32], path[64];
	int begin_error;
	bool with_file, keeps_file;
	int file; /* the last that begin() opened */
	unsigned int begun, finished, closed;
};

/* "done" and "later" are for the server itself; it keeps something for the latter's connection. */
static enum control_taken take(void *context, struct control_request *request, struct control_answer *out)
{
	struct service *service = context;

	if (!strcmp(request->command, "done")) {
		snprintf(out->message, sizeof(out->message), "at once");
		return CONTROL_DONE;
	}
	if (strcmp(request->command, "later"))
		return CONTROL_LEFT;
	request->state = service;
	return CONTROL_LATER;
}

static void closed(void *context, struct control_request *request)
{
	struct service *service = context;

	assert_ptr_equal(request->state, service);
	service->closed++;
}

static int begin(void *context, struct control_request *request)
{
	struct service *service = context;

	service->begun++;
	if (service->with_file)
		request->file = service->file = memfd_create("answer", MFD_CLOEXEC);
	return service->begin_error;
}

static void answer(void *context, const struct control_request *request, struct control_answer *out)
{
	(void)context;
	if (request->file >= 0 && write(request->file, "written", 7) != 7)
		out->exit_status = 1;
	fprintf(out->out, "answer to %s", request->command);
}

static void finish(void *context, struct control_request *request, struct control_answer *out)
{
	struct service *service = context;
	char text[8] = "";

	service->finished++;
	assert_int_equal(pread(request->file, text, 7, 0), 7);
	assert_string_equal(text, "written");
	if (service->keeps_file)
		request->file = -1;
	snprintf(out->message, sizeof(out->message), "finished");
}

static int setup(void **state)
{
	struct service *service = calloc(1, sizeof(*service));
	struct control_callbacks callbacks = {
		.take = take, .closed = closed, .begin = begin, .answer = answer, .finish = finish, .context = service};

	turned = 0;
	strcpy(service->folder, "/tmp/bufscope-XXXXXX");
	assert_non_null(mkdtemp(service->folder));
	snprintf(service->path, sizeof(service->path), "%s/control", service->folder);
	service->loop = loop_new();
	assert_int_equal(control_open(service->loop, service->path, PEER_NO_GROUP, &callbacks, &service->control), 0);
	*state = service;
	return 0;
}

static int teardown(void **state)
{
	struct service *service = *state;

	control_close(service->control);
	loop_free(service->loop);
	/* Nothing is left in it: neither socket nor lock. */
	assert_int_equal(rmdir(service->folder), 0);
	free(service);
	return 0;
}

static void rounds(struct service *service)
{
	/* One accepts, one reads, one does what is due. */
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_round(service->loop, 0), 0);
}

static void pass(struct service *service, time_t seconds)
{
	turned += seconds;
	rounds(service);
}

static int dial(struct service *service)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 60};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, service->path);
	/* An answer that does not come fails the test. */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	rounds(service);
	return fd;
}

static void ask(struct service *service, int fd, const char *command)
{
	json_t *request = json_pack("{s:i, s:s, s:s, s:{}}", "protocol", PROTOCOL_VERSION, "client", "test", "command",
				    command, "options");

	assert_int_equal(protocol_send(fd, request, -1), 0);
	rounds(service);
}

/* Until the child has ended, and the server knows. */
static void reap(struct service *service)
{
	siginfo_t info;

	assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	control_reap(service->control);
}

static json_t *next_frame(int fd)
{
	struct protocol_reader reader = {.max = PROTOCOL_MAX_ANSWER};
	json_t *frame;

	assert_int_equal(protocol_read(&reader, fd), 1);
	frame = json_loadb(reader.body, reader.len, 0, NULL);
	protocol_reader_fini(&reader);
	assert_non_null(frame);
	return frame;
}

static void assert_data(int fd, const char *text)
{
	json_t *frame = next_frame(fd);

	assert_string_equal(json_string_value(json_object_get(frame, "data")), text);
	json_decref(frame);
}

static void assert_end(int fd, int status, const char *message)
{
	json_t *frame = next_frame(fd);
	const json_t *got = json_object_get(frame, "message");

	assert_true(json_is_true(json_object_get(frame, "end")));
	assert_int_equal(json_integer_value(json_object_get(frame, "exit")), status);
	if (message)
		assert_string_equal(json_string_value(got), message);
	else
		assert_true(json_is_null(got));
	json_decref(frame);
}

static void assert_closed(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
}

static void assert_open(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void test_answers_on_one_connection(void **state)
{
	struct service *service = *state;
	int fd = dial(service);

	for (int i = 0; i < 3; i++) {
		ask(service, fd, i ? "this" : "that");
		assert_data(fd, i ? "answer to this" : "answer to that");
		assert_end(fd, 0, NULL);
		reap(service);
	}
	assert_int_equal(service->finished, 0);
	assert_open(fd);
	close(fd);
	rounds(service);
}

#define TOO_LONG "the service closes: it waited too long for a request"

static void test_a_silent_client(void **state)
{
	struct service *service = *state;
	int fd = dial(service);

	pass(service, 50);
	assert_open(fd);
	pass(service, 11);
	assert_end(fd, 1, TOO_LONG);
	assert_closed(fd);
}

static void test_a_slow_request(void **state)
{
	static const char head[] = {0, 0, 1, 0};
	struct service *service = *state;
	int fd = dial(service);

	pass(service, 40);
	assert_int_equal(write(fd, head, 1), 1);
	rounds(service);
	/* From the first byte on, not the last: a byte now and then does not help. */
	for (int i = 1; i < 4; i++) {
		pass(service, 2);
		assert_open(fd);
		assert_int_equal(write(fd, head + i, 1), 1);
		rounds(service);
	}
	pass(service, 5);
	assert_end(fd, 1, TOO_LONG);
	close(fd);
}

/* While it waits for its answer it need not say anything; afterwards its time begins anew. */
static void test_time_begins_anew(void **state)
{
	struct service *service = *state;
	int fd = dial(service);

	pass(service, 50);
	ask(service, fd, "x");
	pass(service, 100);
	assert_data(fd, "answer to x");
	assert_end(fd, 0, NULL);
	reap(service);
	pass(service, 50);
	assert_open(fd);
	pass(service, 11);
	assert_end(fd, 1, TOO_LONG);
	assert_closed(fd);
}

/* For who does not wait any more no answer is made; for who has nothing more to ask one is. */
static void test_gone_before_its_turn(void **state)
{
	struct service *service = *state;
	static const char request[] = "\0\0\0\x2e"
				      "{\"protocol\": 1, \"command\": \"x\", \"options\": {}}";
	int fd = dial(service);

	assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
	close(fd);
	rounds(service);
	assert_int_equal(service->begun, 0);
	fd = dial(service);
	assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
	shutdown(fd, SHUT_WR);
	rounds(service);
	assert_int_equal(service->begun, 1);
	assert_data(fd, "answer to x");
	assert_end(fd, 0, NULL);
	reap(service);
	close(fd);
	rounds(service);
}

/* Without a child: at once, or when it is woken. A connection that something is kept for may be silent. */
static void test_the_server_answers_itself(void **state)
{
	struct service *service = *state;
	int fd = dial(service);

	ask(service, fd, "done");
	assert_end(fd, 0, "at once");
	ask(service, fd, "later");
	pass(service, 1000);
	assert_open(fd);
	control_wake(service->control, service);
	rounds(service);
	assert_end(fd, 0, NULL);
	pass(service, 1000);
	assert_open(fd);
	assert_int_equal(service->begun + service->closed, 0);
	close(fd);
	rounds(service);
	assert_int_equal(service->closed, 1);
}

static void test_begin_fails(void **state)
{
	struct service *service = *state;
	int fd = dial(service);

	service->begin_error = -ENOMEM;
	service->with_file = true;
	ask(service, fd, "x");
	assert_end(fd, 1, "the service is out of memory: try again");
	assert_int_equal(fcntl(service->file, F_GETFD), -1);
	service->begin_error = 0;
	service->with_file = false;
	ask(service, fd, "y");
	assert_data(fd, "answer to y");
	assert_end(fd, 0, NULL);
	reap(service);
	close(fd);
	rounds(service);
}

static void test_a_file_that_is_taken_over(void **state)
{
	struct service *service = *state;
	int fd = dial(service);

	service->with_file = service->keeps_file = true;
	ask(service, fd, "x");
	assert_data(fd, "answer to x");
	reap(service);
	assert_end(fd, 0, "finished");
	assert_int_equal(service->finished, 1);
	assert_int_not_equal(fcntl(service->file, F_GETFD), -1);
	close(service->file);
	close(fd);
	rounds(service);
}

static void test_a_file_that_nobody_takes(void **state)
{
	struct service *service = *state;
	int fd = dial(service);

	service->with_file = true;
	ask(service, fd, "x");
	assert_data(fd, "answer to x");
	reap(service);
	assert_end(fd, 0, "finished");
	assert_int_equal(fcntl(service->file, F_GETFD), -1);
	close(fd);
	rounds(service);
}

/* The end in the middle of an answer: the child is gone too, nothing is finished, and its file is closed. */
static void test_closed_in_the_middle(void **state)
{
	struct service *service = *state;
	int fd = dial(service);

	service->with_file = true;
	ask(service, fd, "x");
	control_close(service->control);
	service->control = NULL;
	assert_int_equal(service->finished, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(fcntl(service->file, F_GETFD), -1);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_answers_on_one_connection),
		TEST(test_a_silent_client),
		TEST(test_a_slow_request),
		TEST(test_time_begins_anew),
		TEST(test_gone_before_its_turn),
		TEST(test_the_server_answers_itself),
		TEST(test_begin_fails),
		TEST(test_a_file_that_is_taken_over),
		TEST(test_a_file_that_nobody_takes),
		TEST(test_closed_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
