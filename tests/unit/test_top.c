// SPDX-License-Identifier: BSD-2-Clause
/*
 * bufscope top without a terminal: an answer of the service, its rows, the lines of the screen. The
 * answers are tests/golden/top.json and top.later.json, two moments; screens are compared byte for byte.
 */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/strbuf.h"
#include "cmd/top_data.h"
#include "cmd/top_rows.h"
#include "cmd/top_view.h"
#include "fail_alloc.h"
#include "golden.h"

struct screen {
	struct top_data *data, *mark;
	struct top_state state;
	struct top_rows rows;
	struct top_frame frame;
};

static const char *user_name(uint32_t user)
{
	return user == 1000 ? "alice" : user == 1001 ? "b\033[2Jb" : NULL;
}

static void read_file(struct strbuf *text, const char *name)
{
	char path[512], block[4096];
	size_t len;
	FILE *file;

	golden_path(path, sizeof(path), name);
	file = fopen(path, "r");
	assert_non_null(file);
	while ((len = fread(block, 1, sizeof(block), file)) > 0)
		strbuf_add(text, block, len);
	fclose(file);
}

static struct top_data *load(const char *name)
{
	struct strbuf text = STRBUF_INIT;
	struct top_data *data;

	read_file(&text, name);
	data = top_data_parse(strbuf_str(&text), text.len, user_name);
	assert_non_null(data);
	strbuf_fini(&text);
	return data;
}

static void begin(struct screen *screen, const char *name, size_t width, size_t height)
{
	memset(screen, 0, sizeof(*screen));
	screen->data = load(name);
	top_state_init(&screen->state);
	screen->frame = (struct top_frame){
		.width = width, .height = height, .utf8 = true, .keys = height != 0, .interval_ns = 2000000000};
	assert_int_equal(top_rows_build(&screen->rows, screen->data, &screen->state), 0);
}

static void end(struct screen *screen)
{
	top_rows_fini(&screen->rows);
	top_data_free(screen->data);
	top_data_free(screen->mark);
}

/* What was shown becomes the mark; the next moment is shown. */
static void mark(struct screen *screen)
{
	screen->mark = screen->data;
	screen->state.mark = screen->mark;
	screen->state.mark_number = 1;
	screen->data = load("top.later.json");
	assert_int_equal(top_rows_build(&screen->rows, screen->data, &screen->state), 0);
}

static void press(struct screen *screen, const char *keys)
{
	for (; *keys; keys++) {
		if (*keys == 'j')
			top_rows_move(&screen->rows, &screen->state, 1);
		else if (*keys == 'k')
			top_rows_move(&screen->rows, &screen->state, -1);
		else if (*keys == 'E')
			top_rows_enter(&screen->rows, &screen->state);
		else if (*keys == 'B')
			top_rows_leave(&screen->state);
		else if (*keys == 's')
			top_rows_next_sort(&screen->rows, &screen->state);
		assert_int_equal(top_rows_build(&screen->rows, screen->data, &screen->state), 0);
	}
}

static void render(struct screen *screen, struct strbuf *out)
{
	assert_int_equal(top_rows_build(&screen->rows, screen->data, &screen->state), 0);
	assert_int_equal(top_view(out, &screen->frame, &screen->rows, &screen->state, screen->data), 0);
}

/* Styles as a person can read them: the first letters of the alphabet between braces. */
static void assert_screen(struct screen *screen, const char *name, bool styles)
{
	struct strbuf raw = STRBUF_INIT, text = STRBUF_INIT;

	render(screen, &raw);
	for (size_t i = 0; i < raw.len; i++) {
		char c = raw.data[i];

		if (c < TOP_PLAIN || c > TOP_REVERSE)
			strbuf_addc(&text, c);
		else if (styles)
			strbuf_addf(&text, "{%c}", "pbdgyrR"[c - TOP_PLAIN]);
	}
	assert_golden(name, &text);
	strbuf_fini(&text);
	strbuf_fini(&raw);
}

/* ---- the data ---- */

