// SPDX-License-Identifier: BSD-2-Clause
/* The metrics, byte for byte and by their rules: what is summed, what is bounded, what a hostile process can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "fail_alloc.h"
#include "golden.h"
#include "model_case.h"
#include "view/metrics_cells.h"
#include "view/metrics_view.h"

#define DEVICE 0x5000
#define MB     (1 << 20)

#define PYTHON(pid) "pid=\"" #pid "\",process=\"python3\",user=\"1000\",container=\"/user.slice\""

static struct metrics_figures test_figures(void)
{
	return (struct metrics_figures){
		.version = "0.1.0",
		.start_realtime_ns = 1700000000 * CASE_SECOND + 5,
		.snapshot_realtime_ns = 1700000600 * CASE_SECOND,
		.probe_hits = 12,
		.probe_ns = 15500,
		.drain_records = METRICS_UNKNOWN,
		.drain_ns = METRICS_UNKNOWN,
		.memory_bytes = 65536,
	};
}

static void count(void *context, const struct notice *notice)
{
	metrics_count(context, notice);
}

static void begin(struct model_case *c, struct metrics_figures *figures)
{
	*figures = test_figures();
	case_init(c);
	model_set_listener(c->model, count, &figures->totals);
}

static void render(const struct model_case *c, const struct metrics_figures *figures, bool openmetrics,
		   struct strbuf *out)
{
	struct snapshot *snapshot = case_snapshot(c);

	assert_non_null(snapshot);
	assert_int_equal(openmetrics ? metrics_write(snapshot, figures, out)
				     : metrics_write_text(snapshot, figures, out),
			 0);
	snapshot_free(snapshot);
}

static void assert_has(const struct strbuf *text, const char *line)
{
	const char *at = strstr(strbuf_str(text), line);

	if (!at || (at != text->data && at[-1] != '\n'))
		fail_msg("missing:\n%s\nin:\n%s", line, strbuf_str(text));
}

static void assert_has_not(const struct strbuf *text, const char *part)
{
	if (strstr(strbuf_str(text), part))
		fail_msg("there is:\n%s\nin:\n%s", part, strbuf_str(text));
}

static size_t count_lines(const struct strbuf *text, const char *start)
{
	size_t lines = 0;

	for (const char *line = strbuf_str(text); *line; line = strchr(line, '\n') + 1)
		lines += !strncmp(line, start, strlen(start));
	return lines;
}

/* A mesh and chips with books of every kind, a hostile process beside it, one that ended. */
static void build(struct model_case *c)
{
	static const char hostile[] = "/bin/\033[2Jevil\"} 1\nfake{a=\"\\\xff\xe2\x80\xae.exe\0-x";
	static const uint64_t mesh[] = {0x100, 0x200}, one[] = {0x300};

	case_birth(c, 1, BIRTH_ATTACH, 0);
	case_runtime(c, 1, 2, true);
	case_device(c, 1, DEVICE, 0, 2);
	case_device(c, 1, DEVICE + 0x100, 1, 1);
	case_chip(c, 1, 0, "0000:01:00.0", 0x1234);
	case_chip(c, 1, 1, "0000:02:00.0", 0);
	case_found(c, 1, 0x100, DEVICE, MEMORY_DRAM, 4 * MB);
	case_found(c, 1, 0x200, DEVICE, MEMORY_DRAM, 2 * MB);
	case_alloc(c, 1, 0x300, DEVICE + 0x100, MEMORY_DRAM, 1000);
	case_books(c, 1, DEVICE, MEMORY_DRAM, mesh, 2, 4 * MB);
	case_books(c, 1, DEVICE + 0x100, MEMORY_DRAM, one, 1, 1000);
	case_books_unread(c, 1, DEVICE, MEMORY_L1, "swapped out");
	case_census(c, 1, NULL);
	case_alloc(c, 1, 0x400, DEVICE, MEMORY_DRAM, 512);
	case_birth_command(c, 2, BIRTH_ATTACH, 0, hostile, sizeof(hostile));
	case_runtime(c, 2, 0, true);
	case_device(c, 2, DEVICE, 1, 1);
	case_chip(c, 2, 1, "0000:01:00.0", 0);
	case_alloc(c, 2, 0x500, DEVICE, MEMORY_L1, 3000);
	case_alloc(c, 2, 0x600, 0x9999, MEMORY_TRACE, 30);
	case_alloc(c, 2, 0x700, DEVICE, MEMORY_L1, 700);
	case_free(c, 2, 0x700, DEVICE);
	case_free(c, 2, 0x700, DEVICE);
	case_free(c, 2, 0x701, DEVICE);
	case_close(c, 2, DEVICE);
	case_bulk_free(c, 2, DEVICE + 1);
	case_lost(c, 2, 1, 2);
	case_lost(c, 0, 0, 1);
	case_birth(c, 3, BIRTH_LAUNCH, 0);
	case_runtime(c, 3, 0, true);
	case_device(c, 3, DEVICE, 0, 1);
	case_alloc(c, 3, 0x800, DEVICE, MEMORY_DRAM, 77 * MB);
	case_exit(c, 3, 0, 9);
	case_birth_command(c, 4, BIRTH_ATTACH, 0, "", 0);
	case_runtime(c, 4, 0, true);
	case_birth(c, 5, BIRTH_ATTACH, 0);
}

