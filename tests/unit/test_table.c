// SPDX-License-Identifier: BSD-2-Clause
/* base/table: against a plain array as the truth, under churn, and when memory runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/table.h"
#include "fail_alloc.h"

static uint64_t test_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void test_empty(void **state)
{
	struct table table = {0};
	uint32_t value = 7;
	size_t cursor = 0;
	uint64_t key;

	(void)state;
	assert_false(table_find(&table, 0, &value));
	assert_false(table_remove(&table, 0, &value));
	assert_false(table_next(&table, &cursor, &key, &value));
	assert_int_equal(value, 7);
	assert_int_equal(table_memory_bytes(&table), 0);
	table_fini(&table);
}

static void test_any_key_and_value(void **state)
{
	static const uint64_t keys[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, 1ULL << 63, 0x100000000, 0xffffffff};
	struct table table = {0};
	uint32_t value;

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_int_equal(table_set(&table, keys[i], (uint32_t)i), 0);
	assert_int_equal(table_set(&table, 5, UINT32_MAX - 1), 0);
	assert_int_equal(table_set(&table, 6, UINT32_MAX), -EINVAL);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		assert_true(table_find(&table, keys[i], &value));
		assert_int_equal(value, i);
	}
	assert_true(table_find(&table, 5, &value));
	assert_int_equal(value, UINT32_MAX - 1);
	assert_false(table_find(&table, 6, &value));
	table_fini(&table);
	assert_int_equal(table.count, 0);
}

static void test_replace(void **state)
{
	struct table table = {0};
	uint32_t value;

	(void)state;
	assert_int_equal(table_set(&table, 42, 1), 0);
	assert_int_equal(table_set(&table, 42, 2), 0);
	assert_int_equal(table.count, 1);
	assert_true(table_remove(&table, 42, &value));
	assert_int_equal(value, 2);
	assert_false(table_remove(&table, 42, NULL));
	assert_int_equal(table.count, 0);
	table_fini(&table);
}

/* Keys like heap addresses, set and removed at random: the table must say what the array says. */
static void test_churn(void **state)
{
	enum { KEYS = 3000, STEPS = 200000 };
	struct table table = {0};
	uint32_t *truth = calloc(KEYS, sizeof(*truth)), value;
	uint64_t random = 88172645463325252ULL, key;
	size_t count = 0, cursor = 0, walked = 0;

	(void)state;
	assert_non_null(truth);
	for (uint32_t step = 1; step <= STEPS; step++) {
		size_t i = test_random(&random) % KEYS;

		key = 0x7f0000000000 + i * 64;
		if (test_random(&random) & 1) {
			count += !truth[i];
			truth[i] = step;
			assert_int_equal(table_set(&table, key, step), 0);
		} else {
			assert_int_equal(table_remove(&table, key, &value), truth[i] != 0);
			if (truth[i])
				assert_int_equal(value, truth[i]);
			count -= truth[i] != 0;
			truth[i] = 0;
		}
		assert_int_equal(table.count, count);
	}
	for (size_t i = 0; i < KEYS; i++) {
		bool found = table_find(&table, 0x7f0000000000 + i * 64, &value);

		assert_int_equal(found, truth[i] != 0);
		if (found)
			assert_int_equal(value, truth[i]);
	}
	while (table_next(&table, &cursor, &key, &value)) {
		assert_int_equal(value, truth[(key - 0x7f0000000000) / 64]);
		walked++;
	}
	assert_int_equal(walked, count);
	table_fini(&table);
	free(truth);
}

static void test_memory_bound(void **state)
{
	struct table table = {0};

	(void)state;
	for (uint32_t i = 0; i < 100000; i++) {
		assert_int_equal(table_set(&table, (uint64_t)i << 12, i), 0);
		if (i >= 100)
			assert_true(table_memory_bytes(&table) <= (i + 1) * 21);
		assert_true(table.count < table.capacity);
	}
	table_fini(&table);
}

static void test_out_of_memory(void **state)
{
	struct table table = {0};
	uint32_t value, set = 0;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		fail_alloc_at(0);
		if (table_set(&table, i, i) == -ENOMEM) {
			assert_true(fail_alloc_off());
			assert_false(table_find(&table, i, &value));
			assert_int_equal(table_set(&table, i, i), 0);
			set++;
		}
		fail_alloc_off();
		assert_int_equal(table.count, i + 1);
	}
	assert_true(set > 5);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_true(table_find(&table, i, &value));
		assert_int_equal(value, i);
	}
	table_fini(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),        cmocka_unit_test(test_any_key_and_value),
		cmocka_unit_test(test_replace),      cmocka_unit_test(test_churn),
		cmocka_unit_test(test_memory_bound), cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