static void test_figures(void **state)
{
	struct top_data *data = load("top.json");
	const struct top_process *process = top_data_process(data, "1200.990000000000.0");
	const struct top_device *device = top_data_device(process, "0000:01:00.0");

	(void)state;
	assert_string_equal(data->host, "lab1");
	assert_int_equal(data->process_count, 3);
	assert_false(data->exact);
	assert_false(data->own_only);
	assert_non_null(device);
	assert_int_equal(device->types[MEMORY_DRAM].buffers, 29);
	assert_int_equal(device->types[MEMORY_DRAM].bytes, 29ull << 28);
	assert_int_equal(device->types[MEMORY_DRAM].taken_bytes, 29 * (288ull << 20));
	assert_int_equal(device->types[MEMORY_DRAM].guessed, 0);
	/* A chip's own allocator is smaller here than the mesh's: not added, not chosen. */
	assert_int_equal(device->capacity_bytes[MEMORY_DRAM], 12863504384);
	assert_int_equal(device->capacity_bytes[MEMORY_TRACE], 0);
	device = top_data_device(top_data_process(data, "1400.990000000000.0"), "1400.990000000000.0 5");
	assert_int_equal(device->types[MEMORY_DRAM].bytes, 8 << 20);
	assert_int_equal(device->types[MEMORY_DRAM].held_bytes, 4 << 20);
	assert_int_equal(device->types[MEMORY_DRAM].taken_bytes, 8 << 20);
	assert_int_equal(device->types[MEMORY_DRAM].guessed, 1);
	assert_null(top_data_process(data, "1.1.1"));
	top_data_free(data);
}

static void test_hostile_text(void **state)
{
	struct top_data *data = load("top.json");

	(void)state;
	assert_string_equal(data->processes[1].user, "b\\x1b[2Jb");
	assert_string_equal(data->processes[1].command, "/opt/bench\\x1b[31m 中文进程 a\\tb");
	assert_string_equal(data->processes[2].user, "0");
	top_data_free(data);
}

static void test_no_document(void **state)
{
	static const char *const texts[] = {
		"",
		"{}",
		"[]",
		"{\"schema\": 1}",
		"{\"schema\": \"bufscope.summary/2\"}",
		"{\"schema\": \"bufscope.summary/1\", ",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		errno = 0;
		assert_null(top_data_parse(texts[i], strlen(texts[i]), user_name));
		assert_int_equal(errno, EPROTO);
	}
}

/* What answers may be any program: a wrong type is a zero, an empty text or an empty list. */
static void test_wrong_types(void **state)
{
	static const char text[] =
		"{\"schema\": \"bufscope.summary/1\", \"host\": 3, \"clock\": [], \"now_ns\": -4, \"processes\": ["
		"7, {}, {\"id\": 5, \"pid\": \"x\", \"command\": [1, null, {}], \"devices\": [[], {\"types\": [4]}], "
		"\"allocators\": [{\"on_devices\": [0, \"a\"], \"type\": 3, \"capacity_bytes\": 9}], "
		"\"buffers\": [null, {\"on_devices\": {\"a\": 1}}, {\"on_devices\": [0], \"type\": \"L1\"}]}]}";
	struct screen screen = {.frame = {.width = 80, .height = 24, .keys = true}};
	struct strbuf out = STRBUF_INIT;

	(void)state;
	screen.data = top_data_parse(text, strlen(text), user_name);
	assert_non_null(screen.data);
	assert_int_equal(screen.data->process_count, 3);
	assert_int_equal(screen.data->now_ns, 0);
	assert_int_equal(screen.data->processes[2].buffer_count, 3);
	top_state_init(&screen.state);
	render(&screen, &out);
	press(&screen, "EEE");
	render(&screen, &out);
	strbuf_fini(&out);
	end(&screen);
}

/* ---- rows ---- */

