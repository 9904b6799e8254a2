// SPDX-License-Identifier: BSD-2-Clause
/* model/store, model/shape and model/freed, each against a plain array as the truth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fail_alloc.h"
#include "model/freed.h"
#include "model/shape.h"
#include "model/store.h"

static uint64_t test_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Of those that differ in low bits, in high bits, by any bit: a key is a key. */
static uint64_t test_key(size_t i)
{
	return i % 3 == 0 ? i : i % 3 == 1 ? (uint64_t)i << 40 : 0x7f0000000000 + i * 192;
}

static void test_store_churn(void **state)
{
	enum { KEYS = 6000, STEPS = 300000 };
	uint64_t *truth = calloc(KEYS, sizeof(*truth)), random = 88172645463325252ULL, walked = 0;
	struct record *record, copy;
	struct store store;
	size_t count = 0, cursor = 0;

	(void)state;
	assert_non_null(truth);
	store_init(&store);
	assert_null(store_find(&store, 0));
	assert_false(store_remove(&store, 0, &copy));
	for (uint64_t step = 1; step <= STEPS; step++) {
		/* Waves: the store fills and empties several times. */
		bool grow = test_random(&random) % 100 < (step / 50000 % 2 ? 30 : 70);
		size_t i = test_random(&random) % KEYS;

		if (grow && !truth[i]) {
			assert_int_equal(store_add(&store, test_key(i), step, &record), 0);
			record->size_bytes = step * 3;
			record->shape = 7;
			truth[i] = step;
			count++;
		} else if (!grow) {
			assert_int_equal(store_remove(&store, test_key(i), &copy), truth[i] != 0);
			if (truth[i]) {
				assert_int_equal(copy.serial, truth[i]);
				assert_int_equal(copy.object, test_key(i));
				assert_int_equal(copy.size_bytes, truth[i] * 3);
				count--;
			}
			truth[i] = 0;
		}
		assert_int_equal(store_count(&store), count);
	}
	for (size_t i = 0; i < KEYS; i++) {
		record = store_find(&store, test_key(i));
		assert_int_equal(record != NULL, truth[i] != 0);
		if (record)
			assert_int_equal(record->serial, truth[i]);
	}
	while ((record = store_next(&store, &cursor)))
		walked++;
	assert_int_equal(walked, count);
	store_fini(&store);
	assert_int_equal(store_memory_bytes(&store), 0);
	free(truth);
}

/* The promise of the head comment, at every size; and that emptying it leaves nothing behind. */
static void test_store_memory(void **state)
{
	const unsigned char *index;
	struct record *record, copy;
	struct store store;

	(void)state;
	store_init(&store);
	for (uint64_t i = 0; i < 200000; i++) {
		assert_int_equal(store_add(&store, i << 6, i + 1, &record), 0);
		if (i > 20000)
			assert_true(store_memory_bytes(&store) <= (i + 1 + STORE_CHUNK_RECORDS) * 64);
	}
	for (uint64_t i = 0; i < 200000; i++)
		assert_true(store_remove(&store, i << 6, &copy));
	for (uint64_t i = 0; i < 200000; i++)
		assert_null(store_find(&store, i << 6));
	/* Also no count of keys that had to pass a full bucket: searches would never end early again. */
	index = (const unsigned char *)store.buckets;
	for (size_t i = 0; i < store.bucket_count * 64; i++)
		assert_int_equal(index[i], 0);
	store_fini(&store);
}

static void test_store_out_of_memory(void **state)
{
	struct record *record;
	struct store store;
	uint32_t failures = 0;

	(void)state;
	store_init(&store);
	for (uint64_t i = 0; i < 5000; i++) {
		for (long n = 0; n < 4; n++) {
			int err;

			fail_alloc_at(n);
			err = store_add(&store, i, i + 1, &record);
			if (!fail_alloc_off()) {
				assert_int_equal(err, 0);
				break;
			}
			assert_int_equal(err, -ENOMEM);
			assert_null(store_find(&store, i));
			failures++;
		}
		assert_int_equal(store_count(&store), i + 1);
	}
	assert_true(failures > 20);
	for (uint64_t i = 0; i < 5000; i++)
		assert_int_equal(store_find(&store, i)->serial, i + 1);
	store_fini(&store);
}

static void test_shapes(void **state)
{
	enum { KEYS = 500 };
	struct shape_key key = {.device = 1};
	uint32_t numbers[KEYS], again;
	struct shape_set set;

	(void)state;
	shape_init(&set);
	for (uint32_t i = 0; i < KEYS; i++) {
		key.page_size_bytes = i;
		key.type = (uint8_t)(i & 3);
		assert_int_equal(shape_intern(&set, &key, &numbers[i]), 1);
		assert_int_equal(shape_intern(&set, &key, &again), 0);
		assert_int_equal(again, numbers[i]);
	}
	for (uint32_t i = 0; i < KEYS; i += 2)
		shape_drop(&set, numbers[i]);
	/* What was dropped is new again, in a place that was given back; the rest stayed where it was. */
	for (uint32_t i = 0; i < KEYS; i++) {
		key.page_size_bytes = i;
		key.type = (uint8_t)(i & 3);
		assert_int_equal(shape_intern(&set, &key, &again), i % 2 ? 0 : 1);
		assert_true(again < KEYS);
		if (i % 2)
			assert_int_equal(again, numbers[i]);
		assert_int_equal(set.shapes[again].key.page_size_bytes, i);
	}
	shape_fini(&set);
}

static void test_freed(void **state)
{
	struct freed freed = {0};
	uint32_t found = 0;

	(void)state;
	assert_null(freed_find(&freed, 0));
	freed_forget(&freed, 0);
	fail_alloc_at(0);
	assert_int_equal(freed_note(&freed, 1, 1, 1), -ENOMEM);
	fail_alloc_off();
	assert_int_equal(freed_note(&freed, 0, 5, 6), 0);
	assert_int_equal(freed_find(&freed, 0)->time_ns, 5);
	assert_int_equal(freed_note(&freed, 0, 7, 8), 0);
	assert_int_equal(freed_find(&freed, 0)->thread, 8);
	freed_forget(&freed, 0);
	assert_null(freed_find(&freed, 0));
	/* Of the last quarter of its size nearly all are there, of long ago none. */
	for (uint64_t i = 0; i < 20 * FREED_OBJECTS; i++)
		assert_int_equal(freed_note(&freed, i * 192, i + 1, 1), 0);
	for (uint64_t i = 0; i < FREED_OBJECTS / 4; i++)
		found += freed_find(&freed, (20 * FREED_OBJECTS - 1 - i) * 192) != NULL;
	assert_true(found > FREED_OBJECTS / 4 * 95 / 100);
	for (uint64_t i = 0; i < 10 * FREED_OBJECTS; i++)
		assert_null(freed_find(&freed, i * 192));
	freed_fini(&freed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_churn),
		cmocka_unit_test(test_store_memory),
		cmocka_unit_test(test_store_out_of_memory),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
