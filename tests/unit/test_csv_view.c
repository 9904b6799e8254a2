// SPDX-License-Identifier: BSD-2-Clause
/* view/csv_view: buffers and processes as CSV, byte for byte (tests/golden). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/strbuf.h"
#include "golden.h"
#include "model_case.h"
#include "view/csv_view.h"

#define MESH 0x5000
#define CHIP 0x6000

/* A command that would break a line, a field and a terminal; a child; buffers in each state; what is not known. */
static struct snapshot *build(struct model_case *c)
{
	case_init(c);
	case_birth_command(c, 1, BIRTH_ATTACH, 0, "a \"b\"\0x,y\nz\033[2J", sizeof("a \"b\"\0x,y\nz\033[2J"));
	case_runtime(c, 1, 0, true);
	case_device(c, 1, MESH, 0, 2);
	case_device(c, 1, CHIP, 4, 1);
	case_alloc(c, 1, 0x100, MESH, MEMORY_DRAM, 1000);
	case_alloc(c, 1, 0x200, CHIP, MEMORY_L1_SMALL, 3000);
	case_alloc(c, 1, 0x300, 0x9999, MEMORY_L1, 500);
	case_bulk_free(c, 1, CHIP + 1);
	case_birth(c, 2, BIRTH_FORK, 1);
	c->thread = 0;
	case_alloc(c, 2, 0x100, MESH, MEMORY_TRACE, UINT64_MAX / 8);
	assert_int_equal(c->err, 0);
	return case_snapshot(c);
}

static void check(const char *name, int (*view)(FILE *out, const struct snapshot *snapshot), bool empty)
{
	struct strbuf got = STRBUF_INIT;
	struct snapshot *snapshot;
	struct model_case c;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	snapshot = build(&c);
	assert_non_null(snapshot);
	assert_non_null(out);
	if (empty)
		snapshot->process_count = 0;
	assert_int_equal(view(out, snapshot), 0);
	fclose(out);
	strbuf_add(&got, text, len);
	assert_golden(name, &got);
	strbuf_fini(&got);
	free(text);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_buffers(void **state)
{
	(void)state;
	check("buffers.csv", csv_view_buffers, false);
}

static void test_processes(void **state)
{
	(void)state;
	check("processes.csv", csv_view_processes, false);
}

/* The heading alone. */
static void test_nothing(void **state)
{
	(void)state;
	check("nothing.csv", csv_view_buffers, true);
}

static void test_nobody_reads(void **state)
{
	FILE *full = fopen("/dev/full", "w");
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	snapshot = build(&c);
	assert_int_equal(csv_view_buffers(full, snapshot), -EIO);
	assert_int_equal(csv_view_processes(full, snapshot), -EIO);
	fclose(full);
	snapshot_free(snapshot);
	case_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buffers),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_nobody_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
