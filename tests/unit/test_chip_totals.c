// SPDX-License-Identifier: BSD-2-Clause
/* Figures of several processes are added up by chip, never by the number that each has for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fail_alloc.h"
#include "model/chip_totals.h"
#include "model_case.h"

#define DEVICE 0x5000
#define ONE    "0000:01:00.0"
#define TWO    "0000:c1:00.0"

/* A running process with @bytes of DRAM on chip @number. */
static void user_of(struct model_case *c, uint32_t process, int32_t number, uint64_t bytes)
{
	case_birth(c, process, BIRTH_ATTACH, 0);
	case_runtime(c, process, 0, true);
	case_device(c, process, DEVICE, number, 1);
	case_alloc(c, process, 0x100, DEVICE, MEMORY_DRAM, bytes);
}

static void expect_row(const struct chip_total *row, const char *pci, int32_t device, size_t members, uint64_t bytes)
{
	assert_int_equal(row->chip.known, pci != NULL);
	assert_string_equal(row->chip.pci, pci ? pci : "");
	assert_int_equal(row->device, device);
	assert_int_equal(row->member_count, members);
	assert_int_equal(row->type_count, 1);
	assert_int_equal(row->types[0].type, MEMORY_DRAM);
	assert_int_equal(row->types[0].live_bytes, bytes);
	assert_int_equal(row->types[0].live_buffers, members);
}

struct made {
	struct model_case model;
	struct snapshot *snapshot;
	struct chip_totals *totals;
};

static void make(struct made *made)
{
	made->snapshot = case_snapshot(&made->model);
	assert_non_null(made->snapshot);
	made->totals = chip_totals_new(made->snapshot);
	assert_non_null(made->totals);
}

static void unmake(struct made *made)
{
	assert_int_equal(made->model.err, 0);
	chip_totals_free(made->totals);
	snapshot_free(made->snapshot);
	case_fini(&made->model);
}

/* Two containers say "device 0" and mean two chips; a third process has both, in the host's order. */
static void test_containers_renumber(void **state)
{
	struct made m;

	(void)state;
	case_init(&m.model);
	user_of(&m.model, 1, 0, 10);
	user_of(&m.model, 2, 0, 20);
	user_of(&m.model, 3, 1, 40);
	case_chip(&m.model, 1, 0, ONE, 0xa);
	case_chip(&m.model, 2, 0, TWO, 0xb);
	case_chip(&m.model, 3, 0, ONE, 0xa);
	case_chip(&m.model, 3, 1, TWO, 0xb);
	make(&m);
	assert_int_equal(m.totals->row_count, 2);
	expect_row(&m.totals->rows[0], ONE, 0, 1, 10);
	expect_row(&m.totals->rows[1], TWO, CHIP_TOTAL_SEVERAL, 2, 60);
	assert_int_equal(m.totals->rows[1].members[0].process->process, 2);
	assert_int_equal(m.totals->rows[1].members[1].process->process, 3);
	assert_int_equal(m.totals->rows[1].members[1].device->device, 1);
	unmake(&m);
}

/* Nothing told which chips they are: one row for each process and number. */
static void test_numbers_are_not_added_up(void **state)
{
	struct made m;

	(void)state;
	case_init(&m.model);
	user_of(&m.model, 1, 0, 10);
	user_of(&m.model, 2, 0, 20);
	user_of(&m.model, 3, 0, 40);
	case_chip(&m.model, 3, 0, TWO, 0);
	make(&m);
	assert_int_equal(m.totals->row_count, 3);
	expect_row(&m.totals->rows[0], TWO, 0, 1, 40);
	expect_row(&m.totals->rows[1], NULL, 0, 1, 10);
	expect_row(&m.totals->rows[2], NULL, 0, 1, 20);
	assert_int_equal(m.totals->rows[2].members[0].process->process, 2);
	unmake(&m);
}

/* The address is enough while an id is not told; ids that differ refute it. */
static void test_unique_id_refutes_an_address(void **state)
{
	struct made m;

	(void)state;
	case_init(&m.model);
	for (uint32_t process = 1; process <= 4; process++)
		user_of(&m.model, process, 0, 1u << process);
	case_chip(&m.model, 1, 0, ONE, 0);
	case_chip(&m.model, 2, 0, ONE, 0xa);
	case_chip(&m.model, 3, 0, TWO, 0xb);
	case_chip(&m.model, 4, 0, TWO, 0xc);
	make(&m);
	assert_int_equal(m.totals->row_count, 3);
	expect_row(&m.totals->rows[0], ONE, 0, 2, 6);
	assert_int_equal(m.totals->rows[0].chip.unique_id, 0xa);
	expect_row(&m.totals->rows[1], TWO, 0, 1, 16);
	expect_row(&m.totals->rows[2], TWO, 0, 1, 8);
	unmake(&m);
}

