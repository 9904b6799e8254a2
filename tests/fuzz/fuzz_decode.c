/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes what follows from records. The first byte odd: the rest is one raw record. Otherwise it is a
 * sequence of them, each {kind, role, process, flags} and as many bytes as its kind has; they go through
 * the decoder into the model, and what that says must be JSON and text that is safe to print.
 */
#include <jansson.h>
#include <string.h>

#include "base/strbuf.h"
#include "fuzz.h"
#include "model/model.h"
#include "runtime/tt_metal.h"
#include "source/decode.h"
#include "view/event_view.h"
#include "view/json_view.h"
#include "view/text_view.h"

struct state {
	struct model *model;
	struct event_view json, text;
	struct strbuf json_lines, text_lines;
};

static const struct library_plan plan = {
	.runtime = &tt_metal_runtime,
	.read = {.window_len = PLAN_WINDOW_BYTES, .device_at = 0},
	.field = {.size = 8,
		  .type = 16,
		  .status = 20,
		  .hooked = 21,
		  .address = 24,
		  .page_size = 32,
		  .allocator = 40,
		  .status_allocated = 2},
};

static const struct library_plan *plan_of(void *context, uint32_t library)
{
	(void)context;
	return library ? NULL : &plan;
}

static void on_notice(void *context, const struct notice *notice)
{
	struct state *state = context;

	FUZZ_ASSERT(!event_view_notice(&state->json_lines, &state->json, notice));
	FUZZ_ASSERT(!event_view_notice(&state->text_lines, &state->text, notice));
}

static void check_json_lines(char *lines)
{
	char *line;

	while ((line = strsep(&lines, "\n"))) {
		json_t *json = json_loads(line, 0, NULL);

		FUZZ_ASSERT(json || !*line);
		json_decref(json);
	}
}

static void check_views(struct state *state)
{
	struct text_view text_view = {.style = {.utf8 = true}, .max_buffers = TEXT_VIEW_ALL_BUFFERS};
	struct json_view json_view = {.version = "fuzz"};
	struct snapshot *snapshot = model_snapshot(state->model, 1000);
	struct strbuf text = STRBUF_INIT;
	char *json = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&json, &size);
	json_t *parsed;

	FUZZ_ASSERT(snapshot && file);
	FUZZ_ASSERT(!json_view_summary(file, &json_view, snapshot));
	fclose(file);
	parsed = json_loadb(json, size, 0, NULL);
	FUZZ_ASSERT(parsed);
	json_decref(parsed);
	fuzz_assert_ascii(json, size);
	fuzz_assert_ascii(strbuf_str(&state->json_lines), state->json_lines.len);
	FUZZ_ASSERT(!text_view_summary(&text, &text_view, snapshot));
	fuzz_assert_printable(strbuf_str(&text), text.len);
	fuzz_assert_printable(strbuf_str(&state->text_lines), state->text_lines.len);
	check_json_lines(state->json_lines.data);
	strbuf_fini(&text);
	snapshot_free(snapshot);
	free(json);
}

/* As the tracer does: what the record does not tell is filled in. */
static void apply(struct state *state, struct decoded *decoded, const char *name, size_t name_len)
{
	struct event event = {.kind = EVENT_BIRTH, .process = decoded->exec_next, .time_ns = decoded->event.time_ns};

	if (decoded->event.kind == EVENT_BIRTH) {
		decoded->event.birth.command = name;
		decoded->event.birth.command_len = name_len;
		decoded->event.birth.cgroup = name;
	}
	if (decoded->event.kind)
		FUZZ_ASSERT(!model_apply(state->model, &decoded->event));
	if (decoded->event.kind == EVENT_EXEC) {
		event.birth = (struct event_birth){
			.how = BIRTH_EXEC, .command = name, .command_len = name_len, .cgroup = name, .exec_count = 1};
		FUZZ_ASSERT(!model_apply(state->model, &event));
	}
	if (decoded->event.kind == EVENT_EXEC || decoded->event.kind == EVENT_BIRTH) {
		event = (struct event){.kind = EVENT_RUNTIME, .process = event.process};
		if (decoded->event.kind == EVENT_BIRTH)
			event.process = decoded->event.process;
		event.runtime = (struct event_runtime){.name = "tt-metal",
						       .library = name,
						       .build_id = "",
						       .bulk_free_probed = decoded->head.role & 1};
		FUZZ_ASSERT(!model_apply(state->model, &event));
	}
}

static void feed(struct state *state, const uint8_t *data, size_t len)
{
	static const size_t sizes[] = {0,
				       sizeof(struct wire_object),
				       sizeof(struct wire_call),
				       sizeof(struct wire_device),
				       sizeof(struct wire_fork),
				       sizeof(struct wire_exec),
				       sizeof(struct wire_exit)};
	union {
		struct wire_head head;
		struct wire_device largest;
		struct wire_fork fork;
		struct wire_exec exec;
	} record;
	struct decoded decoded;
	char name[64] = "";
	uint32_t time = 0;

	while (len) {
		uint8_t kind = 1 + fuzz_byte(&data, &len) % 6;
		size_t content = sizes[kind] - sizeof(record.head), name_len;

		memset(&record, 0, sizeof(record));
		record.head = (struct wire_head){.kind = kind, .time_ns = ++time, .pid = 7, .thread = 7};
		record.head.role = 1 + fuzz_byte(&data, &len) % 5;
		record.head.process = 1 + fuzz_byte(&data, &len) % 4;
		record.head.flags = fuzz_byte(&data, &len) % 4;
		content = content < len ? content : len;
		memcpy((uint8_t *)&record + sizeof(record.head), data, content);
		/* process numbers that meet */
		record.fork.parent %= 8;
		if (kind == WIRE_EXEC)
			record.exec.next = 1 + record.exec.next % 8;
		name_len = content < sizeof(name) - 1 ? content : sizeof(name) - 1;
		memcpy(name, data, name_len);
		name[name_len] = 0;
		data += content;
		len -= content;
		if (!decode_record(&record, sizes[kind], plan_of, NULL, &decoded))
			apply(state, &decoded, name, name_len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct model_options options = {.keep_ended = true, .max_unmatched_frees = 4};
	struct state state = {.json = {.json = true}, .text = {.style = {.utf8 = true}}};
	uint8_t raw = fuzz_byte(&data, &len) & 1;

	if (raw) {
		struct decoded decoded;
		void *exact = malloc(len ? len : 1); /* a read behind its end is seen */

		FUZZ_ASSERT(exact);
		memcpy(exact, data, len);
		decode_record(exact, len, plan_of, NULL, &decoded);
		free(exact);
		return 0;
	}
	state.model = model_new(&options);
	FUZZ_ASSERT(state.model);
	model_set_listener(state.model, on_notice, &state);
	feed(&state, data, len);
	check_views(&state);
	model_free(state.model);
	event_view_fini(&state.json);
	event_view_fini(&state.text);
	strbuf_fini(&state.json_lines);
	strbuf_fini(&state.text_lines);
	return 0;
}
