// SPDX-License-Identifier: BSD-2-Clause
/*
 * The views, byte for byte: each case is built from events and every output compared with its file in
 * tests/golden/. BUFSCOPE_GOLDEN_UPDATE=1 writes the files instead; BUFSCOPE_GOLDEN_DIR says where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/strbuf.h"
#include "fail_alloc.h"
#include "golden.h"
#include "model_case.h"
#include "view/column.h"
#include "view/event_view.h"
#include "view/json_view.h"
#include "view/phrase.h"
#include "view/text_view.h"

#define DEVICE 0x5000
#define MB     (1 << 20)

static const struct json_view test_json = {
	.version = "0.1.0",
	.hostname = "lab1",
	.kernel = "6.1.0-18-amd64",
	.machine = "x86_64",
	.boottime_ns = 2000 * CASE_SECOND,
	.realtime_ns = 1700000000 * CASE_SECOND,
};

/* The eight chips of the demo that lifecycle.md is about: counts and MB at the dump. */
static void build_demo(struct model_case *c)
{
	static const struct {
		uint32_t dram, l1;
		double dram_mb, l1_mb;
	} chip[8] = {
		{21, 28, 19.43, 6.14}, {25, 27, 59.83, 5.94}, {19, 27, 24.79, 6.00},  {18, 27, 8.77, 6.42},
		{17, 28, 8.16, 5.72},  {25, 27, 67.30, 5.93}, {20, 27, 158.31, 5.94}, {18, 27, 8.78, 6.38},
	};
	static const char command[] = "python3\0-m\0pytest\0models/demos/llama3/demo.py\0-k\0batch-1 and performance";
	uint64_t object = 0x7f0000001000, trace = 0x7f00000f0000;

	case_birth_command(c, 1, BIRTH_LAUNCH, 0, "bufscope", sizeof("bufscope"));
	case_exec(c, 1);
	case_birth_command(c, 2, BIRTH_EXEC, 1, command, sizeof(command));
	case_runtime(c, 2, 0, true);
	case_device(c, 2, DEVICE, 0, 8);
	c->thread = 12346;
	case_alloc(c, 2, trace, DEVICE, MEMORY_TRACE, 12503040);
	for (int32_t i = 0; i < 8; i++) {
		uint64_t device = DEVICE + 0x100 * (uint64_t)(i + 1);

		case_device(c, 2, device, i, 1);
		for (uint32_t b = 0; b < chip[i].dram; b++, object += 192)
			case_alloc(c, 2, object, device, MEMORY_DRAM,
				   (uint64_t)(chip[i].dram_mb * MB / chip[i].dram) + b);
		for (uint32_t b = 0; b < chip[i].l1; b++, object += 192)
			case_alloc(c, 2, object, device, MEMORY_L1, (uint64_t)(chip[i].l1_mb * MB / chip[i].l1));
	}
	case_free(c, 2, trace, DEVICE);
}

/* A process that did all well. */
static void build_clean(struct model_case *c)
{
	case_birth(c, 1, BIRTH_LAUNCH, 0);
	case_runtime(c, 1, 0, true);
	case_device(c, 1, DEVICE, 0, 1);
	case_alloc(c, 1, 0x100, DEVICE, MEMORY_DRAM, 4 * MB);
	case_free(c, 1, 0x100, DEVICE);
	case_exit(c, 1, 0, 0);
}

