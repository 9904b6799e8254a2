/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw records into events: every kind, and records that are too short or make no sense. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/runtime.h"
#include "source/decode.h"

static bool fake_decode(const struct library_plan *plan, enum probe_role role, const uint8_t *window,
			struct event_buffer *buffer)
{
	(void)plan;
	(void)role;
	if (window[0] == 0xff)
		return false;
	buffer->size_bytes = window[0];
	return true;
}

static const struct runtime fake_runtime = {.name = "fake", .decode = fake_decode};
static const struct library_plan fake_plan = {.runtime = &fake_runtime};

static const struct library_plan *plan_of(void *context, uint32_t library)
{
	(void)context;
	return library == 3 ? &fake_plan : NULL;
}

static struct wire_head head(uint8_t kind, uint8_t role)
{
	return (struct wire_head){
		.time_ns = 5, .process = 7, .pid = 8, .thread = 9, .kind = kind, .role = role, .library = 3};
}

/* Decodes a copy of exactly @len bytes, so that the sanitizer sees any read beyond. */
static int decode(const void *record, size_t len, struct decoded *out)
{
	void *copy = malloc(len ? len : 1);
	int err;

	assert_non_null(copy);
	memcpy(copy, record, len);
	err = decode_record(copy, len, plan_of, NULL, out);
	free(copy);
	return err;
}

static void test_object(void **state)
{
	struct wire_object record = {.head = head(WIRE_OBJECT, PROBE_ALLOCATE), .object = 0x1000, .window = {42}};
	struct decoded out;

	(void)state;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_ALLOCATE);
	assert_int_equal(out.event.process, 7);
	assert_int_equal(out.event.thread, 9);
	assert_int_equal(out.event.time_ns, 5);
	assert_int_equal(out.event.buffer.object, 0x1000);
	assert_int_equal(out.event.buffer.size_bytes, 42);
	record.head.role = PROBE_FREE;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_FREE);
	/* The runtime says that this hit is none of ours. */
	record.window[0] = 0xff;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, 0);
	record.head.flags = WIRE_UNREADABLE;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_FREE);
	assert_int_equal(out.event.buffer.fault, BUFFER_FAULT_UNREADABLE);
	record.head.role = PROBE_CLOSE;
	assert_int_equal(decode(&record, sizeof(record), &out), -EINVAL);
	record.head = head(WIRE_OBJECT, PROBE_FREE);
	record.head.library = 4;
	assert_int_equal(decode(&record, sizeof(record), &out), -EINVAL);
}

/* A failed allocation: without its object the type is still decoded. */
static void test_failure(void **state)
{
	struct wire_object record = {.head = head(WIRE_OBJECT, PROBE_OUT_OF_MEMORY), .object = 0x1000, .window = {42}};
	struct decoded out;

	(void)state;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_OUT_OF_MEMORY);
	assert_int_equal(out.event.buffer.size_bytes, 42);
	assert_int_equal(out.event.buffer.fault, BUFFER_FAULT_NONE);
	record.head.flags = WIRE_NOT_FOUND;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_OUT_OF_MEMORY);
	assert_int_equal(out.event.buffer.size_bytes, 42);
	assert_int_equal(out.event.buffer.fault, BUFFER_FAULT_UNREADABLE);
}

static void test_call(void **state)
{
	struct wire_call record = {.head = head(WIRE_CALL, PROBE_CLOSE), .argument = 0x2000};
	struct decoded out;

	(void)state;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_CLOSE);
	assert_int_equal(out.event.device_object, 0x2000);
	record.head.role = PROBE_BULK_FREE;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_BULK_FREE);
	assert_int_equal(out.event.allocator, 0x2000);
	record.head.role = PROBE_DESTROY;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_RELEASE);
	assert_int_equal(out.event.buffer.object, 0x2000);
	record.head.role = PROBE_ALLOCATE;
	assert_int_equal(decode(&record, sizeof(record), &out), -EINVAL);
}

