// SPDX-License-Identifier: BSD-2-Clause
/*
 * model/moment, difference, size_class, growth and the views of them: what is kept of a moment is all
 * that a comparison needs; nothing is taken for new or gone that is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/strbuf.h"
#include "fail_alloc.h"
#include "golden.h"
#include "model/difference.h"
#include "model/growth.h"
#include "model/moment.h"
#include "model/size_class.h"
#include "model_case.h"
#include "view/diff_view.h"
#include "view/growth_view.h"
#include "view/marks_view.h"
#include "view/ps_view.h"

#define DEVICE 0x5000
#define MB     (1 << 20)

static void begin(struct model_case *c, uint32_t process)
{
	case_birth(c, process, BIRTH_LAUNCH, 0);
	case_runtime(c, process, 0, true);
	case_device(c, process, DEVICE, 0, 2);
}

static struct snapshot *packed(const struct model_case *c)
{
	struct snapshot *now = case_snapshot(c), *kept;
	struct strbuf bytes = STRBUF_INIT;

	assert_non_null(now);
	assert_int_equal(moment_pack(now, &bytes), 0);
	kept = moment_unpack(strbuf_str(&bytes), bytes.len);
	assert_non_null(kept);
	strbuf_fini(&bytes);
	snapshot_free(now);
	return kept;
}

/* ---- a moment ---- */

static void test_moment_has_what_was_there(void **state)
{
	struct strbuf bytes = STRBUF_INIT;
	struct moment_head head;
	struct snapshot *now, *kept;
	struct model_case c;

	(void)state;
	case_init(&c);
	begin(&c, 1);
	begin(&c, 2);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_L1, 4096);
	case_device(&c, 1, 0x6000, 5, 1);
	case_alloc(&c, 1, 0x300, 0x6000, MEMORY_L1, 2048);
	now = case_snapshot(&c);
	assert_int_equal(moment_pack(now, &bytes), 0);
	assert_int_equal(moment_read_head(strbuf_str(&bytes), bytes.len, &head), 0);
	assert_int_equal(head.now_ns, now->now_ns);
	assert_int_equal(head.live_buffers, 3);
	assert_int_equal(head.live_bytes, 2 * (MB + 4096) + 2048);
	assert_int_equal(head.live_processes, 1);
	kept = moment_unpack(strbuf_str(&bytes), bytes.len);
	assert_int_equal(kept->process_count, now->process_count);
	assert_string_equal(kept->processes[0].id, now->processes[0].id);
	assert_int_equal(kept->processes[0].command_len, now->processes[0].command_len);
	assert_memory_equal(kept->processes[0].command, now->processes[0].command, now->processes[0].command_len);
	assert_int_equal(kept->processes[0].buffer_count, 3);
	for (int i = 0; i < 3; i++) {
		const struct snapshot_buffer *a = &kept->processes[0].buffers[i], *b = &now->processes[0].buffers[i];

		assert_int_equal(a->serial, b->serial);
		assert_int_equal(a->object, b->object);
		assert_int_equal(a->size_bytes, b->size_bytes);
		assert_int_equal(a->allocated_ns, b->allocated_ns);
		assert_int_equal(a->type, b->type);
		assert_int_equal(a->state, b->state);
		assert_int_equal(a->chip_count, i < 2 ? 2 : 1);
		assert_memory_equal(a->chips, b->chips, a->chip_count * sizeof(*a->chips));
	}
	snapshot_free(now);
	snapshot_free(kept);
	strbuf_fini(&bytes);
	case_fini(&c);
}

/* A file that was cut short is none. */
static void test_moment_cut_short(void **state)
{
	struct strbuf bytes = STRBUF_INIT;
	struct snapshot *now;
	struct model_case c;

	(void)state;
	case_init(&c);
	begin(&c, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	now = case_snapshot(&c);
	assert_int_equal(moment_pack(now, &bytes), 0);
	for (size_t len = 0; len < bytes.len; len++)
		assert_null(moment_unpack(strbuf_str(&bytes), len));
	snapshot_free(now);
	strbuf_fini(&bytes);
	case_fini(&c);
}

/* ---- a difference ---- */

static void test_difference_added_freed_stayed(void **state)
{
	struct difference difference;
	struct snapshot *from, *to;
	struct model_case c;

	(void)state;
	case_init(&c);
	begin(&c, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	from = packed(&c);
	case_free(&c, 1, 0x100, DEVICE);
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_L1, 4096);
	/* The same object, address and size, but another buffer. */
	case_free(&c, 1, 0x200, DEVICE);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x400, DEVICE, MEMORY_DRAM, MB);
	to = case_snapshot(&c);
	assert_int_equal(difference_make(from, to, &difference), 0);
	assert_int_equal(difference.added.buffers, 3);
	assert_int_equal(difference.added.bytes, 2 * (2 * MB + 4096));
	assert_int_equal(difference.freed.buffers, 2);
	assert_int_equal(difference.stayed.buffers, 0);
	assert_int_equal(difference.process_count, 1);
	assert_int_equal(difference.processes[0].type_count, 2);
	assert_int_equal(difference.processes[0].added_count, 3);
	assert_int_equal(difference.processes[0].freed_count, 2);
	assert_false(difference.processes[0].rebuilt);
	difference_fini(&difference);
	snapshot_free(from);
	snapshot_free(to);
	case_fini(&c);
}