/* Whatever can go wrong, in two processes, the second with a hostile name. */
static void build_trouble(struct model_case *c)
{
	static const char hostile[] = "evil\033]0;owned\a\nPID 1\0\xff\xfe\xe2\x80\xae.exe\0--name=größer ✓";
	static const struct layout_field layout[] = {{"\xff\"quoted\"", 8}};
	struct event event;

	case_birth(c, 1, BIRTH_ATTACH, 0);
	case_runtime(c, 1, 42, true);
	case_device(c, 1, DEVICE, 0, 8);
	case_device(c, 1, DEVICE + 0x100, 2, 1);
	case_alloc(c, 1, 0x100, DEVICE, MEMORY_DRAM, 4 * MB);
	case_alloc(c, 1, 0x200, DEVICE, MEMORY_L1, MB);
	case_alloc(c, 1, 0x300, DEVICE + 0x100, MEMORY_L1_SMALL, 512);
	case_alloc(c, 1, 0x400, DEVICE + 0x100, MEMORY_DRAM, 12288);
	case_alloc(c, 1, 0x400, DEVICE + 0x100, MEMORY_DRAM, 8192);
	case_free(c, 1, 0x200, DEVICE);
	case_free(c, 1, 0x200, DEVICE);
	case_free(c, 1, 0x156580, DEVICE + 0x100);
	case_close(c, 1, DEVICE);
	case_bulk_free(c, 1, DEVICE + 1);
	case_object(c, 1, EVENT_UNSURE, 0x100);
	case_birth_command(c, 2, BIRTH_FORK, 1, hostile, sizeof(hostile));
	event = (struct event){.kind = EVENT_RUNTIME};
	event.runtime.name = "tt-metal\x9b";
	event.runtime.library = "/tmp/\033[2J\n/libtt_metal.so";
	event.runtime.build_id = "";
	event.runtime.layout = layout;
	event.runtime.layout_count = 1;
	event.runtime.bulk_free_probed = true;
	case_apply(c, &event, 2);
	case_alloc(c, 2, 0x500, 0x9999, MEMORY_DRAM, 3 * MB);
	case_free(c, 2, 0x300, DEVICE + 0x100);
	event = case_buffer_event(EVENT_ALLOCATE, 0x600, DEVICE, MEMORY_DRAM, 1);
	event.buffer.fault = BUFFER_FAULT_UNREADABLE;
	case_apply(c, &event, 2);
	case_lost(c, 2, 3, 2);
	event = case_buffer_event(EVENT_FREE, 0x700, DEVICE, MEMORY_DRAM, 1);
	event.buffer.fault = BUFFER_FAULT_UNREADABLE;
	case_apply(c, &event, 2);
	case_exit(c, 2, 0, 11);
	case_object(c, 1, EVENT_RELEASE, 0x100);
	case_alloc(c, 1, 0x800, DEVICE + 0x100, MEMORY_TRACE, 12503040);
	case_bulk_free(c, 1, DEVICE + 0x101);
	case_lost(c, 0, 0, 1);
}

/* A process on eight chips that ran before bufscope: a mesh, its chips, and books of every kind. */
static void build_late_in(struct model_case *c, uint32_t process)
{
	static const uint64_t none[1], mesh[] = {0x100, 0x200, 0x300}, chip[] = {0x400}, differs[] = {0x800, 0x900};

	case_birth(c, process, BIRTH_ATTACH, 0);
	case_runtime(c, process, 17, true);
	case_device(c, process, DEVICE, 0, 8);
	for (int32_t i = 0; i < 8; i++)
		case_device(c, process, DEVICE + 0x100 * (uint64_t)(i + 1), i, 1);
	case_found(c, process, 0x100, DEVICE, MEMORY_DRAM, 1000 * MB);
	case_found(c, process, 0x200, DEVICE, MEMORY_DRAM, 1000 * MB);
	for (uint64_t i = 0; i < 8; i++)
		case_found(c, process, 0x400 + (i << 40), DEVICE + 0x100 * (i + 1), MEMORY_L1, 1500);
	case_found(c, process, 0x700, DEVICE, MEMORY_TRACE, 4 * MB);
	case_alloc(c, process, 0x300, DEVICE, MEMORY_DRAM, 1000 * MB);
	case_alloc(c, process, 0x500, DEVICE, MEMORY_L1_SMALL, 512);
	case_books(c, process, DEVICE, MEMORY_DRAM, mesh, 3, 1000 * MB);
	case_books(c, process, DEVICE, MEMORY_L1, none, 0, 0);
	case_books(c, process, DEVICE, MEMORY_L1_SMALL, differs, 2, 512);
	case_books_unread(c, process, DEVICE, MEMORY_TRACE,
			  "never the same\033 twice while it was read, again and again");
	for (uint64_t i = 0; i < 8; i++) {
		const uint64_t one[] = {chip[0] + (i << 40)};

		if (i != 5)
			case_books(c, process, DEVICE + 0x100 * (i + 1), MEMORY_L1, one, 1, i == 3 ? 2000 : 1500);
		case_books(c, process, DEVICE + 0x100 * (i + 1), MEMORY_DRAM, none, 0, 0);
	}
	case_census(c, process, NULL);
}