static void test_down_and_up(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 80, 24);
	press(&screen, "jjE");
	assert_int_equal(screen.state.level, TOP_DEVICE);
	assert_string_equal(screen.state.device, "0000:03:00.0");
	assert_int_equal(screen.rows.count, 2);
	press(&screen, "E");
	assert_string_equal(screen.state.process, "1200.990000000000.0");
	assert_int_equal(screen.rows.count, 3);
	press(&screen, "jE");
	assert_int_equal(screen.state.level, TOP_TYPE);
	assert_int_equal(screen.state.type, MEMORY_L1);
	assert_int_equal(screen.rows.count, 24);
	press(&screen, "E");
	assert_int_equal(screen.state.level, TOP_TYPE);
	/* Back, the cursor is where it was. */
	press(&screen, "B");
	assert_int_equal(screen.rows.cursor, 1);
	press(&screen, "BB");
	assert_int_equal(screen.state.level, TOP_OVERVIEW);
	assert_int_equal(screen.rows.cursor, 2);
	/* From the list of all processes it is all devices, and back again. */
	press(&screen, "jjjE");
	assert_string_equal(screen.state.device, "");
	assert_int_equal(screen.state.level, TOP_PROCESS);
	press(&screen, "BB");
	assert_int_equal(screen.state.level, TOP_OVERVIEW);
	end(&screen);
}

/* Enter opens what is under the cursor, also when the order has changed in between. */
static void test_cursor_stays_with_its_row(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 80, 24);
	press(&screen, "jjE"); /* device 2: 1200 and 1300, by size */
	assert_int_equal(screen.rows.rows[0].process->pid, 1200);
	press(&screen, "s"); /* by buffers */
	press(&screen, "s"); /* by growth: all alike, by pid */
	press(&screen, "j");
	assert_int_equal(screen.rows.rows[screen.rows.cursor].process->pid, 1300);
	mark(&screen);        /* 1200 grew, 1300 shrank */
	press(&screen, "ss"); /* by pid, by size */
	assert_int_equal(screen.rows.rows[screen.rows.cursor].process->pid, 1300);
	press(&screen, "E");
	assert_string_equal(screen.state.process, "1300.990000000000.0");
	end(&screen);
}

static void test_orders_of_buffers(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.later.json", 80, 24);
	press(&screen, "jjEjEjE"); /* device 2, process 1300, L1 */
	assert_int_equal(screen.rows.count, 4);
	assert_int_equal(screen.rows.rows[0].buffer->size_bytes, 6144);
	press(&screen, "s");
	assert_int_equal(screen.rows.rows[0].buffer->serial, 70); /* oldest */
	press(&screen, "s");
	assert_int_equal(screen.rows.rows[0].buffer->serial, 142); /* newest */
	press(&screen, "s");
	assert_int_equal(screen.rows.rows[0].buffer->serial, 70); /* address */
	press(&screen, "s");
	assert_int_equal(screen.rows.rows[0].buffer->size_bytes, 6144);
	end(&screen);
}

static void test_growth(void **state)
{
	const struct top_sums *sums;
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 80, 24);
	mark(&screen);
	assert_int_equal(screen.rows.device_count, 4);
	sums = screen.rows.rows[0].sums;
	assert_int_equal(sums->grown_bytes, 64 << 20);
	assert_int_equal(sums->grown_buffers, 1);
	sums = screen.rows.rows[2].sums; /* one GB less, three small ones and one of 64 MB more */
	assert_int_equal(sums->grown_bytes, (64 << 20) - (1 << 30) + 2048 * 6);
	assert_int_equal(sums->grown_buffers, 3);
	/* What the process that has ended held is gone. */
	assert_int_equal(screen.rows.here->grown_bytes, 4ll * (64 << 20) - (1 << 30) + 2048 * 6 - (8 << 20));
	press(&screen, "jjEjEjE");
	assert_int_equal(screen.rows.count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(screen.rows.rows[i].fresh, screen.rows.rows[i].buffer->serial >= 140);
	end(&screen);
}

static void test_filter(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 80, 24);
	strcpy(screen.state.filter[TOP_PROCESSES], "LLAMA");
	press(&screen, "k");
	assert_int_equal(screen.rows.count - screen.rows.device_count, 1);
	assert_int_equal(screen.rows.left_out, 2);
	strcpy(screen.state.filter[TOP_PROCESSES], "/docker");
	press(&screen, "k");
	assert_int_equal(screen.rows.rows[screen.rows.device_count].process->pid, 1300);
	press(&screen, "jjEEjE"); /* buffers have a filter of their own */
	assert_int_equal(screen.rows.count, 1);
	strcpy(screen.state.filter[TOP_BUFFERS], "0x560000");
	press(&screen, "k");
	assert_int_equal(screen.rows.count, 1);
	strcpy(screen.state.filter[TOP_BUFFERS], "0x560001");
	press(&screen, "k");
	assert_int_equal(screen.rows.count, 0);
	assert_int_equal(screen.rows.left_out, 1);
	end(&screen);
}

