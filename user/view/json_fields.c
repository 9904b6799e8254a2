// SPDX-License-Identifier: BSD-2-Clause
/* Pieces of JSON that several outputs share; see json_fields.h. */
#include "view/json_fields.h"

#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "view/phrase.h"

void json_fields_set(json_t *object, const char *key, json_t *value, bool *failed)
{
	/* Takes the reference in any case, also when object or value is NULL. */
	if (json_object_set_new_nocheck(object, key, value))
		*failed = true;
}

void json_fields_u64(json_t *object, const char *key, uint64_t value, bool *failed)
{
	/* The library's integers are signed. No true count or size comes near the limit. */
	json_fields_i64(object, key, value > INT64_MAX ? INT64_MAX : (int64_t)value, failed);
}

void json_fields_u64_or_null(json_t *object, const char *key, bool known, uint64_t value, bool *failed)
{
	if (known)
		json_fields_u64(object, key, value, failed);
	else
		json_fields_null(object, key, failed);
}

void json_fields_i64(json_t *object, const char *key, int64_t value, bool *failed)
{
	json_fields_set(object, key, json_integer(value), failed);
}

void json_fields_bool(json_t *object, const char *key, bool value, bool *failed)
{
	json_fields_set(object, key, json_boolean(value), failed);
}

void json_fields_null(json_t *object, const char *key, bool *failed)
{
	json_fields_set(object, key, json_null(), failed);
}

json_t *json_fields_text(const char *text, size_t len)
{
	struct strbuf clean = STRBUF_INIT;
	json_t *value = NULL;

	escape_utf8(&clean, text, len);
	if (!strbuf_error(&clean))
		value = json_stringn_nocheck(strbuf_str(&clean), clean.len);
	strbuf_fini(&clean);
	return value;
}

void json_fields_string(json_t *object, const char *key, const char *text, bool *failed)
{
	json_fields_set(object, key, text ? json_fields_text(text, strlen(text)) : json_null(), failed);
}

json_t *json_fields_chips(const int32_t *chips, uint32_t count)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < count; i++) {
		if (json_array_append_new(array, json_integer(chips[i]))) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

void json_fields_buffer(json_t *object, const struct snapshot_buffer *buffer, bool *failed)
{
	json_fields_u64(object, "serial", buffer->serial, failed);
	json_fields_u64(object, "runtime", buffer->runtime, failed);
	json_fields_u64(object, "object", buffer->object, failed);
	json_fields_set(object, "on_devices", json_fields_chips(buffer->chips, buffer->chip_count), failed);
	json_fields_string(object, "type", memory_type_name(buffer->type), failed);
	json_fields_u64(object, "address", buffer->address, failed);
	json_fields_u64(object, "size_bytes", buffer->size_bytes, failed);
	json_fields_u64(object, "page_size_bytes", buffer->page_size_bytes, failed);
	json_fields_u64_or_null(object, "footprint_bytes", buffer->footprint_bytes, buffer->footprint_bytes, failed);
	json_fields_u64_or_null(object, "allocator", buffer->allocator_id != SNAPSHOT_NO_ALLOCATOR,
				buffer->allocator_id, failed);
	json_fields_string(object, "state", phrase_state_word(buffer->state), failed);
	json_fields_u64_or_null(object, "allocated_ns", buffer->allocated_ns, buffer->allocated_ns, failed);
	json_fields_u64_or_null(object, "held_since_ns", buffer->held_ns, buffer->held_ns, failed);
	json_fields_u64_or_null(object, "thread", buffer->thread, buffer->thread, failed);
}

void json_fields_unmatched(json_t *object, const struct snapshot_unmatched *unmatched, bool *failed)
{
	bool known = unmatched->readable;
	bool one_chip = unmatched->chip_count == 1;

	json_fields_string(object, "verdict", phrase_verdict_word(unmatched->verdict), failed);
	json_fields_u64(object, "object", unmatched->object, failed);
	json_fields_u64_or_null(object, "address", known, unmatched->address, failed);
	json_fields_set(object, "device", one_chip ? json_integer(unmatched->chips[0]) : json_null(), failed);
	json_fields_set(object, "on_devices", json_fields_chips(unmatched->chips, unmatched->chip_count), failed);
	json_fields_string(object, "type", known ? memory_type_name(unmatched->type) : NULL, failed);
	json_fields_u64_or_null(object, "size_bytes", known, unmatched->size_bytes, failed);
	json_fields_u64(object, "time_ns", unmatched->time_ns, failed);
	json_fields_u64(object, "thread", unmatched->thread, failed);
	json_fields_u64_or_null(object, "freed_ns", unmatched->freed_ns, unmatched->freed_ns, failed);
	json_fields_u64_or_null(object, "freed_thread", unmatched->freed_ns, unmatched->freed_thread, failed);
}

static json_t *json_fields_holders(const struct snapshot_failure *failure, bool *failed)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < failure->holder_count; i++) {
		json_t *holder = json_object();

		json_fields_string(holder, "process", failure->holders[i].id, failed);
		json_fields_u64(holder, "pid", failure->holders[i].pid, failed);
		json_fields_u64(holder, "live_buffers", failure->holders[i].buffers, failed);
		json_fields_u64(holder, "live_bytes", failure->holders[i].bytes, failed);
		if (json_array_append_new(array, holder))
			*failed = true;
	}
	return array;
}