static void build_late(struct model_case *c)
{
	build_late_in(c, 1);
}

/* The same after records were lost: the table is made anew. */
static void build_rebuilt_in(struct model_case *c, uint32_t process)
{
	struct event restart = {.kind = EVENT_RESTART};
	static const uint64_t objects[] = {0x100};

	case_birth(c, process, BIRTH_LAUNCH, 0);
	case_runtime(c, process, 0, true);
	case_device(c, process, DEVICE, 0, 1);
	case_alloc(c, process, 0x100, DEVICE, MEMORY_DRAM, 4 * MB);
	case_lost(c, process, 1, 1);
	case_stop(c, process, 243, 105000000);
	case_stop(c, 0, 1, 3000000000);
	case_apply(c, &restart, process);
	case_found(c, process, 0x100, DEVICE, MEMORY_DRAM, 4 * MB);
	case_books(c, process, DEVICE, MEMORY_DRAM, objects, 1, 4 * MB);
	case_census(c, process, NULL);
}

static void build_rebuilt(struct model_case *c)
{
	build_rebuilt_in(c, 1);
}

/* Not everything could be found; the chip has a name. */
static void build_partial(struct model_case *c)
{
	case_birth(c, 1, BIRTH_ATTACH, 0);
	case_runtime(c, 1, 17, true);
	case_device(c, 1, DEVICE, 0, 1);
	case_found(c, 1, 0x100, DEVICE, MEMORY_DRAM, 4 * MB);
	case_books_unread(c, 1, DEVICE, MEMORY_DRAM, "swapped out");
	case_census(c, 1, "partial");
	c->clock_ns -= CASE_SECOND;
	case_chip(c, 1, 0, "0000:c1:00.0", 0x100015441f0d4b3);
	case_exit(c, 1, 0, 6);
}

/* Two processes on one device, and no room: once on a mesh, once where only the type could be read. */
static void build_starved(struct model_case *c)
{
	static const uint64_t objects[] = {0x100, 0x200};

	case_birth(c, 1, BIRTH_ATTACH, 0);
	case_birth(c, 2, BIRTH_ATTACH, 0);
	case_runtime(c, 1, 0, true);
	case_runtime(c, 2, 0, true);
	case_device(c, 1, DEVICE, 0, 8);
	case_device(c, 2, DEVICE, 3, 1);
	case_alloc(c, 1, 0x100, DEVICE, MEMORY_DRAM, 700 * MB);
	case_alloc(c, 1, 0x200, DEVICE, MEMORY_DRAM, 200 * MB);
	case_alloc(c, 2, 0x100, DEVICE, MEMORY_DRAM, 1500 * MB);
	case_oom(c, 1, DEVICE, MEMORY_DRAM, UINT64_C(12000) * MB);
	case_books(c, 1, DEVICE, MEMORY_DRAM, objects, 2, 100 * MB);
	case_census(c, 1, NULL);
	case_oom(c, 1, DEVICE, MEMORY_DRAM, UINT64_C(12000) * MB);
	case_oom(c, 2, DEVICE, MEMORY_L1, 4096);
	case_oom(c, 2, DEVICE, MEMORY_L1_SMALL, 0);
	case_oom(c, 2, DEVICE, MEMORY_TYPE_COUNT, 0);
	case_oom(c, 2, 0x7777, MEMORY_L1, 2048);
}

