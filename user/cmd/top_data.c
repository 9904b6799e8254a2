// SPDX-License-Identifier: BSD-2-Clause
/* An answer of the service read into tables; see top_data.h. */
#include "cmd/top_data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "view/phrase.h"

#define SCHEMA "bufscope.summary/1"

static uint64_t number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0;
}

static const char *string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* Takes over @text. */
static const char *keep(struct top_data *data, struct strbuf *text)
{
	const char *kept = arena_string(&data->arena, strbuf_str(text), text->len);

	if (strbuf_error(text))
		data->arena.failed = true;
	strbuf_fini(text);
	return kept;
}

static const char *keep_escaped(struct top_data *data, const char *text)
{
	struct strbuf safe = STRBUF_INIT;

	escape_terminal(&safe, text, strlen(text));
	return keep(data, &safe);
}

static enum memory_type type_of(const json_t *object)
{
	const char *name = string(object, "type");
	int type = 0;

	while (type < MEMORY_TYPE_COUNT && strcmp(name, memory_type_name((enum memory_type)type)))
		type++;
	return (enum memory_type)type;
}

static const char *read_reasons(struct top_data *data, const json_t *object)
{
	const json_t *list = json_object_get(object, "inexact_reasons");
	struct strbuf text = STRBUF_INIT;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *reason = string(json_array_get(list, i), "text");

		strbuf_adds(&text, i ? "; " : "");
		escape_terminal(&text, reason, strlen(reason));
	}
	return keep(data, &text);
}

static const char *read_command(struct top_data *data, const json_t *object)
{
	const json_t *list = json_object_get(object, "command");
	struct strbuf arguments = STRBUF_INIT, text = STRBUF_INIT;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *argument = json_string_value(json_array_get(list, i));

		strbuf_add(&arguments, argument ? argument : "", argument ? strlen(argument) + 1 : 1);
	}
	phrase_command(&text, strbuf_str(&arguments), arguments.len);
	if (strbuf_error(&arguments))
		data->arena.failed = true;
	strbuf_fini(&arguments);
	return keep(data, &text);
}

static const char *read_user(struct top_data *data, const json_t *object, top_data_user user_name)
{
	uint32_t user = (uint32_t)number(object, "user");
	const char *name = user_name(user);
	struct strbuf text = STRBUF_INIT;

	if (name)
		return keep_escaped(data, name);
	strbuf_addf(&text, "%u", user);
	return keep(data, &text);
}

static const int32_t *read_chips(struct top_data *data, const json_t *object, uint32_t *count)
{
	const json_t *list = json_object_get(object, "on_devices");
	int32_t *chips;

	*count = (uint32_t)json_array_size(list);
	if (*count > EVENT_MAX_CHIPS)
		*count = EVENT_MAX_CHIPS;
	chips = arena_array(&data->arena, *count, sizeof(*chips));
	for (uint32_t i = 0; chips && i < *count; i++)
		chips[i] = (int32_t)json_integer_value(json_array_get(list, i));
	if (!chips)
		*count = 0;
	return chips;
}

static struct top_device *device_of(const struct top_process *process, int32_t chip)
{
	for (size_t i = 0; i < process->device_count; i++) {
		if (process->devices[i].number == chip)
			return &process->devices[i];
	}
	return NULL;
}

static void read_chip(struct top_data *data, const json_t *object, const struct top_process *process,
		      struct top_device *device)
{
	const json_t *chip = json_object_get(object, "chip");
	struct strbuf key = STRBUF_INIT, name = STRBUF_INIT;

	device->number = (int32_t)json_integer_value(json_object_get(object, "device"));
	device->name = keep_escaped(data, string(object, "name"));
	if (!strcmp(string(chip, "known_by"), "driver")) {
		device->key = device->short_name = keep_escaped(data, string(chip, "pci"));
		return;
	}
	strbuf_addf(&key, "%s %d", process->id, device->number);
	device->key = keep(data, &key);
	if (device->number < 0)
		strbuf_addf(&name, "? of %u", process->pid);
	else
		strbuf_addf(&name, "%d of %u", device->number, process->pid);
	device->short_name = keep(data, &name);
}

static void read_device(struct top_data *data, const json_t *object, struct top_process *process)
{
	struct top_device *device = &process->devices[process->device_count++];
	const json_t *types = json_object_get(object, "types");

	read_chip(data, object, process, device);
	for (size_t i = 0; i < json_array_size(types); i++) {
		const json_t *row = json_array_get(types, i);
		enum memory_type type = type_of(row);
		struct top_figures *figures = &device->types[type];

		figures->buffers = number(row, "live_buffers");
		figures->bytes = number(row, "live_bytes");
		figures->held_buffers = number(row, "held_buffers");
		figures->held_bytes = number(row, "held_bytes");
		device->peak_bytes[type] = number(row, "peak_bytes");
	}
}

/* Allocators overlap, a mesh and its parts: the largest that covers the chip is the chip's capacity. */
static void read_allocator(struct top_data *data, const json_t *object, struct top_process *process)
{
	uint64_t capacity = number(object, "capacity_bytes");
	enum memory_type type = type_of(object);
	uint32_t count;
	const int32_t *chips = read_chips(data, object, &count);

	for (uint32_t i = 0; i < count; i++) {
		struct top_device *device = device_of(process, chips[i]);

		if (device && capacity > device->capacity_bytes[type])
			device->capacity_bytes[type] = capacity;
	}
}