/* A number that comes to stand for another chip is that of none; a later look may tell the id. */
static void test_contradiction(void **state)
{
	struct made m;

	(void)state;
	case_init(&m.model);
	user_of(&m.model, 1, 0, 10);
	user_of(&m.model, 2, 0, 20);
	case_chip(&m.model, 1, 0, ONE, 0xa);
	case_chip(&m.model, 1, 0, TWO, 0xb);
	case_chip(&m.model, 1, 0, TWO, 0xb);
	case_chip(&m.model, 2, 0, TWO, 0);
	case_chip(&m.model, 2, 0, TWO, 0xb);
	make(&m);
	assert_int_equal(m.totals->row_count, 2);
	expect_row(&m.totals->rows[0], TWO, 0, 1, 20);
	assert_int_equal(m.totals->rows[0].chip.unique_id, 0xb);
	expect_row(&m.totals->rows[1], NULL, 0, 1, 10);
	unmake(&m);
}

/* Who ended holds nothing; types and held buffers have figures of their own; the books give the capacity. */
static void test_what_is_added(void **state)
{
	struct event books = {.kind = EVENT_BOOKS}, census = {.kind = EVENT_CENSUS};
	const struct chip_total *row;
	struct made m;

	(void)state;
	case_init(&m.model);
	user_of(&m.model, 1, 0, 10);
	user_of(&m.model, 2, 0, 20);
	user_of(&m.model, 3, 0, 40);
	for (uint32_t process = 1; process <= 3; process++)
		case_chip(&m.model, process, 0, ONE, 0xa);
	case_alloc(&m.model, 1, 0x200, DEVICE, MEMORY_L1, 5);
	case_bulk_free(&m.model, 2, DEVICE + 1);
	case_exit(&m.model, 3, 0, 0);
	books.books = (struct event_books){
		.allocator = DEVICE + 1,
		.device_object = DEVICE,
		.type = MEMORY_L1,
		.state = BOOKS_READ,
		.capacity_bytes = 1000,
	};
	census.census = (struct event_census){.exact = true, .books_only = true};
	case_apply(&m.model, &books, 1);
	case_apply(&m.model, &census, 1);
	make(&m);
	assert_int_equal(m.totals->row_count, 1);
	row = &m.totals->rows[0];
	assert_int_equal(row->member_count, 2);
	assert_int_equal(row->type_count, 2);
	assert_int_equal(row->types[0].live_bytes, 10);
	assert_int_equal(row->types[0].held_bytes, 20);
	assert_int_equal(row->types[0].held_buffers, 1);
	assert_int_equal(row->types[0].capacity_bytes, 0);
	assert_int_equal(row->types[1].type, MEMORY_L1);
	assert_int_equal(row->types[1].live_bytes, 5);
	assert_int_equal(row->types[1].capacity_bytes, 1000);
	unmake(&m);
}

static void test_nothing(void **state)
{
	struct made m;

	(void)state;
	case_init(&m.model);
	make(&m);
	assert_int_equal(m.totals->row_count, 0);
	unmake(&m);
}

static void test_out_of_memory(void **state)
{
	struct made m;

	(void)state;
	case_init(&m.model);
	user_of(&m.model, 1, 0, 10);
	m.snapshot = case_snapshot(&m.model);
	for (long n = 0;; n++) {
		fail_alloc_at(n);
		m.totals = chip_totals_new(m.snapshot);
		if (!fail_alloc_off())
			break;
		assert_null(m.totals);
	}
	assert_int_equal(m.totals->row_count, 1);
	unmake(&m);
}

/* Of an allocation that fails, the holders are those of the same chip. */
static void test_holders_of_a_failure(void **state)
{
	struct event failed = case_buffer_event(EVENT_OUT_OF_MEMORY, 0, DEVICE, MEMORY_DRAM, 1u << 30);
	const struct snapshot_failure *failure;
	struct made m;

	(void)state;
	case_init(&m.model);
	user_of(&m.model, 1, 0, 10);
	user_of(&m.model, 2, 0, 20);
	user_of(&m.model, 3, 1, 40);
	case_chip(&m.model, 1, 0, TWO, 0xb);
	case_chip(&m.model, 2, 0, ONE, 0xa);
	case_chip(&m.model, 3, 1, TWO, 0xb);
	case_apply(&m.model, &failed, 1);
	make(&m);
	failure = &m.snapshot->processes[0].failures[0];
	assert_int_equal(failure->holder_count, 2);
	assert_int_equal(failure->holders[0].bytes, 40);
	assert_int_equal(failure->holders[1].bytes, 10);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_containers_renumber),
		cmocka_unit_test(test_numbers_are_not_added_up),
		cmocka_unit_test(test_unique_id_refutes_an_address),
		cmocka_unit_test(test_contradiction),
		cmocka_unit_test(test_what_is_added),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_holders_of_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