static void assert_no_control_characters(const struct strbuf *text)
{
	for (size_t i = 0; i < text->len; i++)
		assert_true(text->data[i] == '\n' || (unsigned char)text->data[i] >= 0x20);
	assert_null(memmem(text->data, text->len, "\xe2\x80\xae", 3));
	assert_null(memmem(text->data, text->len, "\xc2\x9b", 2));
}

static void assert_text(const struct model_case *c, const char *name, const struct text_view *view)
{
	struct snapshot *snapshot = case_snapshot(c);
	struct strbuf text = STRBUF_INIT;

	assert_non_null(snapshot);
	assert_int_equal(text_view_summary(&text, view, snapshot), 0);
	if (!view->style.colour)
		assert_no_control_characters(&text);
	if (!view->style.utf8) {
		for (size_t i = 0; i < text.len; i++)
			assert_true((unsigned char)text.data[i] < 0x80);
	}
	assert_golden(name, &text);
	strbuf_fini(&text);
	snapshot_free(snapshot);
}

static void render_json(const struct model_case *c, struct strbuf *out)
{
	struct snapshot *snapshot = case_snapshot(c);
	char *text = NULL;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);

	assert_non_null(snapshot);
	assert_non_null(file);
	assert_int_equal(json_view_summary(file, &test_json, snapshot), 0);
	assert_int_equal(fclose(file), 0);
	strbuf_add(out, text, len);
	free(text);
	snapshot_free(snapshot);
}