static void test_golden(void **state)
{
	struct metrics_figures figures;
	struct strbuf text = STRBUF_INIT;
	struct model_case c;

	(void)state;
	begin(&c, &figures);
	build(&c);
	render(&c, &figures, true, &text);
	assert_golden("metrics.openmetrics.txt", &text);
	strbuf_reset(&text);
	render(&c, &figures, false, &text);
	assert_golden("metrics.txt", &text);
	strbuf_fini(&text);
	case_fini(&c);
}

static void test_totals_are_sums(void **state)
{
	struct metrics_figures figures;
	struct strbuf text = STRBUF_INIT;
	struct model_case c;

	(void)state;
	begin(&c, &figures);
	for (uint32_t i = 1; i <= 3; i++) {
		static const uint64_t objects[] = {0x100};

		case_birth(&c, i, BIRTH_ATTACH, 0);
		case_runtime(&c, i, 0, true);
		case_device(&c, i, DEVICE, 0, 2);
		case_alloc(&c, i, 0x100, DEVICE, MEMORY_DRAM, i * MB);
		case_books(&c, i, DEVICE, MEMORY_DRAM, objects, 1, i * MB);
		case_census(&c, i, NULL);
	}
	case_exit(&c, 2, 0, 0);
	render(&c, &figures, true, &text);
	/* Process 1 has 1 MB on each of two chips, process 3 has 3 MB; their numbers need not mean the same chips. */
	assert_has(&text, "bufscope_live_bytes{type=\"DRAM\"} 8388608\n");
	assert_has(&text, "bufscope_live_buffers{type=\"DRAM\"} 4\n");
	assert_has(&text, "bufscope_footprint_bytes{type=\"DRAM\"} 16777216\n");
	assert_has(&text, "bufscope_process_capacity_bytes{" PYTHON(
				  12347) ",device=\"1\",chip=\"unknown\",type=\"DRAM\"} 12884901888\n");
	assert_has(&text, "bufscope_process_used_bytes{" PYTHON(
				  12347) ",device=\"1\",chip=\"unknown\",type=\"DRAM\"} 6291456\n");
	assert_has(&text, "bufscope_process_largest_free_bytes{" PYTHON(
				  12347) ",device=\"1\",chip=\"unknown\",type=\"DRAM\"} 9658957824\n");
	assert_has(&text,
		   "bufscope_process_allocators{" PYTHON(12347) ",device=\"1\",chip=\"unknown\",type=\"DRAM\"} 1\n");
	assert_has(&text, "bufscope_processes 2\n");
	assert_has(&text, "bufscope_allocations_total 3\n");
	strbuf_fini(&text);
	case_fini(&c);
}

/* @count processes, process i with i buffers of 1 KB on each of @chips chips. */
static void build_many(struct model_case *c, uint32_t count, uint32_t chips)
{
	for (uint32_t i = 1; i <= count; i++) {
		case_birth(c, i, BIRTH_LAUNCH, 0);
		case_runtime(c, i, 0, true);
		case_device(c, i, DEVICE, 0, chips);
		case_alloc(c, i, 0x100, DEVICE, MEMORY_DRAM, i * 1024);
		case_free(c, i, 0x900, DEVICE);
	}
}

