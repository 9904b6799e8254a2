// SPDX-License-Identifier: BSD-2-Clause
/* cmd/query: every option of a request, with what it takes and with what it does not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cmd/query.h"
#include "view/text_view.h"

#define NAME_64 "0123456789012345678901234567890123456789012345678901234567890123"

static char message[256];

static int parse(const char *text, struct query *out)
{
	json_t *options = json_loads(text, JSON_DECODE_ANY, NULL);
	int err;

	if (!options)
		fail_msg("no JSON: %s", text);
	*message = '\0';
	err = query_parse(options, out, message, sizeof(message));
	/* Strings are the request's. */
	if (!err && out->name)
		assert_string_equal(out->name, json_string_value(json_object_get(options, "name")));
	json_decref(options);
	return err;
}

static void good(const char *text, struct query *out)
{
	if (parse(text, out))
		fail_msg("%s: %s", text, message);
	assert_string_equal(message, "");
}

static void test_nothing(void **state)
{
	struct query query;

	(void)state;
	memset(&query, 0xff, sizeof(query));
	good("{}", &query);
	assert_int_equal(query.format, QUERY_TEXT);
	assert_false(query.selective);
	assert_int_equal(query.buffers, TEXT_VIEW_DEFAULT_BUFFERS);
	assert_false(selection_of_buffers(&query.selection));
	assert_int_equal(query.selection.pids.count + query.selection.users.count, 0);
	assert_int_equal(query.selection.order, SELECTION_BY_SIZE);
	assert_false(query.selection.one_user);
	assert_false(query.gate.if_any);
	assert_false(query.gate.has_above);
	assert_null(query.name);
}

static void test_what_is_selected(void **state)
{
	struct query query;

	(void)state;
	good("{\"pids\": [1, 4194304]}", &query);
	assert_true(query.selective);
	assert_int_equal(query.selection.pids.count, 2);
	assert_int_equal(query.selection.pids.values[1], 4194304);
	good("{\"devices\": [0, -1]}", &query);
	assert_int_equal(query.selection.devices.values[1], -1);
	assert_true(query.selective);
	good("{\"users\": [4294967294]}", &query);
	assert_int_equal(query.selection.users.values[0], 4294967294);
	assert_true(query.selective);
	good("{\"types\": [\"DRAM\", \"TRACE\", \"DRAM\"]}", &query);
	assert_int_equal(query.selection.types, 1u << MEMORY_DRAM | 1u << MEMORY_TRACE);
	assert_true(query.selective);
	good("{\"types\": [\"L1\", \"L1_SMALL\"]}", &query);
	assert_int_equal(query.selection.types, 1u << MEMORY_L1 | 1u << MEMORY_L1_SMALL);
	good("{\"min_size\": 9223372036854775807}", &query);
	assert_true(query.selection.min_size_bytes == INT64_MAX && query.selective);
	good("{\"older_ns\": 300000000000}", &query);
	assert_true(query.selection.older_ns == UINT64_C(300000000000) && query.selective);
}

static void test_how_it_is_shown(void **state)
{
	static const char *const formats[] = {"text", "json", "csv"};
	static const char *const orders[] = {"size", "age", "type", "address", "pid"};
	struct query query;
	char text[64];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "{\"format\": \"%s\"}", formats[i]);
		good(text, &query);
		assert_int_equal(query.format, i);
		assert_false(query.selective);
	}
	for (size_t i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), "{\"sort\": \"%s\"}", orders[i]);
		good(text, &query);
		assert_int_equal(query.selection.order, i);
	}
	good("{\"buffers\": -1}", &query);
	assert_true(query.buffers == TEXT_VIEW_ALL_BUFFERS);
	good("{\"buffers\": 0}", &query);
	assert_int_equal(query.buffers, 0);
	good("{\"utf8\": true, \"colour\": true, \"width\": 132}", &query);
	assert_true(query.style.utf8 && query.style.colour && query.style.width == 132);
	good("{\"utf8\": false, \"colour\": false, \"width\": 0}", &query);
	assert_false(query.style.utf8 || query.style.colour || query.style.width);
	good("{\"width\": 3}", &query);
	assert_int_equal(query.style.width, 40);
}

