/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers about named moments: mark, diff, watch. See marks.h for how they are kept. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/loop.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "cmd/answer.h"
#include "cmd/answering.h"
#include "cmd/cmd.h"
#include "cmd/marks.h"
#include "model/difference.h"
#include "model/model.h"
#include "model/moment.h"
#include "model/size_class.h"
#include "model/snapshot.h"
#include "server/control.h"
#include "view/diff_view.h"
#include "view/growth_view.h"
#include "view/marks_view.h"

/* ---- mark ---- */

int answer_begin(struct control_request *request)
{
	int fd;

	if (strcmp(request->command, "mark") || !json_object_get(request->options, "name"))
		return 0;
	fd = marks_new_file();
	if (fd < 0)
		return fd;
	request->file = fd;
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t written = write(fd, data, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		data += written;
		len -= (size_t)written;
	}
	return 0;
}

static void list_marks(struct answering *answering)
{
	const struct marks *marks = answering->source->marks;
	struct marks_view view = {.style = answering->query.style, .now_ns = loop_now_ns()};
	struct marks_row rows[MARKS_MAX];
	struct strbuf text = STRBUF_INIT;
	size_t count = 0;

	for (size_t i = 0; i < marks->count; i++) {
		const struct mark *mark = &marks->list[i];
		struct moment_head head;
		const void *data;

		if (!marks_visible(mark, &answering->request->peer))
			continue;
		data = marks_map(mark);
		if (!data || moment_read_head(data, mark->bytes, &head)) {
			answering_fail_memory(answering);
			return;
		}
		rows[count++] = (struct marks_row){mark->name, head.now_ns, head.live_processes, head.live_buffers,
						   head.live_bytes};
		marks_unmap(mark, data);
	}
	answering_text(answering, &text, marks_view(&text, &view, rows, count));
}

void answer_mark(struct answering *answering)
{
	const struct control_request *request = answering->request;
	struct strbuf moment = STRBUF_INIT, size = STRBUF_INIT;
	struct moment_head head;
	int err;

	if (!answering->query.name) {
		list_marks(answering);
		return;
	}
	if (!answering_select(answering))
		return;
	err = moment_pack(answering->snapshot, &moment);
	if (!err)
		err = write_all(request->file, strbuf_str(&moment), moment.len);
	if (err) {
		answering_fail_memory(answering);
	} else {
		moment_read_head(strbuf_str(&moment), moment.len, &head);
		units_size(&size, head.live_bytes);
		fprintf(answering->answer->out, "mark \"%s\": %llu live buffers (%s) of %llu process%s\n",
			answering->query.name, (unsigned long long)head.live_buffers, strbuf_str(&size),
			(unsigned long long)head.live_processes, head.live_processes == 1 ? "" : "es");
	}
	strbuf_fini(&size);
	strbuf_fini(&moment);
}

void answer_finish(struct marks *marks, struct control_request *request, struct control_answer *answer)
{
	unsigned int dropped = 0;
	struct query query;
	int err;

	/* The child has parsed them too, and would have failed. */
	err = query_parse(request->options, &query, answer->message, sizeof(answer->message));
	if (!err)
		err = marks_add(marks, &request->peer, query.name, request->file, &dropped);
	request->file = -1;
	if (err == -EFBIG) {
		answer->exit_status = CMD_EXIT_FAILED;
		snprintf(answer->message, sizeof(answer->message),
			 "there is no room for a mark of this size: it was not kept");
	} else if (err) {
		answer->exit_status = CMD_EXIT_FAILED;
		snprintf(answer->message, sizeof(answer->message), "the mark was not kept: %s", strerror(-err));
	} else if (dropped) {
		snprintf(answer->message, sizeof(answer->message), "%u older mark%s had to make room", dropped,
			 dropped == 1 ? "" : "s");
	}
}

/* ---- diff ---- */

/* What was marked, as far as it was asked for; or NULL, and that is said. */
static struct snapshot *recall(struct answering *answering, const char *name)
{
	const struct mark *mark = marks_find(answering->source->marks, &answering->request->peer, name);
	struct snapshot *snapshot;
	const void *data;

	if (!mark) {
		answering_fail(answering, CMD_EXIT_FAILED,
			       "there is no mark \"%s\" (\"bufscope mark\" lists them; they end with the service)",
			       name);
		return NULL;
	}
	data = marks_map(mark);
	snapshot = data ? moment_unpack(data, mark->bytes) : NULL;
	marks_unmap(mark, data);
	if (!snapshot)
		answering_fail_memory(answering);
	return snapshot;
}