static void test_device(void **state)
{
	struct wire_device record = {.head = head(WIRE_DEVICE, 0),
				     .object = 0x3000,
				     .is_mesh = 1,
				     .chip_count = 2,
				     .cut_off = 1,
				     .chips = {4, 0}};
	struct decoded out;

	(void)state;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_DEVICE);
	assert_true(out.event.device.readable);
	assert_true(out.event.device.is_mesh);
	assert_int_equal(out.event.device.device_object, 0x3000);
	assert_int_equal(out.event.device.chip_count, 2);
	assert_int_equal(out.event.device.cut_off, 1);
	assert_int_equal(out.event.device.chips[0], 4);
	assert_int_equal(out.event.device.chips[1], 0);
	record.head.flags = WIRE_UNREADABLE;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_false(out.event.device.readable);
	record.chip_count = WIRE_MAX_CHIPS + 1;
	assert_int_equal(decode(&record, sizeof(record), &out), -EINVAL);
}

static void test_life(void **state)
{
	struct wire_fork fork = {.head = head(WIRE_FORK, 0), .start_ns = 11, .parent = 12, .parent_pid = 13};
	struct wire_exec exec = {.head = head(WIRE_EXEC, 0), .start_ns = 11, .next = 14, .exec_count = 2};
	struct wire_exit record = {.head = head(WIRE_EXIT, 0), .lost = {1, 2, 3}};
	struct decoded out;

	(void)state;
	assert_int_equal(decode(&fork, sizeof(fork), &out), 0);
	assert_int_equal(out.event.kind, EVENT_BIRTH);
	assert_int_equal(out.event.birth.how, BIRTH_FORK);
	assert_int_equal(out.event.birth.pid, 8);
	assert_int_equal(out.event.birth.parent, 12);
	assert_int_equal(out.event.birth.start_ns, 11);
	assert_int_equal(decode(&exec, sizeof(exec), &out), 0);
	assert_int_equal(out.event.kind, EVENT_EXEC);
	assert_int_equal(out.exec_next, 14);
	assert_int_equal(out.exec_count, 2);
	/* wait(2)'s encoding: _exit(7), SIGKILL, SIGSEGV with a core. */
	record.exit_code = 0x700;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.kind, EVENT_EXIT);
	assert_int_equal(out.event.exit.status, 7);
	assert_int_equal(out.event.exit.signal, 0);
	assert_int_equal(out.lost.allocations, 1);
	assert_int_equal(out.lost.others, 3);
	record.exit_code = 9;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.exit.status, -1);
	assert_int_equal(out.event.exit.signal, 9);
	assert_false(out.event.exit.core_dumped);
	record.exit_code = 0x80 | 11;
	assert_int_equal(decode(&record, sizeof(record), &out), 0);
	assert_int_equal(out.event.exit.signal, 11);
	assert_true(out.event.exit.core_dumped);
}

static void test_hostile(void **state)
{
	static const size_t sizes[] = {0,
				       sizeof(struct wire_object),
				       sizeof(struct wire_call),
				       sizeof(struct wire_device),
				       sizeof(struct wire_fork),
				       sizeof(struct wire_exec),
				       sizeof(struct wire_exit),
				       sizeof(struct wire_adopt)};
	uint8_t record[512] = {0};
	struct decoded out;

	(void)state;
	for (unsigned int kind = 0; kind < 256; kind++) {
		struct wire_head h = head((uint8_t)kind, PROBE_DESTROY);
		size_t whole = kind && kind < sizeof(sizes) / sizeof(sizes[0]) ? sizes[kind] : sizeof(record) + 1;

		memcpy(record, &h, sizeof(h));
		for (size_t len = 0; len <= sizeof(record); len++) {
			int err = decode(record, len, &out);

			if (len < whole)
				assert_int_equal(err, -EINVAL);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_object), cmocka_unit_test(test_failure), cmocka_unit_test(test_call),
		cmocka_unit_test(test_device), cmocka_unit_test(test_life),    cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
