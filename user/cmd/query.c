// SPDX-License-Identifier: BSD-2-Clause
/* The options of a request; see query.h. A row per option. */
#include "cmd/query.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "view/text_view.h"

/* Index of the string in @words, or -1. */
static int word(const json_t *value, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (json_is_string(value) && !strcmp(json_string_value(value), words[i]))
			return (int)i;
	}
	return -1;
}

static bool parse_format(struct query *query, const json_t *value)
{
	static const char *const words[] = {[QUERY_TEXT] = "text", [QUERY_JSON] = "json", [QUERY_CSV] = "csv"};
	int which = word(value, words, 3);

	query->format = (enum query_format)(which < 0 ? 0 : which);
	return which >= 0;
}

static bool parse_sort(struct query *query, const json_t *value)
{
	static const char *const words[] = {
		[SELECTION_BY_SIZE] = "size",       [SELECTION_BY_AGE] = "age", [SELECTION_BY_TYPE] = "type",
		[SELECTION_BY_ADDRESS] = "address", [SELECTION_BY_PID] = "pid",
	};
	int which = word(value, words, 5);

	query->selection.order = (enum selection_order)(which < 0 ? 0 : which);
	return which >= 0;
}

static bool parse_list(struct selection_list *list, const json_t *value)
{
	if (!json_is_array(value) || json_array_size(value) > SELECTION_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(value); i++) {
		const json_t *number = json_array_get(value, i);

		if (!json_is_integer(number))
			return false;
		list->values[list->count++] = json_integer_value(number);
	}
	return true;
}

static bool parse_pids(struct query *query, const json_t *value)
{
	query->selective = true;
	return parse_list(&query->selection.pids, value);
}

static bool parse_users(struct query *query, const json_t *value)
{
	query->selective = true;
	return parse_list(&query->selection.users, value);
}

static bool parse_devices(struct query *query, const json_t *value)
{
	query->selective = true;
	return parse_list(&query->selection.devices, value);
}

static bool parse_types(struct query *query, const json_t *value)
{
	query->selective = true;
	if (!json_is_array(value))
		return false;
	for (size_t i = 0; i < json_array_size(value); i++) {
		const char *name = json_string_value(json_array_get(value, i));
		int type = 0;

		while (name && type < MEMORY_TYPE_COUNT && strcmp(name, memory_type_name((enum memory_type)type)))
			type++;
		if (!name || type == MEMORY_TYPE_COUNT)
			return false;
		query->selection.types |= 1u << type;
	}
	return true;
}

static bool parse_number(const json_t *value, uint64_t *out)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

static bool parse_min_size(struct query *query, const json_t *value)
{
	query->selective = true;
	return parse_number(value, &query->selection.min_size_bytes);
}

static bool parse_older(struct query *query, const json_t *value)
{
	query->selective = true;
	return parse_number(value, &query->selection.older_ns);
}

static bool parse_buffers(struct query *query, const json_t *value)
{
	if (json_is_integer(value) && json_integer_value(value) == -1) {
		query->buffers = TEXT_VIEW_ALL_BUFFERS;
		return true;
	}
	return parse_number(value, &query->buffers);
}

static bool parse_fail_if_any(struct query *query, const json_t *value)
{
	query->gate.if_any = json_is_true(value);
	return json_is_boolean(value);
}

static bool parse_fail_above(struct query *query, const json_t *value)
{
	query->gate.has_above = true;
	return parse_number(value, &query->gate.above_bytes);
}

static bool parse_utf8(struct query *query, const json_t *value)
{
	query->style.utf8 = json_is_true(value);
	return json_is_boolean(value);
}

static bool parse_colour(struct query *query, const json_t *value)
{
	query->style.colour = json_is_true(value);
	return json_is_boolean(value);
}

static bool parse_width(struct query *query, const json_t *value)
{
	uint64_t width;

	if (!parse_number(value, &width) || width > 10000)
		return false;
	/* Narrower than this no line could hold what it has to. */
	query->style.width = width && width < 40 ? 40 : (unsigned int)width;
	return true;
}

/* Names go into tables and onto terminals. */
bool query_is_name(const char *text)
{
	size_t len = strlen(text);

	if (!len || len > QUERY_MAX_NAME)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && !strchr("._-+:@/", text[i]))
			return false;
	}
	return true;
}

static bool parse_name(const char **out, const json_t *value)
{
	*out = json_string_value(value);
	return *out && query_is_name(*out);
}

static bool parse_mark(struct query *query, const json_t *value)
{
	return parse_name(&query->name, value);
}

static bool parse_from(struct query *query, const json_t *value)
{
	return parse_name(&query->from, value);
}

static bool parse_to(struct query *query, const json_t *value)
{
	return parse_name(&query->to, value);
}

static const struct {
	const char *name;
	bool (*parse)(struct query *query, const json_t *value);
	const char *takes;
} query_options[] = {
	{"format", parse_format, "text, json or csv"},
	{"pids", parse_pids, "a list of at most 256 process ids"},
	{"devices", parse_devices, "a list of at most 256 devices"},
	{"types", parse_types, "a list of DRAM, L1, L1_SMALL, TRACE"},
	{"users", parse_users, "a list of at most 256 user ids"},
	{"min_size", parse_min_size, "bytes"},
	{"older_ns", parse_older, "nanoseconds"},
	{"sort", parse_sort, "size, age, pid, type or address"},
	{"buffers", parse_buffers, "a number, or -1 for all"},
	{"fail_if_any", parse_fail_if_any, "true or false"},
	{"fail_above", parse_fail_above, "bytes"},
	{"utf8", parse_utf8, "true or false"},
	{"colour", parse_colour, "true or false"},
	{"width", parse_width, "a number of columns"},
	{"name", parse_mark, "a name of at most 64 letters, digits and ._-+:@/"},
	{"from", parse_from, "a name of at most 64 letters, digits and ._-+:@/"},
	{"to", parse_to, "a name of at most 64 letters, digits and ._-+:@/"},
};

static int parse_option(struct query *query, const char *key, const json_t *value, char *message, size_t size)
{
	struct strbuf safe = STRBUF_INIT;

	for (size_t i = 0; i < sizeof(query_options) / sizeof(query_options[0]); i++) {
		if (strcmp(query_options[i].name, key))
			continue;
		if (query_options[i].parse(query, value))
			return 0;
		snprintf(message, size, "the option \"%s\" takes %s", key, query_options[i].takes);
		return -EINVAL;
	}
	escape_terminal(&safe, key, strlen(key) < 32 ? strlen(key) : 32);
	snprintf(message, size, "the service (bufscope " BUFSCOPE_VERSION ") does not know the option \"%s\"",
		 strbuf_str(&safe));
	strbuf_fini(&safe);
	return -EINVAL;
}

int query_parse(const json_t *options, struct query *out, char *message, size_t size)
{
	const json_t *value;
	const char *key;
	int err = 0;

	memset(out, 0, sizeof(*out));
	out->buffers = TEXT_VIEW_DEFAULT_BUFFERS;
	/* The iterator changes nothing; jansson's type for it is not const. */
	for (void *at = json_object_iter((json_t *)options); at && !err;
	     at = json_object_iter_next((json_t *)options, at)) {
		key = json_object_iter_key(at);
		value = json_object_iter_value(at);
		err = parse_option(out, key, value, message, size);
	}
	return err;
}