static void assert_json(const struct model_case *c, const char *name)
{
	struct strbuf text = STRBUF_INIT;
	json_error_t error;
	json_t *root;

	render_json(c, &text);
	/* It is one JSON object to somebody else's eyes too, without a key twice. */
	root = json_loadb(strbuf_str(&text), text.len, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		fail_msg("%s: line %d: %s", name, error.line, error.text);
	json_decref(root);
	assert_golden(name, &text);
	strbuf_fini(&text);
}

struct event_lines {
	struct event_view view;
	struct strbuf out;
};

static void hear_event(void *context, const struct notice *notice)
{
	struct event_lines *lines = context;

	assert_int_equal(event_view_notice(&lines->out, &lines->view, notice), 0);
}

static void assert_events(void (*build)(struct model_case *), const char *name, bool json, bool utf8)
{
	struct event_lines lines = {.view = {.style = {.utf8 = utf8}, .json = json}};
	struct model_case c;
	size_t len;

	case_init(&c);
	model_set_listener(c.model, hear_event, &lines);
	build(&c);
	assert_int_equal(event_view_finish(&lines.out, &lines.view), 0);
	len = lines.out.len;
	assert_int_equal(event_view_finish(&lines.out, &lines.view), 0);
	assert_int_equal(lines.out.len, len);
	assert_no_control_characters(&lines.out);
	assert_golden(name, &lines.out);
	strbuf_fini(&lines.out);
	event_view_fini(&lines.view);
	case_fini(&c);
}

static const struct text_view test_text_utf8 = {.style = {.utf8 = true, .width = 80}, .max_buffers = 10};
static const struct text_view test_text_ascii = {.style = {.width = 80}, .max_buffers = 10};

static void test_demo_text(void **state)
{
	struct model_case c;

	(void)state;
	case_init(&c);
	build_demo(&c);
	assert_text(&c, "demo-running.txt", &test_text_utf8);
	case_exit(&c, 2, 0, 9);
	assert_text(&c, "demo-killed.txt", &test_text_utf8);
	assert_text(&c, "demo-killed.ascii.txt", &test_text_ascii);
	case_fini(&c);
}

/* The lines that others compare with: they must stand here as people wrote them down. */
static void test_demo_says_what_lifecycle_says(void **state)
{
	static const char *const lines[] = {
		"╔══════════════════════════════════════════════════════════════╗\n"
		"║           REMAINING ALLOCATED BUFFERS                       ║\n"
		"╚══════════════════════════════════════════════════════════════╝\n"
		"Total tracked allocations: 381\n"
		"\n"
		"Device 0:\n"
		"  DRAM: 21 buffers, 19.43 MB total\n"
		"  L1: 28 buffers, 6.14 MB total\n"
		"Device 1:\n",
		"  DRAM: 20 buffers, 158.31 MB total\n",
		"✓ Removed 381 buffers (403.84 MB) from PID 12345, killed by signal 9 (SIGKILL)\n",
		"  ... and 371 more (--buffers all shows them)\n",
		"Exact: every allocation and free was seen.\n",
	};
	struct strbuf text = STRBUF_INIT;
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	build_demo(&c);
	case_exit(&c, 2, 0, 9);
	snapshot = case_snapshot(&c);
	assert_non_null(snapshot);
	assert_int_equal(text_view_summary(&text, &test_text_utf8, snapshot), 0);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (!strstr(strbuf_str(&text), lines[i]))
			fail_msg("missing:\n%s\nin:\n%s", lines[i], strbuf_str(&text));
	}
	assert_ptr_equal(strstr(strbuf_str(&text), lines[0]), strbuf_str(&text));
	strbuf_fini(&text);
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_clean(void **state)
{
	struct model_case c;

	(void)state;
	case_init(&c);
	build_clean(&c);
	assert_text(&c, "clean.txt", &test_text_utf8);
	assert_text(&c, "clean.ascii.txt", &test_text_ascii);
	assert_json(&c, "clean.json");
	case_fini(&c);
	assert_events(build_clean, "clean.events.txt", false, true);
}

static void test_trouble(void **state)
{
	struct text_view colour = {.style = {.utf8 = true, .colour = true}, .max_buffers = 1};
	struct text_view narrow = {.style = {.utf8 = true, .width = 50}, .max_buffers = TEXT_VIEW_ALL_BUFFERS};
	struct model_case c;

	(void)state;
	case_init(&c);
	build_trouble(&c);
	assert_text(&c, "trouble.txt", &test_text_utf8);
	assert_text(&c, "trouble.ascii.txt", &test_text_ascii);
	assert_text(&c, "trouble.colour.txt", &colour);
	assert_text(&c, "trouble.narrow.txt", &narrow);
	assert_json(&c, "trouble.json");
	case_fini(&c);
}

static void test_starved(void **state)
{
	struct text_view two = {.style = {.width = 80}, .max_buffers = 2};
	struct model_case c;

	(void)state;
	case_init(&c);
	build_starved(&c);
	assert_text(&c, "starved.txt", &test_text_utf8);
	assert_text(&c, "starved.two.txt", &two);
	assert_json(&c, "starved.json");
	case_fini(&c);
	assert_events(build_starved, "starved.events.txt", false, true);
	assert_events(build_starved, "starved.events.ndjson", true, true);
}

static void test_late(void **state)
{
	struct text_view wide = {.style = {.utf8 = true, .width = 120}, .max_buffers = 10};
	struct text_view narrow = {.style = {.width = 50}, .max_buffers = 10};
	struct model_case c;

	(void)state;
	case_init(&c);
	build_late(&c);
	assert_text(&c, "late.txt", &test_text_utf8);
	assert_text(&c, "late.ascii.txt", &test_text_ascii);
	assert_text(&c, "late.wide.txt", &wide);
	assert_text(&c, "late.narrow.txt", &narrow);
	assert_json(&c, "late.json");
	case_fini(&c);
	assert_events(build_late, "late.events.txt", false, true);
	assert_events(build_late, "late.events.ndjson", true, true);
}

static void test_rebuilt(void **state)
{
	struct model_case c;

	(void)state;
	case_init(&c);
	build_rebuilt(&c);
	assert_text(&c, "rebuilt.txt", &test_text_utf8);
	assert_json(&c, "rebuilt.json");
	case_fini(&c);
	assert_events(build_rebuilt, "rebuilt.events.ndjson", true, true);
}

static void test_partial(void **state)
{
	struct model_case c;

	(void)state;
	case_init(&c);
	build_partial(&c);
	assert_text(&c, "partial.txt", &test_text_utf8);
	assert_json(&c, "partial.json");
	case_fini(&c);
	assert_events(build_partial, "partial.events.txt", false, true);
}

/* No line of the report about a census is wider than it may be. */
static void test_late_widths(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	build_late(&c);
	build_rebuilt_in(&c, 2);
	snapshot = case_snapshot(&c);
	assert_non_null(snapshot);
	for (unsigned int width = 80; width < 130; width++) {
		struct text_view view = {.style = {.utf8 = true, .width = width}, .max_buffers = 10};
		struct strbuf out = STRBUF_INIT;

		assert_int_equal(text_view_summary(&out, &view, snapshot), 0);
		for (const char *line = strbuf_str(&out); *line; line = strchr(line, '\n') + 1)
			assert_true(style_columns(line, strcspn(line, "\n")) <= width);
		strbuf_fini(&out);
	}
	snapshot_free(snapshot);
	case_fini(&c);
}

static void test_trouble_events(void **state)
{
	(void)state;
	assert_events(build_trouble, "trouble.events.txt", false, true);
	assert_events(build_trouble, "trouble.events.ascii.txt", false, false);
	assert_events(build_trouble, "trouble.events.ndjson", true, true);
}

static void test_nothing_at_all(void **state)
{
	struct model_case c;

	(void)state;
	case_init(&c);
	assert_text(&c, "nothing.txt", &test_text_utf8);
	assert_json(&c, "nothing.json");
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	assert_text(&c, "idle.txt", &test_text_utf8);
	assert_json(&c, "idle.json");
	case_fini(&c);
}

/* Ten in full, then a count: when the process ends, or at the very end. */
static void build_many_warnings(struct model_case *c)
{
	case_birth(c, 1, BIRTH_ATTACH, 0);
	case_birth(c, 2, BIRTH_ATTACH, 0);
	for (uint64_t i = 0; i < 25; i++) {
		case_free(c, 1, 0x100 + i, DEVICE);
		if (i < 11)
			case_free(c, 2, 0x100 + i, DEVICE);
	}
	case_exit(c, 1, 0, 0);
}

static void test_many_warnings(void **state)
{
	struct event_lines lines = {.view = {.json = true}};
	struct model_case c;
	size_t count = 0;

	(void)state;
	assert_events(build_many_warnings, "warnings.events.txt", false, true);
	case_init(&c);
	model_set_listener(c.model, hear_event, &lines);
	build_many_warnings(&c);
	for (const char *at = strbuf_str(&lines.out); (at = strstr(at, "\"unmatched_free\"")); at++)
		count++;
	assert_int_equal(count, 36);
	strbuf_fini(&lines.out);
	event_view_fini(&lines.view);
	case_fini(&c);
}

static void test_seed_lines(void **state)
{
	struct event_lines lines = {.view = {.style = {.utf8 = true}}};
	struct event event = case_buffer_event(EVENT_ALLOCATE, 0x100, DEVICE, MEMORY_DRAM, 4194304);
	struct model_case c;

	(void)state;
	case_init(&c);
	case_birth(&c, 1, BIRTH_ATTACH, 0);
	case_device(&c, 1, DEVICE, 0, 1);
	case_device(&c, 1, DEVICE + 1, 4, 1);
	model_set_listener(c.model, hear_event, &lines);
	event.buffer.address = 2560032;
	case_apply(&c, &event, 1);
	event.kind = EVENT_FREE;
	case_apply(&c, &event, 1);
	event.buffer.object = 0x200;
	event.buffer.device_object = DEVICE + 1;
	event.buffer.address = 1402304;
	case_apply(&c, &event, 1);
	assert_string_equal(strbuf_str(&lines.out),
			    "✓ [PID 12345] Allocated 4194304 bytes of DRAM on device 0 (buffer_id=2560032)\n"
			    "✗ [PID 12345] Freed buffer 2560032 on device 0 (4194304 bytes)\n"
			    "⚠ [PID 12345] Deallocation for unknown buffer 1402304 on device 4\n"
			    "   (allocated before tracking started)\n");
	strbuf_fini(&lines.out);
	event_view_fini(&lines.view);
	case_fini(&c);
}

static void assert_chips(const int32_t *chips, uint32_t count, const char *expected)
{
	struct strbuf out = STRBUF_INIT;

	phrase_chips(&out, chips, count);
	assert_string_equal(strbuf_str(&out), expected);
	strbuf_fini(&out);
}

static void test_chips(void **state)
{
	(void)state;
	assert_chips(NULL, 0, "?");
	assert_chips((int32_t[]){3}, 1, "3");
	assert_chips((int32_t[]){0, 1, 2, 3, 4, 5, 6, 7}, 8, "0-7");
	assert_chips((int32_t[]){0, 1, 4, 6, 7}, 5, "0-1,4,6-7");
	assert_chips((int32_t[]){3, 2, 1}, 3, "1-3");
	assert_chips((int32_t[]){4, 0, 2, 6, 5, 1, 3, 7}, 8, "0-7");
}

static void assert_command(const char *command, size_t len, const char *expected)
{
	struct strbuf out = STRBUF_INIT;

	phrase_command(&out, command, len);
	assert_string_equal(strbuf_str(&out), expected);
	strbuf_fini(&out);
}

static void test_command(void **state)
{
	(void)state;
	assert_command("", 0, "(command not known)");
	assert_command("a\0b c\0", 6, "a 'b c'");
	assert_command("a\0\0b", 5, "a '' b");
	assert_command("no-nul", 6, "no-nul");
	assert_command("\033[2J", 5, "\\x1b[2J");
}

static void test_fit(void **state)
{
	struct style utf8 = {.utf8 = true}, ascii = {0};
	struct strbuf out = STRBUF_INIT;

	(void)state;
	style_fit(&out, &utf8, "größer", 6);
	strbuf_addc(&out, '|');
	style_fit(&out, &utf8, "größer", 5);
	strbuf_addc(&out, '|');
	style_fit(&out, &ascii, "abcdefgh", 6);
	strbuf_addc(&out, '|');
	style_fit(&out, &ascii, "abcdefgh", 2);
	strbuf_addc(&out, '|');
	style_fit(&out, &utf8, "abc", 0);
	assert_string_equal(strbuf_str(&out), "größer|größ…|abc...|ab|");
	strbuf_fini(&out);
}

/* No line of a table is wider than it may be, down to what must be there. */
static void test_table_widths(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	case_init(&c);
	build_trouble(&c);
	snapshot = case_snapshot(&c);
	assert_non_null(snapshot);
	for (unsigned int width = 56; width < 120; width++) {
		struct style style = {.utf8 = true, .width = width};
		const struct snapshot_process *p = case_find(snapshot, 1);
		struct strbuf out = STRBUF_INIT;

		assert_int_equal(column_table(&out, &style, p->buffers, p->buffer_count, snapshot->now_ns), 0);
		for (const char *line = strbuf_str(&out); *line; line = strchr(line, '\n') + 1) {
			assert_true(strcspn(line, "\n") <= width);
			assert_true(line[strcspn(line, "\n") - 1] != ' ');
		}
		strbuf_fini(&out);
	}
	snapshot_free(snapshot);
	case_fini(&c);
}

static void assert_write_error(const struct model_case *c)
{
	FILE *full = fopen("/dev/full", "w");
	struct snapshot *snapshot = case_snapshot(c);

	assert_non_null(full);
	assert_non_null(snapshot);
	assert_int_equal(json_view_summary(full, &test_json, snapshot), -EIO);
	fclose(full);
	snapshot_free(snapshot);
}

static void test_json_write_error(void **state)
{
	struct model_case c;

	(void)state;
	case_init(&c);
	assert_write_error(&c); /* so short that only the last flush meets it */
	build_demo(&c);
	assert_write_error(&c);
	case_fini(&c);
}

/* jansson's own memory goes through the wraps too. */
static void *test_json_malloc(size_t size)
{
	return malloc(size);
}

static void test_json_free(void *data)
{
	free(data);
}

static int summary_without_memory(const struct snapshot *snapshot, bool json)
{
	struct strbuf out = STRBUF_INIT;
	FILE *null;
	int err;

	if (!json) {
		err = text_view_summary(&out, &test_text_utf8, snapshot);
		strbuf_fini(&out);
		return err;
	}
	null = fopen("/dev/null", "w");
	assert_non_null(null);
	err = json_view_summary(null, &test_json, snapshot);
	fclose(null);
	return err;
}

static void test_out_of_memory(void **state)
{
	struct snapshot *snapshot;
	struct model_case c;

	(void)state;
	json_set_alloc_funcs(test_json_malloc, test_json_free);
	case_init(&c);
	build_trouble(&c);
	build_late_in(&c, 5);
	snapshot = case_snapshot(&c);
	assert_non_null(snapshot);
	for (int json = 0; json < 2; json++) {
		bool failed = true;

		for (long n = 0; failed; n++) {
			int err;

			fail_alloc_from(n);
			err = summary_without_memory(snapshot, json);
			failed = fail_alloc_off();
			assert_int_equal(err, failed ? -ENOMEM : 0);
		}
	}
	snapshot_free(snapshot);
	case_fini(&c);
	json_set_alloc_funcs(malloc, free);
}

struct failing_lines {
	struct event_lines lines;
	bool failed;
};

static void hear_failing(void *context, const struct notice *notice)
{
	struct failing_lines *failing = context;
	bool failed = true;

	for (long n = 0; failed; n++) {
		int err;

		/* The table of warnings may stay grown: a later try needs less. */
		fail_alloc_from(n);
		err = event_view_notice(&failing->lines.out, &failing->lines.view, notice);
		failed = fail_alloc_off();
		assert_int_equal(err, failed ? -ENOMEM : 0);
		failing->failed |= failed;
		strbuf_fini(&failing->lines.out);
	}
}

static void test_events_out_of_memory(void **state)
{
	(void)state;
	json_set_alloc_funcs(test_json_malloc, test_json_free);
	for (int json = 0; json < 2; json++) {
		struct failing_lines failing = {.lines.view = {.style = {.utf8 = true}, .json = json}};
		struct model_case c;

		case_init(&c);
		model_set_listener(c.model, hear_failing, &failing);
		build_trouble(&c);
		build_late_in(&c, 5);
		assert_true(failing.failed);
		event_view_fini(&failing.lines.view);
		strbuf_fini(&failing.lines.out);
		case_fini(&c);
	}
	json_set_alloc_funcs(malloc, free);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_demo_text),      cmocka_unit_test(test_demo_says_what_lifecycle_says),
		cmocka_unit_test(test_clean),          cmocka_unit_test(test_trouble),
		cmocka_unit_test(test_starved),        cmocka_unit_test(test_late),
		cmocka_unit_test(test_rebuilt),        cmocka_unit_test(test_partial),
		cmocka_unit_test(test_late_widths),    cmocka_unit_test(test_trouble_events),
		cmocka_unit_test(test_nothing_at_all), cmocka_unit_test(test_many_warnings),
		cmocka_unit_test(test_seed_lines),     cmocka_unit_test(test_chips),
		cmocka_unit_test(test_command),        cmocka_unit_test(test_fit),
		cmocka_unit_test(test_table_widths),   cmocka_unit_test(test_json_write_error),
		cmocka_unit_test(test_out_of_memory),  cmocka_unit_test(test_events_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
