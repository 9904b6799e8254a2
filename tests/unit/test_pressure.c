/* SPDX-License-Identifier: BSD-2-Clause */
/* Marks of the ring's fill, and what /proc/PID/status says of stops that others want. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "source/pressure.h"

#define RECORD      (sizeof(struct wire_object) + 8)              /* with the ring's own header */
#define FIRST       (2 * RECORD + sizeof(struct wire_device) + 8) /* a hit that tells of a device first */
#define BIT(signal) (1ull << ((signal)-1))

/* docs/wire.md: how many threads a ring is enough for. */
static size_t threads(size_t ring_bytes)
{
	struct pressure_marks marks = pressure_marks(ring_bytes);

	return (marks.object - marks.stop) / (2 * RECORD);
}

static void test_marks(void **state)
{
	(void)state;
	for (size_t bytes = 4096; bytes <= 2ull << 30; bytes *= 2) {
		struct pressure_marks marks = pressure_marks(bytes);

		assert_true(marks.resume < marks.wake && marks.wake < marks.stop);
		/* One hit more, even one with a device, and the records of process life: none of them may be lost. */
		assert_true(marks.stop + FIRST < marks.object);
		assert_true(marks.object + sizeof(struct wire_exit) + 8 < bytes);
		assert_true(bytes - marks.object >= 512 && bytes - marks.object <= 1 << 20);
	}
	assert_int_equal(threads(4096), 6);
	assert_int_equal(threads(65536), 96);
	assert_int_equal(threads(64 << 20), 126976);
}

static bool other_stop(uint64_t thread, uint64_t process, uint64_t blocked, uint64_t caught)
{
	char status[512];

	snprintf(status, sizeof(status),
		 "Name:\tShdPnd:\t1\nState:\tT (stopped)\nSigPnd:\t%016llx\nShdPnd:\t%016llx\nSigBlk:\t%016llx\n"
		 "SigIgn:\t0000000000000000\nSigCgt:\t%016llx\n",
		 (unsigned long long)thread, (unsigned long long)process, (unsigned long long)blocked,
		 (unsigned long long)caught);
	return pressure_other_stop(status);
}

static void test_other_stop(void **state)
{
	const int all[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};

	(void)state;
	assert_false(other_stop(0, 0, 0, 0));
	assert_false(other_stop(0, BIT(SIGCONT) | BIT(SIGINT) | BIT(SIGUSR1), 0, 0));
	/* Ours are the threads' own. */
	assert_false(other_stop(BIT(SIGSTOP), 0, 0, 0));
	for (size_t i = 0; i < 4; i++) {
		assert_true(other_stop(0, BIT(all[i]) | BIT(SIGINT), 0, 0));
		assert_true(other_stop(BIT(SIGSTOP), BIT(all[i]), ~BIT(all[i]), ~BIT(all[i])));
	}
	/* What the program handles, or blocks, stops nothing. SIGSTOP can be neither. */
	assert_false(other_stop(0, BIT(SIGTSTP), 0, BIT(SIGTSTP)));
	assert_false(other_stop(0, BIT(SIGTSTP), BIT(SIGTSTP), 0));
	assert_true(other_stop(0, BIT(SIGSTOP), BIT(SIGSTOP), BIT(SIGSTOP)));
	/* A process that is gone has no status. */
	assert_false(pressure_other_stop(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_other_stop),
	};

	return cmocka_run_group_tests_name("pressure", tests, NULL, NULL);
}