static void count_taken(struct top_process *process, const struct snapshot_buffer *buffer, int32_t chip)
{
	struct top_device *device = device_of(process, chip);
	struct top_figures *figures;

	if (!device || buffer->state != BUFFER_LIVE)
		return;
	figures = &device->types[buffer->type];
	figures->taken_bytes += buffer->footprint_bytes ? buffer->footprint_bytes : buffer->size_bytes;
	figures->guessed += !buffer->footprint_bytes;
}

static void read_buffer(struct top_data *data, const json_t *object, struct top_process *process)
{
	struct snapshot_buffer *buffer = &process->buffers[process->buffer_count++];
	const char *state = string(object, "state");

	buffer->serial = number(object, "serial");
	buffer->address = number(object, "address");
	buffer->size_bytes = number(object, "size_bytes");
	buffer->footprint_bytes = number(object, "footprint_bytes");
	buffer->allocated_ns = number(object, "allocated_ns");
	buffer->held_ns = number(object, "held_since_ns");
	buffer->thread = (uint32_t)number(object, "thread");
	buffer->type = type_of(object);
	buffer->state = !strcmp(state, "live") ? BUFFER_LIVE : !strcmp(state, "held") ? BUFFER_HELD : BUFFER_UNCERTAIN;
	buffer->chips = read_chips(data, object, &buffer->chip_count);
	for (uint32_t i = 0; i < buffer->chip_count; i++)
		count_taken(process, buffer, buffer->chips[i]);
	if (!buffer->chip_count)
		count_taken(process, buffer, -1);
}

static void read_process(struct top_data *data, const json_t *object, top_data_user user_name)
{
	struct top_process *process = &data->processes[data->process_count++];
	const json_t *devices = json_object_get(object, "devices"), *buffers = json_object_get(object, "buffers");
	const json_t *allocators = json_object_get(object, "allocators");

	process->id = keep_escaped(data, string(object, "id"));
	process->pid = (uint32_t)number(object, "pid");
	process->user = read_user(data, object, user_name);
	process->command = read_command(data, object);
	process->cgroup = keep_escaped(data, string(object, "cgroup"));
	process->observed_ns = number(object, "observed_ns");
	process->exact = json_is_true(json_object_get(object, "exact"));
	process->reasons = read_reasons(data, object);
	process->devices = arena_array(&data->arena, json_array_size(devices), sizeof(*process->devices));
	process->buffers = arena_array(&data->arena, json_array_size(buffers), sizeof(*process->buffers));
	if (data->arena.failed)
		return;
	for (size_t i = 0; i < json_array_size(devices); i++)
		read_device(data, json_array_get(devices, i), process);
	for (size_t i = 0; i < json_array_size(allocators); i++)
		read_allocator(data, json_array_get(allocators, i), process);
	for (size_t i = 0; i < json_array_size(buffers); i++)
		read_buffer(data, json_array_get(buffers, i), process);
}

static void read_document(struct top_data *data, const json_t *document, top_data_user user_name)
{
	const json_t *clock = json_object_get(document, "clock"), *list = json_object_get(document, "processes");

	data->host = keep_escaped(data, string(json_object_get(document, "host"), "hostname"));
	data->now_ns = number(document, "now_ns");
	data->realtime_ns = number(clock, "realtime_ns");
	data->exact = json_is_true(json_object_get(document, "exact"));
	data->reasons = read_reasons(data, document);
	data->own_only = !strcmp(string(document, "visible"), "own");
	data->selection = json_is_object(json_object_get(document, "selection"));
	data->processes = arena_array(&data->arena, json_array_size(list), sizeof(*data->processes));
	for (size_t i = 0; !data->arena.failed && i < json_array_size(list); i++)
		read_process(data, json_array_get(list, i), user_name);
}

struct top_data *top_data_parse(const char *text, size_t len, top_data_user user_name)
{
	json_error_t error;
	json_t *document = json_loadb(text, len, 0, &error);
	struct top_data *data = NULL;
	int err = EPROTO;

	if (!document && json_error_code(&error) == json_error_out_of_memory)
		err = ENOMEM;
	if (!strcmp(string(document, "schema"), SCHEMA)) {
		data = calloc(1, sizeof(*data));
		if (data)
			read_document(data, document, user_name);
		if (data && data->arena.failed) {
			top_data_free(data);
			data = NULL;
		}
		err = ENOMEM;
	}
	json_decref(document);
	if (!data)
		errno = err;
	return data;
}

void top_data_free(struct top_data *data)
{
	if (data)
		arena_fini(&data->arena);
	free(data);
}

const struct top_process *top_data_process(const struct top_data *data, const char *id)
{
	for (size_t i = 0; data && i < data->process_count; i++) {
		if (!strcmp(data->processes[i].id, id))
			return &data->processes[i];
	}
	return NULL;
}

const struct top_device *top_data_device(const struct top_process *process, const char *key)
{
	for (size_t i = 0; process && i < process->device_count; i++) {
		if (!strcmp(process->devices[i].key, key))
			return &process->devices[i];
	}
	return NULL;
}

void top_figures_add(struct top_figures *sum, const struct top_figures *figures)
{
	sum->buffers += figures->buffers;
	sum->bytes += figures->bytes;
	sum->held_buffers += figures->held_buffers;
	sum->held_bytes += figures->held_bytes;
	sum->taken_bytes += figures->taken_bytes;
	sum->guessed += figures->guessed;
}