static void test_ended_while_looked_at(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 80, 24);
	press(&screen, "jjjjEEE"); /* device 5, process 1400, DRAM */
	assert_int_equal(screen.state.level, TOP_TYPE);
	top_data_free(screen.data);
	screen.data = load("top.later.json");
	assert_screen(&screen, "top.ended.screen.txt", false);
	press(&screen, "E");
	press(&screen, "B");
	assert_int_equal(screen.rows.count, 0);
	end(&screen);
}

/* ---- screens ---- */

static void test_screens(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 80, 24);
	assert_screen(&screen, "top.overview.screen.txt", false);
	assert_screen(&screen, "top.overview.styles.screen.txt", true);
	screen.frame.help = true;
	assert_screen(&screen, "top.help.screen.txt", false);
	screen.frame.help = false;
	press(&screen, "jjE");
	assert_screen(&screen, "top.device.screen.txt", false);
	press(&screen, "E");
	assert_screen(&screen, "top.process.screen.txt", false);
	press(&screen, "jE");
	assert_screen(&screen, "top.type.screen.txt", false);
	end(&screen);
}

static void test_screens_with_a_mark(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 80, 24);
	mark(&screen);
	screen.frame.paused = true;
	assert_screen(&screen, "top.mark.overview.screen.txt", false);
	press(&screen, "jjE");
	assert_screen(&screen, "top.mark.device.screen.txt", false);
	press(&screen, "jE");
	assert_screen(&screen, "top.mark.process.screen.txt", false);
	press(&screen, "jE");
	assert_screen(&screen, "top.mark.type.screen.txt", false);
	end(&screen);
}

static void test_other_sizes(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 120, 40);
	assert_screen(&screen, "top.wide.screen.txt", false);
	screen.frame.width = 40;
	screen.frame.height = 10;
	assert_screen(&screen, "top.narrow.screen.txt", false);
	screen.frame.utf8 = false;
	screen.frame.width = 80;
	screen.frame.height = 0;
	screen.frame.keys = false;
	assert_screen(&screen, "top.once.screen.txt", false);
	end(&screen);
}

static void test_trouble(void **state)
{
	struct screen screen;

	(void)state;
	begin(&screen, "top.json", 80, 24);
	screen.frame.trouble = "no answer from the service for 12 s";
	screen.frame.typing = true;
	strcpy(screen.state.filter[TOP_PROCESSES], "nobody");
	screen.data->own_only = true;
	screen.data->selection = true;
	assert_screen(&screen, "top.trouble.screen.txt", true);
	end(&screen);
	begin(&screen, "nothing.json", 80, 24);
	assert_screen(&screen, "top.nothing.screen.txt", false);
	end(&screen);
}

/* Columns of a line as a terminal counts them. Fails at a control character that is no style. */
static size_t columns_of(const char *line, size_t len)
{
	size_t columns = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if (c >= TOP_PLAIN && c <= TOP_REVERSE)
			continue;
		assert_true(c >= 0x20 && c != 0x7f);
		/* Of the input, characters of three bytes are two columns wide. */
		columns += c >= 0xe0 ? 2 : (c & 0xc0) != 0x80;
	}
	return columns;
}

/* Every size: as many lines as the screen has, none longer than it is wide. */
static void check_lines(struct screen *screen)
{
	struct strbuf text = STRBUF_INIT;
	const char *at, *newline;
	size_t lines = 0;

	render(screen, &text);
	for (at = strbuf_str(&text); (newline = strchr(at, '\n')); at = newline + 1, lines++) {
		size_t columns = columns_of(at, (size_t)(newline - at));

		if (columns > screen->frame.width)
			fail_msg("%zu columns of %zu: %.*s", columns, screen->frame.width, (int)(newline - at), at);
	}
	assert_int_equal(*at, '\0');
	assert_int_equal(lines, screen->frame.height);
	strbuf_fini(&text);
}

