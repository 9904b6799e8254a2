// SPDX-License-Identifier: BSD-2-Clause
/* cmd/marks: who gives way to whom, and that nothing is given up for a mark that finds no room all the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <unistd.h>

#include "cmd/marks.h"
#include "fail_alloc.h"
#include "model/moment.h"

#define MB (UINT64_C(1) << 20)

static const struct peer root = {.user = 0, .sees_all = true};
static const struct peer alice = {.user = 1000}, bob = {.user = 1001};

/* A mark of @bytes. */
static int add(struct marks *marks, const struct peer *owner, const char *name, uint64_t bytes, unsigned int *dropped)
{
	const struct moment_head head = {.now_ns = 5};
	int fd = marks_new_file();

	assert_true(fd >= 0);
	assert_int_equal(write(fd, &head, sizeof(head)), sizeof(head));
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return marks_add(marks, owner, name, fd, dropped);
}

static void test_oldest_of_its_owner_gives_way(void **state)
{
	struct marks marks = {0};
	unsigned int dropped;

	(void)state;
	assert_int_equal(add(&marks, &bob, "bobs", MB, &dropped), 0);
	assert_int_equal(add(&marks, &alice, "a", 20 * MB, &dropped), 0);
	assert_int_equal(add(&marks, &alice, "b", 10 * MB, &dropped), 0);
	assert_int_equal(dropped, 0);
	assert_int_equal(add(&marks, &alice, "c", 15 * MB, &dropped), 0);
	assert_int_equal(dropped, 1);
	assert_null(marks_find(&marks, &alice, "a"));
	assert_non_null(marks_find(&marks, &alice, "b"));
	assert_non_null(marks_find(&marks, &bob, "bobs"));
	marks_fini(&marks);
}

/* Larger than all of a user's marks may be: what they have stays, the one of this name too. */
static void test_too_large(void **state)
{
	struct marks marks = {0};
	unsigned int dropped;

	(void)state;
	assert_int_equal(add(&marks, &alice, "a", MB, &dropped), 0);
	assert_int_equal(add(&marks, &alice, "b", MB, &dropped), 0);
	assert_int_equal(add(&marks, &alice, "a", MARKS_MAX_USER_BYTES + 1, &dropped), -EFBIG);
	assert_int_equal(dropped, 0);
	assert_non_null(marks_find(&marks, &alice, "a"));
	assert_non_null(marks_find(&marks, &alice, "b"));
	marks_fini(&marks);
}

/* What others hold is not given up, and nothing of one's own in vain. */
static void test_others_fill_it(void **state)
{
	struct marks marks = {0};
	unsigned int dropped;

	(void)state;
	assert_int_equal(add(&marks, &alice, "a", MB, &dropped), 0);
	assert_int_equal(add(&marks, &root, "large", MARKS_MAX_BYTES - 10 * MB, &dropped), 0);
	assert_int_equal(add(&marks, &alice, "b", 11 * MB, &dropped), -EFBIG);
	assert_non_null(marks_find(&marks, &alice, "a"));
	assert_int_equal(add(&marks, &alice, "b", 10 * MB, &dropped), 0);
	assert_int_equal(dropped, 1);
	assert_null(marks_find(&marks, &alice, "a"));
	marks_fini(&marks);
}

static void test_same_name_is_replaced(void **state)
{
	struct marks marks = {0};
	unsigned int dropped;

	(void)state;
	assert_int_equal(add(&marks, &alice, "a", MB, &dropped), 0);
	assert_int_equal(add(&marks, &root, "a", MB, &dropped), 0);
	assert_int_equal(add(&marks, &alice, "a", 2 * MB, &dropped), 0);
	assert_int_equal(dropped, 0);
	assert_int_equal(marks.count, 2);
	assert_int_equal(marks_find(&marks, &alice, "a")->bytes, 2 * MB);
	marks_fini(&marks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_oldest_of_its_owner_gives_way),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_others_fill_it),
		cmocka_unit_test(test_same_name_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