static void test_gates(void **state)
{
	struct query query;

	(void)state;
	good("{\"fail_if_any\": true}", &query);
	assert_true(query.gate.if_any);
	good("{\"fail_if_any\": false}", &query);
	assert_false(query.gate.if_any);
	good("{\"fail_above\": 0}", &query);
	assert_true(query.gate.has_above);
	assert_int_equal(query.gate.above_bytes, 0);
	assert_false(query.selective);
}

static void test_names(void **state)
{
	struct query query;

	(void)state;
	good("{\"name\": \"" NAME_64 "\", \"from\": \"a-Z._+:@/9\", \"to\": \"b\"}", &query);
	assert_non_null(query.from);
	assert_non_null(query.to);
}

/* Of every option: wrong types, and values that are just not allowed. */
static void test_wrong(void **state)
{
	static const char *const wrong[] = {
		"{\"format\": \"xml\"}",
		"{\"format\": 1}",
		"{\"format\": \"\"}",
		"{\"sort\": \"Size\"}",
		"{\"sort\": null}",
		"{\"pids\": 1}",
		"{\"pids\": {}}",
		"{\"pids\": [\"1\"]}",
		"{\"pids\": [1.0]}",
		"{\"pids\": [1, null]}",
		"{\"devices\": \"0\"}",
		"{\"devices\": [[0]]}",
		"{\"users\": [true]}",
		"{\"users\": null}",
		"{\"types\": \"DRAM\"}",
		"{\"types\": [\"dram\"]}",
		"{\"types\": [\"DRAM\", 1]}",
		"{\"types\": [\"\"]}",
		"{\"min_size\": -1}",
		"{\"min_size\": \"1K\"}",
		"{\"min_size\": 1.5}",
		"{\"older_ns\": -5}",
		"{\"older_ns\": null}",
		"{\"buffers\": -2}",
		"{\"buffers\": \"all\"}",
		"{\"fail_if_any\": 1}",
		"{\"fail_if_any\": null}",
		"{\"fail_above\": -1}",
		"{\"fail_above\": true}",
		"{\"utf8\": 1}",
		"{\"colour\": \"yes\"}",
		"{\"width\": 10001}",
		"{\"width\": -1}",
		"{\"width\": \"80\"}",
		"{\"name\": \"\"}",
		"{\"name\": 5}",
		"{\"name\": \"two words\"}",
		"{\"name\": \"a\\nb\"}",
		"{\"name\": \"\\u001b[2J\"}",
		"{\"name\": \"caf\\u00e9\"}",
		"{\"name\": \"" NAME_64 "4\"}",
		"{\"from\": []}",
		"{\"to\": {}}",
	};
	struct query query;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (parse(wrong[i], &query) != -EINVAL)
			fail_msg("taken: %s", wrong[i]);
		if (strncmp(message, "the option \"", 12) || !strstr(message, "\" takes "))
			fail_msg("%s: %s", wrong[i], message);
	}
}

static void test_unknown(void **state)
{
	struct query query;

	(void)state;
	assert_int_equal(parse("{\"older\": 5}", &query), -EINVAL);
	assert_non_null(strstr(message, "does not know the option \"older\""));
	/* What goes to a terminal is escaped, and not longer than a line. */
	assert_int_equal(parse("{\"\\u001b]0;title\\u0007aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": 1}",
			       &query),
			 -EINVAL);
	for (const char *at = message; *at; at++)
		assert_true(*at >= ' ' && *at < 0x7f);
	assert_in_range(strlen(message), 1, 160);
}

static void test_how_many(void **state)
{
	struct query query;
	char text[SELECTION_MAX * 4 + 64];
	size_t len = 0;

	(void)state;
	len = (size_t)snprintf(text, sizeof(text), "{\"pids\": [");
	for (size_t i = 0; i < SELECTION_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s7", i ? "," : "");
	snprintf(text + len, sizeof(text) - len, "]}");
	good(text, &query);
	assert_int_equal(query.selection.pids.count, SELECTION_MAX);
	snprintf(text + len, sizeof(text) - len, ",7]}");
	assert_int_equal(parse(text, &query), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),         cmocka_unit_test(test_what_is_selected),
		cmocka_unit_test(test_how_it_is_shown), cmocka_unit_test(test_gates),
		cmocka_unit_test(test_names),           cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_unknown),         cmocka_unit_test(test_how_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