static void test_every_size(void **state)
{
	static const char *const paths[] = {"", "jjE", "jjEjE", "jjEjEjE", "jjjjj", "jjjjjE"};
	struct screen screen;

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		begin(&screen, "top.json", 80, 24);
		mark(&screen);
		press(&screen, paths[i]);
		for (size_t width = 1; width < 130; width += 3) {
			for (size_t height = 1; height < 30; height += 2) {
				screen.frame.width = width;
				screen.frame.height = height;
				check_lines(&screen);
			}
		}
		end(&screen);
	}
}

/* 64 devices, 300 processes: wherever the cursor goes, its row is on the screen. */
static void test_scrolls_to_the_cursor(void **state)
{
	struct screen screen = {.frame = {.width = 80, .height = 24, .utf8 = true, .keys = true}};
	struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_adds(&text, "{\"schema\": \"bufscope.summary/1\", \"processes\": [");
	for (int i = 0; i < 300; i++)
		strbuf_addf(
			&text,
			"%s{\"id\": \"%d.1.0\", \"pid\": %d, \"devices\": [{\"device\": 0, \"name\": \"n\", \"chip\": {\"known_by\": \"driver\", \"pci\": \"%d\"}, \"types\": [{\"type\": "
			"\"DRAM\", \"live_buffers\": 1, \"live_bytes\": %d}]}]}",
			i ? "," : "", i + 1, i + 1, i % 64, 1000 - i);
	strbuf_adds(&text, "]}");
	screen.data = top_data_parse(strbuf_str(&text), text.len, user_name);
	assert_non_null(screen.data);
	top_state_init(&screen.state);
	render(&screen, &text);
	assert_int_equal(screen.rows.count, 364);
	for (int i = 0; i < 800; i++) {
		size_t shown = 0;

		strbuf_reset(&text);
		render(&screen, &text);
		assert_int_equal(screen.rows.cursor, i < 364 ? i : i < 728 ? 727 - i : 0);
		for (const char *at = strbuf_str(&text); (at = strchr(at, '>')); at++)
			shown += at[-1] == TOP_REVERSE;
		assert_int_equal(shown, 1);
		check_lines(&screen);
		press(&screen, i < 363 ? "j" : i == 363 ? "" : "k");
	}
	strbuf_fini(&text);
	end(&screen);
}

static void test_out_of_memory(void **state)
{
	struct strbuf document = STRBUF_INIT;
	long n = 0;

	(void)state;
	read_file(&document, "top.later.json");
	for (bool failed = true; failed; n++) {
		struct strbuf out = STRBUF_INIT;
		struct screen screen = {.frame = {.width = 80, .height = 24, .utf8 = true, .keys = true}};
		int err = 0;

		top_state_init(&screen.state);
		fail_alloc_at(n);
		screen.data = top_data_parse(strbuf_str(&document), document.len, user_name);
		if (screen.data)
			err = top_rows_build(&screen.rows, screen.data, &screen.state);
		if (screen.data && !err)
			err = top_view(&out, &screen.frame, &screen.rows, &screen.state, screen.data);
		failed = fail_alloc_off();
		assert_int_equal(!screen.data || err, failed);
		strbuf_fini(&out);
		end(&screen);
	}
	assert_true(n > 20);
	strbuf_fini(&document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_no_document),
		cmocka_unit_test(test_wrong_types),
		cmocka_unit_test(test_down_and_up),
		cmocka_unit_test(test_cursor_stays_with_its_row),
		cmocka_unit_test(test_orders_of_buffers),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_ended_while_looked_at),
		cmocka_unit_test(test_screens),
		cmocka_unit_test(test_screens_with_a_mark),
		cmocka_unit_test(test_other_sizes),
		cmocka_unit_test(test_trouble),
		cmocka_unit_test(test_every_size),
		cmocka_unit_test(test_scrolls_to_the_cursor),
		cmocka_unit_test(test_out_of_memory),
	};

	setenv("TZ", "UTC", 1);
	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