void json_fields_failure(json_t *object, const struct snapshot_failure *failure, bool *failed)
{
	bool typed = failure->type != MEMORY_TYPE_COUNT, books = failure->books_ns != 0;

	json_fields_string(object, "type", typed ? memory_type_name(failure->type) : NULL, failed);
	json_fields_u64_or_null(object, "size_bytes", failure->known, failure->size_bytes, failed);
	json_fields_u64_or_null(object, "page_size_bytes", failure->known, failure->page_size_bytes, failed);
	json_fields_set(object, "on_devices", json_fields_chips(failure->chips, failure->chip_count), failed);
	json_fields_set(object, "holders", json_fields_holders(failure, failed), failed);
	json_fields_u64(object, "holders_left_out", failure->holders_left_out, failed);
	json_fields_u64_or_null(object, "books_ns", books, failure->books_ns, failed);
	json_fields_u64_or_null(object, "capacity_bytes", books, failure->capacity_bytes, failed);
	json_fields_u64_or_null(object, "free_bytes", books, failure->free_bytes, failed);
	json_fields_u64_or_null(object, "largest_free_bytes", books, failure->largest_free_bytes, failed);
}

void json_fields_runtime(json_t *object, const struct snapshot_runtime *runtime, bool *failed)
{
	struct strbuf key = STRBUF_INIT;
	json_t *layout = json_object();

	for (size_t i = 0; i < runtime->layout_count; i++) {
		strbuf_reset(&key);
		escape_utf8(&key, runtime->layout[i].name, strlen(runtime->layout[i].name));
		if (strbuf_error(&key))
			*failed = true;
		json_fields_i64(layout, strbuf_str(&key), runtime->layout[i].value, failed);
	}
	strbuf_fini(&key);
	json_fields_string(object, "name", runtime->name, failed);
	json_fields_string(object, "library", runtime->library, failed);
	json_fields_string(object, "build_id", runtime->build_id, failed);
	json_fields_set(object, "layout", layout, failed);
	json_fields_set(object, "earlier_objects",
			runtime->earlier_objects < 0 ? json_null() : json_integer(runtime->earlier_objects), failed);
}

void json_fields_census(json_t *object, const struct snapshot_census *census, bool *failed)
{
	json_fields_bool(object, "exact", census->exact, failed);
	json_fields_string(object, "reason", census->reason, failed);
	json_fields_u64(object, "scanned_bytes", census->scanned_bytes, failed);
	json_fields_u64(object, "missing_bytes", census->missing_bytes, failed);
	json_fields_u64(object, "books_equal", census->books_equal, failed);
	json_fields_u64(object, "books_differ", census->books_differ, failed);
	json_fields_u64(object, "books_unread", census->books_unread, failed);
	json_fields_u64(object, "unchecked_buffers", census->unchecked_buffers, failed);
}

static void json_fields_string_or_null(json_t *object, const char *key, const char *text, bool *failed)
{
	if (text && *text)
		json_fields_string(object, key, text, failed);
	else
		json_fields_null(object, key, failed);
}

void json_fields_chip(json_t *object, const struct chip_identity *chip, bool *failed)
{
	char name[CHIP_NAME_LEN], id[20] = "";
	json_t *told = json_object();

	/* As the driver writes it, and the links that udev makes of it. */
	if (chip->unique_id)
		snprintf(id, sizeof(id), "%016llX", (unsigned long long)chip->unique_id);
	json_fields_string_or_null(object, "name", chip_name(chip, name), failed);
	json_fields_string_or_null(told, "unique_id", id, failed);
	json_fields_string_or_null(told, "board", chip->board, failed);
	json_fields_string_or_null(told, "pci", chip->pci, failed);
	json_fields_string(told, "known_by", chip->known ? "driver" : "number", failed);
	json_fields_set(object, "chip", told, failed);
}