static void test_cardinality(void **state)
{
	const uint32_t extra = 3, all = METRICS_MAX_PROCESSES + extra;
	struct metrics_figures figures;
	struct strbuf text = STRBUF_INIT;
	char line[160];
	struct model_case c;

	(void)state;
	begin(&c, &figures);
	build_many(&c, all, 1);
	render(&c, &figures, true, &text);
	/* The smallest three are together, whose counters are in the totals only. */
	assert_int_equal(count_lines(&text, "bufscope_process_live_bytes{"), METRICS_MAX_PROCESSES + 1);
	assert_int_equal(count_lines(&text, "bufscope_process_unknown_frees_total{"), METRICS_MAX_PROCESSES);
	assert_int_equal(count_lines(&text, "bufscope_process_peak_bytes{"), METRICS_MAX_PROCESSES);
	assert_has(&text, "bufscope_process_live_bytes{pid=\"other\",process=\"other\",user=\"other\","
			  "container=\"other\",device=\"other\",chip=\"unknown\",type=\"DRAM\"} 6144\n");
	assert_has(&text, "bufscope_unlisted_processes 3\n");
	assert_has_not(&text, "pid=\"12347\"");
	assert_has(&text, "bufscope_process_live_bytes{pid=\"12348\",process=\"python3\",user=\"1000\","
			  "container=\"/user.slice\",device=\"0\",chip=\"unknown\",type=\"DRAM\"} 4096\n");
	snprintf(line, sizeof(line), "bufscope_live_bytes{type=\"DRAM\"} %u\n", all * (all + 1) / 2 * 1024);
	assert_has(&text, line);
	snprintf(line, sizeof(line), "bufscope_unknown_frees_total %u\n", all);
	assert_has(&text, line);
	strbuf_fini(&text);
	case_fini(&c);
}

/* Who is on many devices uses up the rows earlier. */
static void test_rows_are_bounded(void **state)
{
	const uint32_t fit = METRICS_MAX_ROWS / EVENT_MAX_CHIPS, all = fit + 5;
	struct metrics_figures figures;
	struct strbuf text = STRBUF_INIT;
	struct model_case c;

	(void)state;
	assert_true(fit < METRICS_MAX_PROCESSES);
	begin(&c, &figures);
	build_many(&c, all, EVENT_MAX_CHIPS);
	render(&c, &figures, true, &text);
	assert_int_equal(count_lines(&text, "bufscope_process_live_bytes{"), METRICS_MAX_ROWS + 1);
	assert_has(&text, "bufscope_unlisted_processes 5\n");
	assert_has(&text, "bufscope_process_live_bytes{pid=\"other\",process=\"other\",user=\"other\","
			  "container=\"other\",device=\"other\",chip=\"unknown\",type=\"DRAM\"} 983040\n");
	strbuf_fini(&text);
	case_fini(&c);
}

/* Two processes that number the same two chips the other way round, and one whose number says nothing. */
static void test_chips(void **state)
{
	struct metrics_figures figures;
	struct strbuf text = STRBUF_INIT;
	struct model_case c;

	(void)state;
	begin(&c, &figures);
	for (uint32_t i = 1; i <= 3; i++) {
		case_birth(&c, i, BIRTH_ATTACH, 0);
		case_runtime(&c, i, 0, true);
		case_device(&c, i, DEVICE, 0, 1);
		case_device(&c, i, DEVICE + 0x100, 1, 1);
		case_alloc(&c, i, 0x100, DEVICE, MEMORY_DRAM, 1 << i);
		case_alloc(&c, i, 0x200, DEVICE + 0x100, MEMORY_DRAM, 0x100 << i);
	}
	for (int32_t i = 0; i < 2; i++) {
		case_chip(&c, 1, i, i ? "0000:02:00.0" : "0000:01:00.0", 7 + (uint64_t)i);
		case_chip(&c, 2, i, i ? "0000:01:00.0" : "0000:02:00.0", 8 - (uint64_t)i);
	}
	render(&c, &figures, true, &text);
	assert_has(&text,
		   "bufscope_chip_info{chip=\"0000:01:00.0\",board=\"n300\",unique_id=\"0000000000000007\"} 1\n");
	assert_has(&text, "bufscope_chip_live_bytes{chip=\"0000:01:00.0\",type=\"DRAM\"} 1026\n");
	assert_has(&text, "bufscope_chip_live_bytes{chip=\"0000:02:00.0\",type=\"DRAM\"} 516\n");
	assert_has(&text, "bufscope_chip_live_buffers{chip=\"0000:02:00.0\",type=\"DRAM\"} 2\n");
	assert_has(&text, "bufscope_chip_processes{chip=\"0000:02:00.0\"} 2\n");
	assert_int_equal(count_lines(&text, "bufscope_chip_live_bytes{"), 2);
	/* Another board at the same address. */
	case_chip(&c, 3, 1, "0000:02:00.0", 99);
	strbuf_reset(&text);
	render(&c, &figures, true, &text);
	assert_has(&text, "bufscope_chip_live_bytes{chip=\"0000:02:00.0\",type=\"DRAM\"} 2048\n");
	assert_has(&text, "bufscope_chip_live_bytes{chip=\"0000:02:00.0/0000000000000008\",type=\"DRAM\"} 516\n");
	assert_int_equal(count_lines(&text, "bufscope_chip_capacity_bytes{"), 0);
	assert_has(&text, "bufscope_process_live_bytes{" PYTHON(
				  12346) ",device=\"0\",chip=\"0000:02:00.0\",type=\"DRAM\"} 4\n");
	assert_has(&text,
		   "bufscope_process_live_bytes{" PYTHON(12347) ",device=\"0\",chip=\"unknown\",type=\"DRAM\"} 8\n");
	assert_has(&text, "bufscope_live_bytes{type=\"DRAM\"} 3598\n");
	strbuf_fini(&text);
	case_fini(&c);
}

