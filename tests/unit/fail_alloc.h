/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that runs out when a test wants it to. Every unit test is linked with --wrap for the malloc
 * family and includes this file once; without a call of fail_alloc_at() nothing fails.
 *
 *	for (long n = 0; ; n++) {
 *		fail_alloc_at(n);
 *		err = do_it();
 *		if (!fail_alloc_off())
 *			break;		// it needed no more than n allocations: all were tried
 *		assert_int_equal(err, -ENOMEM);
 *	}
 */
#ifndef BUFSCOPE_TESTS_FAIL_ALLOC_H
#define BUFSCOPE_TESTS_FAIL_ALLOC_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

static struct {
	long left; /* allocations until the one that fails; negative: none does */
	bool all_after;
	bool happened;
} fail_alloc = {.left = -1};

/* The @n-th allocation from now, counted from 0, fails; those after it do not. */
static inline void fail_alloc_at(long n)
{
	fail_alloc.left = n;
	fail_alloc.all_after = false;
	fail_alloc.happened = false;
}

/* The @n-th allocation from now and all after it fail. */
static inline void fail_alloc_from(long n)
{
	fail_alloc_at(n);
	fail_alloc.all_after = true;
}

/* Back to normal. Returns whether an allocation has failed. */
static inline bool fail_alloc_off(void)
{
	fail_alloc.left = -1;
	return fail_alloc.happened;
}

static inline bool fail_alloc_now(void)
{
	if (fail_alloc.left < 0)
		return false;
	if (fail_alloc.left > 0) {
		fail_alloc.left--;
		return false;
	}
	if (!fail_alloc.all_after)
		fail_alloc.left = -1;
	fail_alloc.happened = true;
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);

void *__wrap_malloc(size_t size)
{
	return fail_alloc_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fail_alloc_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fail_alloc_now() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
	return fail_alloc_now() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
	return fail_alloc_now() ? NULL : __real_strndup(text, len);
}

#endif