/* Nothing happened: nothing is told. */
static void test_difference_of_the_same(void **state)
{
	struct difference difference;
	struct snapshot *from, *to;
	struct model_case c;

	(void)state;
	case_init(&c);
	begin(&c, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	from = packed(&c);
	to = packed(&c);
	assert_int_equal(difference_make(from, to, &difference), 0);
	assert_int_equal(difference.added.buffers + difference.freed.buffers, 0);
	assert_int_equal(difference.stayed.buffers, 1);
	difference_fini(&difference);
	snapshot_free(from);
	snapshot_free(to);
	case_fini(&c);
}

/* Its memory is back with the runtime, whatever becomes of the object. */
static void test_difference_held_is_freed(void **state)
{
	struct difference difference;
	struct snapshot *from, *to;
	struct model_case c;

	(void)state;
	case_init(&c);
	begin(&c, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	from = packed(&c);
	case_bulk_free(&c, 1, DEVICE + 1);
	to = case_snapshot(&c);
	assert_int_equal(to->processes[0].held, 1);
	assert_int_equal(difference_make(from, to, &difference), 0);
	assert_int_equal(difference.freed.buffers, 1);
	assert_int_equal(difference.stayed.buffers, 0);
	difference_fini(&difference);
	snapshot_free(from);
	snapshot_free(to);
	case_fini(&c);
}

/* A rebuilt table has new serial numbers for buffers that have been there all the time. */
static void test_difference_after_a_rebuild(void **state)
{
	struct difference difference;
	struct snapshot *from, *to;
	struct model_case c;

	(void)state;
	case_init(&c);
	begin(&c, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	case_alloc(&c, 1, 0x300, DEVICE, MEMORY_DRAM, MB);
	from = packed(&c);
	assert_int_equal(model_resynchronise(c.model, 1, c.clock_ns), 0);
	case_found(&c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_found(&c, 1, 0x300, DEVICE, MEMORY_DRAM, 2 * MB); /* not the one that was there */
	case_census(&c, 1, NULL);
	to = case_snapshot(&c);
	assert_int_equal(difference_make(from, to, &difference), 0);
	assert_int_equal(difference.stayed.buffers, 1);
	assert_int_equal(difference.added.buffers, 1);
	assert_int_equal(difference.freed.buffers, 2);
	assert_true(difference.processes[0].rebuilt);
	difference_fini(&difference);
	snapshot_free(from);
	snapshot_free(to);
	case_fini(&c);
}

/* One process came, one went; the one that grew most is told first. */
static void fill(struct model_case *c, struct snapshot **from, struct snapshot **to)
{
	case_init(c);
	begin(c, 1);
	begin(c, 2);
	case_alloc(c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(c, 2, 0x100, DEVICE, MEMORY_DRAM, 3 * MB);
	case_alloc(c, 2, 0x200, DEVICE, MEMORY_L1, 8192);
	*from = packed(c);
	case_alloc(c, 1, 0x200, DEVICE, MEMORY_DRAM, MB);
	case_alloc(c, 1, 0x300, DEVICE, MEMORY_L1, 4096);
	case_free(c, 1, 0x100, DEVICE);
	begin(c, 3);
	for (uint64_t i = 0; i < 12; i++)
		case_alloc(c, 3, 0x100 * (i + 1), DEVICE, MEMORY_DRAM, (i + 1) * MB);
	case_exit(c, 2, 0, 9);
	*to = case_snapshot(c);
	/* A service forgets processes that ended. */
	for (size_t i = 0; i < (*to)->process_count; i++) {
		struct snapshot_process *list = (struct snapshot_process *)(*to)->processes;

		if (list[i].process == 2)
			memmove(&list[i], &list[i + 1], (--(*to)->process_count - i) * sizeof(*list));
	}
}

static void test_difference_of_processes(void **state)
{
	struct difference difference;
	struct snapshot *from, *to;
	struct model_case c;

	(void)state;
	fill(&c, &from, &to);
	assert_int_equal(difference_make(from, to, &difference), 0);
	assert_int_equal(difference.process_count, 3);
	assert_null(difference.processes[0].before);
	assert_int_equal(difference.processes[0].after->process, 3);
	assert_int_equal(difference.processes[1].after->process, 1);
	assert_null(difference.processes[2].after);
	assert_int_equal(difference.processes[2].before->process, 2);
	assert_int_equal(difference.processes[2].freed_count, 2);
	difference_fini(&difference);
	snapshot_free(from);
	snapshot_free(to);
	case_fini(&c);
}

static void test_out_of_memory(void **state)
{
	struct difference difference;
	struct snapshot *from, *to;
	struct model_case c;
	long n;

	(void)state;
	fill(&c, &from, &to);
	for (n = 0;; n++) {
		int err;

		fail_alloc_at(n);
		err = difference_make(from, to, &difference);
		if (!fail_alloc_off())
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_true(n > 0);
	difference_fini(&difference);
	snapshot_free(from);
	snapshot_free(to);
	case_fini(&c);
}

/* ---- views ---- */

static struct diff_view diff_view_of(const struct snapshot *to, const char *name)
{
	return (struct diff_view){.style = {.utf8 = true},
				  .from = "before",
				  .to = name,
				  .now_ns = to->now_ns + (name ? 5 * CASE_SECOND : 0),
				  .max_buffers = 10,
				  .version = "0.1.0"};
}

static void test_golden_diff(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct difference difference;
	struct snapshot *from, *to;
	struct diff_view view;
	struct model_case c;

	(void)state;
	fill(&c, &from, &to);
	assert_int_equal(difference_make(from, to, &difference), 0);
	view = diff_view_of(to, NULL);
	assert_int_equal(diff_view_text(&text, &view, &difference), 0);
	strbuf_adds(&text, "----\n");
	view = diff_view_of(to, "after");
	view.style.width = 50;
	view.max_buffers = 1;
	assert_int_equal(diff_view_text(&text, &view, &difference), 0);
	assert_golden("diff.txt", &text);
	strbuf_fini(&text);
	difference_fini(&difference);
	snapshot_free(from);
	snapshot_free(to);
	case_fini(&c);
}

static void take(FILE *file, struct strbuf *out)
{
	char block[4096];
	size_t len;

	rewind(file);
	while ((len = fread(block, 1, sizeof(block), file)) > 0)
		strbuf_add(out, block, len);
	fclose(file);
}

static void test_golden_diff_json(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct difference difference;
	struct snapshot *from, *to;
	struct diff_view view;
	struct model_case c;
	FILE *file = tmpfile();

	(void)state;
	fill(&c, &from, &to);
	assert_int_equal(difference_make(from, to, &difference), 0);
	view = diff_view_of(to, "after");
	assert_int_equal(diff_view_json(file, &view, &difference), 0);
	take(file, &text);
	assert_golden("diff.json", &text);
	strbuf_fini(&text);
	difference_fini(&difference);
	snapshot_free(from);
	snapshot_free(to);
	case_fini(&c);
}

static void test_golden_marks(void **state)
{
	static const struct marks_row rows[] = {
		{"before-step-2", 900 * CASE_SECOND, 2, 30, 5 * MB},
		{"x", 990 * CASE_SECOND, 0, 0, 0},
	};
	struct marks_view view = {.now_ns = 1000 * CASE_SECOND};
	struct strbuf text = STRBUF_INIT;

	(void)state;
	assert_int_equal(marks_view(&text, &view, rows, 2), 0);
	assert_int_equal(marks_view(&text, &view, rows, 0), 0);
	assert_golden("marks.txt", &text);
	strbuf_fini(&text);
}

/* ---- growth ---- */

/* A class is what lies above half of its size. */
static void test_size_classes(void **state)
{
	static const struct {
		uint64_t size;
		int size_class;
	} cases[] = {{1, 0},
		     {2, 1},
		     {3, 2},
		     {4, 2},
		     {5, 3},
		     {4096, 12},
		     {4097, 13},
		     {MB, 20},
		     {MB + 1, 21},
		     {1ull << 40, 40},
		     {(1ull << 40) + 1, 41}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct size_classes classes;
		struct snapshot *snapshot;
		struct model_case c;

		case_init(&c);
		begin(&c, 1);
		case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, cases[i].size);
		snapshot = case_snapshot(&c);
		size_classes_count(snapshot, &classes);
		assert_int_equal(classes.of[MEMORY_DRAM][cases[i].size_class].buffers, 1);
		assert_int_equal(classes.of[MEMORY_DRAM][cases[i].size_class].bytes, 2 * cases[i].size);
		snapshot_free(snapshot);
		case_fini(&c);
	}
}

/* What is held is no memory any more. */
static void test_size_classes_without_held(void **state)
{
	struct size_classes classes;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	begin(&c, 1);
	case_alloc(&c, 1, 0x100, DEVICE, MEMORY_DRAM, 4096);
	case_bulk_free(&c, 1, DEVICE + 1);
	case_alloc(&c, 1, 0x200, DEVICE, MEMORY_L1, 2048);
	snapshot = case_snapshot(&c);
	size_classes_count(snapshot, &classes);
	assert_int_equal(classes.of[MEMORY_DRAM][12].buffers, 0);
	assert_int_equal(classes.of[MEMORY_L1][11].buffers, 1);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Three kinds: one that grows always, one that breathes, one that stays. */
static void grow(struct growth *growth, struct size_classes *classes)
{
	for (uint64_t i = 0; i < 5; i++) {
		classes->of[MEMORY_DRAM][20] = (struct size_class){10 + i, (10 + i) * MB};
		classes->of[MEMORY_DRAM][12] = (struct size_class){4 + i % 2, (4 + i % 2) * 4096};
		classes->of[MEMORY_L1][11] = (struct size_class){7, 7 * 2048};
		classes->of[MEMORY_TRACE][16] = (struct size_class){5 - i, (5 - i) * 65536};
		growth_add(growth, classes, (100 + 10 * i) * CASE_SECOND);
	}
}

static void test_growth(void **state)
{
	static struct size_classes classes;
	static struct growth growth;

	(void)state;
	grow(&growth, &classes);
	assert_int_equal(growth.moments, 5);
	assert_int_equal(growth.of[MEMORY_DRAM][20].grew, 4);
	assert_int_equal(growth.of[MEMORY_DRAM][20].shrank, 0);
	assert_true(growth_is_growing(&growth.of[MEMORY_DRAM][20]));
	assert_int_equal(growth.of[MEMORY_DRAM][12].grew, 2);
	assert_int_equal(growth.of[MEMORY_DRAM][12].shrank, 2);
	assert_false(growth_is_growing(&growth.of[MEMORY_DRAM][12]));
	assert_false(growth_is_growing(&growth.of[MEMORY_L1][11]));
	assert_int_equal(growth.of[MEMORY_TRACE][16].shrank, 4);
	assert_false(growth_is_growing(&growth.of[MEMORY_TRACE][16]));
}

static void test_golden_growth(void **state)
{
	static struct size_classes classes;
	static struct growth growth, once, never;
	struct strbuf text = STRBUF_INIT;
	struct style style = {.utf8 = true};

	(void)state;
	grow(&growth, &classes);
	growth_view_text(&text, &style, &growth, false);
	growth_view_text(&text, &style, &growth, true);
	growth_add(&once, &classes, 100 * CASE_SECOND);
	growth_view_text(&text, &style, &once, false);
	memset(&classes, 0, sizeof(classes));
	growth_add(&never, &classes, 100 * CASE_SECOND);
	growth_view_text(&text, &style, &never, false);
	growth_view_text(&text, &style, &never, true);
	assert_golden("growth.txt", &text);
	strbuf_fini(&text);
}

static void test_golden_watch_json(void **state)
{
	static struct size_classes classes[2];
	const struct growth_moment moments[] = {{"before", 100 * CASE_SECOND, &classes[0]},
						{NULL, 110 * CASE_SECOND, &classes[1]}};
	struct strbuf text = STRBUF_INIT;
	FILE *file = tmpfile();

	(void)state;
	classes[1].of[MEMORY_DRAM][20] = (struct size_class){3, 3 * MB};
	assert_int_equal(growth_view_json(file, moments, 2), 0);
	take(file, &text);
	assert_golden("watch.json", &text);
	strbuf_fini(&text);
}

/* ---- ps ---- */

static const char *name_of(void *context, uint32_t user)
{
	(void)context;
	return user == 1000 ? "alice" : NULL;
}

/* 12345 is above 12346 and, by a process that uses no device (777), above 12347; 12348 is beside them. */
static uint32_t parent_of(void *context, uint32_t pid)
{
	(void)context;
	switch (pid) {
	case 12347:
		return 777;
	case 12346:
	case 777:
		return 12345;
	default:
		return 1;
	}
}

static void ps_case(struct model_case *c)
{
	static const char train[] = "/usr/bin/python3\0/home/alice/a long way/to\0train.py\0\033[2J";

	case_init(c);
	case_birth_command(c, 1, BIRTH_LAUNCH, 0, train, sizeof(train));
	case_runtime(c, 1, 0, true);
	case_device(c, 1, DEVICE, 0, 8);
	case_alloc(c, 1, 0x100, DEVICE, MEMORY_DRAM, MB);
	case_alloc(c, 1, 0x200, DEVICE, MEMORY_L1, 4096);
	for (uint32_t process = 2; process <= 4; process++) {
		begin(c, process);
		for (uint64_t i = 1; i < process; i++)
			case_alloc(c, process, 0x100 * i, DEVICE, MEMORY_DRAM, process * MB);
	}
	case_birth(c, 5, BIRTH_ATTACH, 0);
	case_runtime(c, 5, 3, true);
}

static void test_golden_ps(void **state)
{
	struct ps_view view = {.style = {.utf8 = true},
			       .user_name = name_of,
			       .parent = parent_of,
			       .nothing = "No process uses a device runtime."};
	struct strbuf text = STRBUF_INIT;
	struct snapshot *snapshot;
	struct snapshot empty = {0};
	struct model_case c;

	(void)state;
	ps_case(&c);
	snapshot = case_snapshot(&c);
	for (unsigned int width = 60; width <= 140; width += 40) {
		view.style.width = width;
		assert_int_equal(ps_view(&text, &view, snapshot), 0);
		strbuf_adds(&text, "----\n");
	}
	view.user_name = NULL;
	view.parent = NULL;
	view.style.utf8 = false;
	assert_int_equal(ps_view(&text, &view, snapshot), 0);
	assert_int_equal(ps_view(&text, &view, &empty), 0);
	assert_golden("ps.txt", &text);
	strbuf_fini(&text);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Chips that the driver tells apart, though two processes have the same number for them; and one it does not. */
static void test_golden_ps_chips(void **state)
{
	struct ps_view view = {.style = {.utf8 = true, .width = 100}, .nothing = ""};
	struct strbuf text = STRBUF_INIT;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	ps_case(&c);
	case_chip(&c, 2, 0, "0000:c1:00.0", 0x100015441f0d4b3);
	case_chip(&c, 2, 1, "0000:c2:00.0", 0);
	case_chip(&c, 3, 0, "0000:c2:00.0", 0);
	case_bulk_free(&c, 3, DEVICE + 1);
	snapshot = case_snapshot(&c);
	assert_int_equal(ps_view(&text, &view, snapshot), 0);
	assert_golden("ps.chips.txt", &text);
	strbuf_fini(&text);
	snapshot_free(snapshot);
	case_fini(&c);
}

/* Parents are read one by one while processes come and go: what looks like a circle must end. */
static uint32_t circle(void *context, uint32_t pid)
{
	(void)context;
	return pid == 12345 ? 12346 : 12345;
}

static void test_ps_circle(void **state)
{
	struct ps_view view = {.parent = circle, .nothing = ""};
	struct strbuf text = STRBUF_INIT;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	ps_case(&c);
	snapshot = case_snapshot(&c);
	assert_int_equal(ps_view(&text, &view, snapshot), 0);
	assert_non_null(strstr(strbuf_str(&text), "12345"));
	assert_non_null(strstr(strbuf_str(&text), "12346"));
	strbuf_fini(&text);
	snapshot_free(snapshot);
	case_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moment_has_what_was_there),
		cmocka_unit_test(test_moment_cut_short),
		cmocka_unit_test(test_difference_added_freed_stayed),
		cmocka_unit_test(test_difference_of_the_same),
		cmocka_unit_test(test_difference_held_is_freed),
		cmocka_unit_test(test_difference_after_a_rebuild),
		cmocka_unit_test(test_difference_of_processes),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_golden_diff),
		cmocka_unit_test(test_golden_diff_json),
		cmocka_unit_test(test_golden_marks),
		cmocka_unit_test(test_size_classes),
		cmocka_unit_test(test_size_classes_without_held),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_golden_growth),
		cmocka_unit_test(test_golden_watch_json),
		cmocka_unit_test(test_golden_ps),
		cmocka_unit_test(test_golden_ps_chips),
		cmocka_unit_test(test_ps_circle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
