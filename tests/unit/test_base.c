// SPDX-License-Identifier: BSD-2-Clause
/* base/: string buffer, escaping, units, log. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/escape.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "fail_alloc.h"

static void test_strbuf_grows(void **state)
{
	struct strbuf sb = STRBUF_INIT;

	(void)state;
	assert_string_equal(strbuf_str(&sb), "");
	for (int i = 0; i < 1000; i++)
		strbuf_addf(&sb, "%03d,", i);
	assert_int_equal(sb.len, 4000);
	assert_int_equal(strlen(strbuf_str(&sb)), 4000);
	assert_memory_equal(strbuf_str(&sb) + 3996, "999,", 5);
	strbuf_reset(&sb);
	assert_string_equal(strbuf_str(&sb), "");
	strbuf_add(&sb, "a\0b", 3);
	assert_int_equal(sb.len, 3);
	assert_memory_equal(sb.data, "a\0b", 4);
	strbuf_fini(&sb);
	assert_null(sb.data);
}

static void test_strbuf_long_format(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	char text[5001];

	(void)state;
	memset(text, 'x', 5000);
	text[5000] = '\0';
	strbuf_adds(&sb, "<");
	strbuf_addf(&sb, "%s>", text);
	assert_int_equal(sb.len, 5002);
	assert_int_equal(sb.data[5001], '>');
	strbuf_fini(&sb);
}

static void test_strbuf_failure_sticks(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	size_t len;

	(void)state;
	strbuf_adds(&sb, "kept");
	fail_alloc_at(0);
	while (!strbuf_error(&sb))
		strbuf_adds(&sb, "and more");
	assert_true(fail_alloc_off());
	assert_int_equal(strbuf_error(&sb), -ENOMEM);
	/* A text with a hole in it would be worse than a short one. */
	len = sb.len;
	strbuf_addf(&sb, "%d", 1);
	strbuf_addc(&sb, 'x');
	assert_int_equal(sb.len, len);
	assert_int_equal(strlen(strbuf_str(&sb)), sb.len);
	strbuf_reset(&sb);
	assert_int_equal(strbuf_error(&sb), 0);
	strbuf_adds(&sb, "again");
	assert_string_equal(strbuf_str(&sb), "again");
	strbuf_fini(&sb);
	strbuf_add(&sb, "x", SIZE_MAX - 1);
	assert_int_equal(strbuf_error(&sb), -ENOMEM);
	strbuf_fini(&sb);
}

#define assert_terminal(in, expected) assert_escaped(escape_terminal, in, sizeof(in) - 1, expected)
#define assert_utf8(in, expected)     assert_escaped(escape_utf8, in, sizeof(in) - 1, expected)

static void assert_escaped(void (*escape)(struct strbuf *, const char *, size_t), const char *in, size_t len,
			   const char *expected)
{
	struct strbuf sb = STRBUF_INIT;
	char *exact = malloc(len ? len : 1);

	/* On the heap without a NUL behind it: a read past the end is seen. */
	assert_non_null(exact);
	memcpy(exact, in, len);
	escape(&sb, exact, len);
	assert_string_equal(strbuf_str(&sb), expected);
	free(exact);
	strbuf_fini(&sb);
}