static void assert_label(const char *text, size_t len, size_t max, const char *expected)
{
	struct strbuf out = STRBUF_INIT;

	escape_label(&out, text, len, max);
	assert_string_equal(strbuf_str(&out), expected);
	strbuf_fini(&out);
}

static void test_labels(void **state)
{
	(void)state;
	assert_label("", 0, 8, "");
	assert_label("größer ✓", 12, 64, "größer ✓");
	assert_label("a\"b\\c", 5, 64, "a\\\"b\\\\c");
	assert_label("a\nb\0c\x1b\x7f", 7, 64, "a�b�c��");
	assert_label("\xff\xc2\x9b\xe2\x80\xae\xed\xa0\x80", 9, 64, "������");
	assert_label("0123456789", 10, 10, "0123456789");
	assert_label("0123456789", 10, 4, "�6789");
	assert_label("aööö", 7, 3, "�ö");
	assert_label("ööö\xc3", 7, 3, "�ö�");
	assert_label("\x80\x80\x80", 3, 2, "�");
}

/* No line but the renderer's own, whatever a process is called. */
static void test_hostile_names(void **state)
{
	struct metrics_figures figures;
	struct strbuf text = STRBUF_INIT;
	struct model_case c;

	(void)state;
	begin(&c, &figures);
	for (uint32_t i = 1; i < 256; i++) {
		char name[300];

		memset(name, (int)i, sizeof(name) - 1);
		name[sizeof(name) - 1] = '\0';
		case_birth_command(&c, i, BIRTH_LAUNCH, 0, name, sizeof(name));
		case_runtime(&c, i, 0, true);
		case_device(&c, i, DEVICE, 0, 1);
		case_alloc(&c, i, 0x100, DEVICE, MEMORY_DRAM, i);
		if (i % METRICS_MAX_PROCESSES)
			continue;
		render(&c, &figures, true, &text);
		for (const char *line = strbuf_str(&text); *line; line = strchr(line, '\n') + 1) {
			assert_true(!strncmp(line, "bufscope_", 9) || !strncmp(line, "# ", 2));
			assert_true(strcspn(line, "\n") < 1024);
		}
		for (size_t k = 0; k < text.len; k++)
			assert_true(text.data[k] == '\n' || (unsigned char)text.data[k] >= 0x20);
		strbuf_fini(&text);
		for (uint32_t k = i - METRICS_MAX_PROCESSES + 1; k <= i; k++)
			case_exit(&c, k, 0, 0);
	}
	case_fini(&c);
}

static void test_out_of_memory(void **state)
{
	struct metrics_figures figures;
	struct snapshot *snapshot;
	struct model_case c;
	bool failed = true;

	(void)state;
	begin(&c, &figures);
	build(&c);
	build_many(&c, METRICS_MAX_PROCESSES + 2, 3);
	snapshot = case_snapshot(&c);
	assert_non_null(snapshot);
	for (long n = 0; failed; n++) {
		struct strbuf out = STRBUF_INIT;
		int err;

		fail_alloc_from(n);
		err = metrics_write(snapshot, &figures, &out);
		failed = fail_alloc_off();
		assert_int_equal(err, failed ? -ENOMEM : 0);
		strbuf_fini(&out);
	}
	snapshot_free(snapshot);
	case_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),        cmocka_unit_test(test_totals_are_sums),
		cmocka_unit_test(test_cardinality),   cmocka_unit_test(test_rows_are_bounded),
		cmocka_unit_test(test_chips),         cmocka_unit_test(test_labels),
		cmocka_unit_test(test_hostile_names), cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