static bool has_process(const struct snapshot *snapshot, int64_t pid)
{
	for (size_t i = 0; i < snapshot->process_count; i++) {
		if (snapshot->processes[i].pid == pid)
			return true;
	}
	return false;
}

/* A process may be there at one of the moments only: that is no mistake of who asks. */
static bool narrow(struct answering *answering, struct snapshot *from, struct snapshot *to)
{
	struct selection *selection = &answering->query.selection;
	int64_t missing;
	bool devices;

	selection->one_user = !answering->request->peer.sees_all;
	selection->user = answering->request->peer.user;
	devices = selection_apply(selection, from, &missing) != -ENODEV;
	devices |= selection_apply(selection, to, &missing) != -ENODEV;
	for (size_t i = 0; i < selection->pids.count; i++) {
		int64_t pid = selection->pids.values[i];

		if (!has_process(from, pid) && !has_process(to, pid)) {
			answering_fail(answering, CMD_EXIT_FAILED, "process %lld is at neither moment", (long long)pid);
			return false;
		}
	}
	if (!devices)
		answering_fail(answering, CMD_EXIT_FAILED, "device %lld is used at neither moment", (long long)missing);
	return devices;
}

static void write_difference(struct answering *answering, const struct difference *difference)
{
	const struct query *query = &answering->query;
	struct diff_view view = {.style = query->style,
				 .from = query->from,
				 .to = query->to,
				 .now_ns = loop_now_ns(),
				 .max_buffers = query->buffers,
				 .version = BUFSCOPE_VERSION};
	struct strbuf text = STRBUF_INIT;

	if (query->format == QUERY_TEXT)
		answering_text(answering, &text, diff_view_text(&text, &view, difference));
	else if (diff_view_json(answering->answer->out, &view, difference) == -ENOMEM)
		answering_fail_memory(answering);
}

void answer_diff(struct answering *answering)
{
	const struct query *query = &answering->query;
	struct snapshot *from = NULL, *to = NULL;
	struct difference difference;

	if (!query->from || query->format == QUERY_CSV) {
		answering_fail(answering, CMD_EXIT_USAGE,
			       query->from ? "\"diff\" answers text or json" : "\"diff\" needs a mark to begin from");
		return;
	}
	from = recall(answering, query->from);
	if (from && query->to)
		to = recall(answering, query->to);
	else if (from)
		to = model_snapshot(answering->source->model, loop_now_ns());
	if (from && !to && !query->to)
		answering_fail_memory(answering);
	if (from && to && narrow(answering, from, to)) {
		if (difference_make(from, to, &difference)) {
			answering_fail_memory(answering);
		} else {
			write_difference(answering, &difference);
			difference_fini(&difference);
		}
	}
	snapshot_free(from);
	snapshot_free(to);
}

/* ---- watch ---- */

/* Marks first, oldest first, then now. */
void answer_watch(struct answering *answering)
{
	const struct marks *marks = answering->source->marks;
	struct growth_moment moments[MARKS_MAX + 1];
	struct size_classes *classes = calloc(MARKS_MAX + 1, sizeof(*classes));
	size_t count = 0;

	if (!classes) {
		answering_fail_memory(answering);
		return;
	}
	for (size_t i = 0; i < marks->count; i++) {
		struct snapshot *snapshot;

		if (!marks_visible(&marks->list[i], &answering->request->peer))
			continue;
		snapshot = recall(answering, marks->list[i].name);
		if (!snapshot)
			goto out;
		/* A process that was not there yet has nothing: that is what growth starts from. */
		answering_apply(answering, snapshot);
		answering->answer->exit_status = 0;
		*answering->answer->message = '\0';
		size_classes_count(snapshot, &classes[count]);
		moments[count] = (struct growth_moment){marks->list[i].name, snapshot->now_ns, &classes[count]};
		count++;
		snapshot_free(snapshot);
	}
	if (!answering_select(answering))
		goto out;
	size_classes_count(answering->snapshot, &classes[count]);
	moments[count] = (struct growth_moment){NULL, answering->snapshot->now_ns, &classes[count]};
	count++;
	if (growth_view_json(answering->answer->out, moments, count) == -ENOMEM)
		answering_fail_memory(answering);
out:
	free(classes);
}