static void test_escape_terminal(void **state)
{
	(void)state;
	assert_terminal("", "");
	assert_terminal("plain text", "plain text");
	assert_terminal("größer ✓ 🎉", "größer ✓ 🎉");
	assert_terminal("\033[31mred\033[0m", "\\x1b[31mred\\x1b[0m");
	assert_terminal("a\nb\tc\\d\r", "a\\nb\\tc\\\\d\\x0d");
	assert_terminal("\0\x7f", "\\x00\\x7f");
	/* C1 in UTF-8: U+009B is an escape sequence's beginning for some terminals. */
	assert_terminal("\xc2\x9b"
			"31m",
			"\\x9b31m");
	assert_terminal("\xc2\xa0", "\xc2\xa0");
	/* Not UTF-8: lone bytes, cut short, overlong, surrogate, too large. */
	assert_terminal("\x9b", "\\x9b");
	assert_terminal("\xff\xfe", "\\xff\\xfe");
	assert_terminal("\xe2\x9c", "\\xe2\\x9c");
	assert_terminal("\xe2\x9cz", "\\xe2\\x9cz");
	assert_terminal("\xc0\x80", "\\xc0\\x80");
	assert_terminal("\xe0\x80\xaf", "\\xe0\\x80\\xaf");
	assert_terminal("\xed\xa0\x80", "\\xed\\xa0\\x80");
	assert_terminal("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	assert_terminal("\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf");
	/* Text that reads differently from what it is. */
	assert_terminal("a\xe2\x80\xae"
			"b",
			"a\\u{202E}b");
	assert_terminal("\xe2\x81\xa6\xe2\x81\xa9", "\\u{2066}\\u{2069}");
	assert_terminal("\xe2\x80\xaa\xe2\x80\xa9", "\\u{202A}\xe2\x80\xa9");
}

static void test_escape_utf8(void **state)
{
	(void)state;
	assert_utf8("grün\n\033", "grün\n\033");
	assert_utf8("a\0b", "a\xef\xbf\xbd"
			    "b");
	assert_utf8("\xff", "\xef\xbf\xbd");
	assert_utf8("x\xe2\x9c", "x\xef\xbf\xbd\xef\xbf\xbd");
	assert_utf8("\xf0\x9f\x8e\x89", "\xf0\x9f\x8e\x89");
}

static void assert_text(void (*units)(struct strbuf *, uint64_t), uint64_t value, const char *expected)
{
	struct strbuf sb = STRBUF_INIT;

	units(&sb, value);
	assert_string_equal(strbuf_str(&sb), expected);
	strbuf_fini(&sb);
}

static void test_units_bytes(void **state)
{
	(void)state;
	assert_text(units_mb, 0, "0.00 MB");
	assert_text(units_mb, 423449722, "403.83 MB");
	assert_text(units_mb, 78760ULL << 20, "78760.00 MB");
	assert_text(units_size, 0, "0 B");
	assert_text(units_size, 512, "512 B");
	assert_text(units_size, 1023, "1023 B");
	assert_text(units_size, 1024, "1.0 KB");
	assert_text(units_size, 12288, "12.0 KB");
	assert_text(units_size, (1 << 20) - 1, "1.00 MB");
	assert_text(units_size, 1 << 20, "1.00 MB");
	assert_text(units_size, 4 << 20, "4.00 MB");
	assert_text(units_size, (1 << 30) - 1, "1.00 GB");
	assert_text(units_size, 3ULL << 29, "1.50 GB");
	assert_text(units_size, 5ULL << 40, "5.00 TB");
	assert_text(units_size, UINT64_MAX, "16777216.00 TB");
}

static void test_units_duration(void **state)
{
	const uint64_t s = 1000000000;

	(void)state;
	assert_text(units_duration, 0, "0.0 ms");
	assert_text(units_duration, 9990000, "9.9 ms");
	assert_text(units_duration, 10000000, "10 ms");
	assert_text(units_duration, 999999999, "999 ms");
	assert_text(units_duration, s * 35 / 100, "350 ms");
	assert_text(units_duration, 10 * s - 1, "9.99 s");
	assert_text(units_duration, s * 124 / 10, "12.4 s");
	assert_text(units_duration, 60 * s - 1, "59.9 s");
	assert_text(units_duration, 60 * s, "1 min 00 s");
	assert_text(units_duration, 185 * s, "3 min 05 s");
	assert_text(units_duration, 3600 * s - 1, "59 min 59 s");
	assert_text(units_duration, (2 * 3600 + 14 * 60) * s, "2 h 14 min");
	assert_text(units_duration, (3 * 24 + 4) * 3600 * s, "3 d 04 h");
	assert_text(units_duration, UINT64_MAX, "213503 d 23 h");
}

static void test_parse_size(void **state)
{
	static const struct {
		const char *text;
		int err;
		uint64_t bytes;
	} cases[] = {
		{"4096", 0, 4096},
		{"0", 0, 0},
		{"64K", 0, 65536},
		{"64k", 0, 65536},
		{"16M", 0, 16 << 20},
		{"2G", 0, 2ULL << 30},
		{"1T", 0, 1ULL << 40},
		{"16MB", 0, 16 << 20},
		{"7B", 0, 7},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"17179869184G", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"K", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
		{"1X", -EINVAL, 0},
		{"1KK", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 0;

		assert_int_equal(units_parse_size(cases[i].text, &bytes), cases[i].err);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void test_parse_duration(void **state)
{
	static const struct {
		const char *text;
		int err;
		uint64_t ns;
	} cases[] = {
		{"10", 0, 10000000000},
		{"0.5", 0, 500000000},
		{"2s", 0, 2000000000},
		{"500ms", 0, 500000000},
		{"1.5ms", 0, 1500000},
		{"1m", 0, 60000000000},
		{"0.5m", 0, 30000000000},
		{"2h", 0, 7200000000000},
		{"1.5d", 0, 129600000000000},
		{"0.0000000001", 0, 0},
		{"0.1234567899", 0, 123456789},
		{"18446744073", 0, 18446744073000000000ULL},
		{"18446744074", -ERANGE, 0},
		{"99999999999999999999", -ERANGE, 0},
		{"", -EINVAL, 0},
		{".5", -EINVAL, 0},
		{"1.", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"1x", -EINVAL, 0},
		{"1 s", -EINVAL, 0},
		{"1ss", -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ns = 0;

		assert_int_equal(units_parse_duration(cases[i].text, &ns), cases[i].err);
		assert_int_equal(ns, cases[i].ns);
	}
}

/* Runs @say with stderr in a file and compares what came. */
static void assert_logged(void (*say)(void), const char *expected)
{
	char path[] = "/tmp/bufscope-test-XXXXXX", text[1024];
	int file = mkstemp(path), saved = dup(2);
	ssize_t len;

	assert_true(file >= 0 && saved >= 0);
	unlink(path);
	dup2(file, 2);
	say();
	dup2(saved, 2);
	close(saved);
	len = pread(file, text, sizeof(text) - 1, 0);
	close(file);
	assert_true(len >= 0);
	text[len] = '\0';
	assert_string_equal(text, expected);
}

static void say_all(void)
{
	log_error("cannot read %s: %d", "x", 5);
	log_warning("first\nsecond");
	log_info("info");
	log_debug("debug");
}

static void test_log(void **state)
{
	(void)state;
	assert_true(log_enabled(LOG_LEVEL_INFO));
	assert_false(log_enabled(LOG_LEVEL_DEBUG));
	assert_logged(say_all, "bufscope: cannot read x: 5\nbufscope: warning: first\nbufscope: warning: second\n"
			       "bufscope: info\n");
	log_set_level(LOG_LEVEL_ERROR);
	assert_logged(say_all, "bufscope: cannot read x: 5\n");
	log_set_level(LOG_LEVEL_DEBUG);
	assert_true(log_enabled(LOG_LEVEL_DEBUG));
	log_set_level(LOG_LEVEL_INFO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strbuf_grows),          cmocka_unit_test(test_strbuf_long_format),
		cmocka_unit_test(test_strbuf_failure_sticks), cmocka_unit_test(test_escape_terminal),
		cmocka_unit_test(test_escape_utf8),           cmocka_unit_test(test_units_bytes),
		cmocka_unit_test(test_units_duration),        cmocka_unit_test(test_parse_size),
		cmocka_unit_test(test_parse_duration),        cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
