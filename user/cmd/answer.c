/* SPDX-License-Identifier: BSD-2-Clause */
/* What the service answers; see answer.h. A row per command. */
#include "cmd/answer.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>

#include "base/loop.h"
#include "base/strbuf.h"
#include "cmd/answering.h"
#include "cmd/cmd.h"
#include "cmd/followers.h"
#include "cmd/gate.h"
#include "cmd/query.h"
#include "cmd/serve_metrics.h"
#include "cmd/summary.h"
#include "model/model.h"
#include "model/selection.h"
#include "model/snapshot.h"
#include "server/control.h"
#include "source/procfs.h"
#include "view/csv_view.h"
#include "view/metrics_view.h"
#include "view/ps_view.h"
#include "view/text_view.h"

void answering_fail(struct answering *answering, int exit_status, const char *format, ...)
{
	va_list ap;

	answering->answer->exit_status = exit_status;
	va_start(ap, format);
	vsnprintf(answering->answer->message, sizeof(answering->answer->message), format, ap);
	va_end(ap);
}

void answering_fail_memory(struct answering *answering)
{
	answering_fail(answering, CMD_EXIT_FAILED, "the service is out of memory");
}

void answering_text(struct answering *answering, struct strbuf *text, int err)
{
	if (err)
		answering_fail_memory(answering);
	else
		fwrite(strbuf_str(text), 1, text->len, answering->answer->out);
	strbuf_fini(text);
}

bool answering_apply(struct answering *answering, struct snapshot *snapshot)
{
	const struct peer *peer = &answering->request->peer;
	int64_t missing;
	int err;

	answering->query.selection.one_user = !peer->sees_all;
	answering->query.selection.user = peer->user;
	err = selection_apply(&answering->query.selection, snapshot, &missing);
	if (err == -ESRCH)
		answering_fail(answering, CMD_EXIT_FAILED, "process %lld is not there or uses no device runtime%s",
			       (long long)missing, peer->sees_all ? "" : ", or it is not yours");
	else if (err)
		answering_fail(answering, CMD_EXIT_FAILED, "no process%s uses device %lld",
			       peer->sees_all ? "" : " of yours", (long long)missing);
	return !err;
}

bool answering_select(struct answering *answering)
{
	answering->snapshot = model_snapshot(answering->source->model, loop_now_ns());
	if (!answering->snapshot) {
		answering_fail_memory(answering);
		return false;
	}
	return answering_apply(answering, answering->snapshot);
}

/* Why there is no process in the answer, without a word about what may not be seen. */
static const char *nothing(const struct answering *answering)
{
	if (answering->query.selective)
		return "Nothing of what was asked for is allocated.";
	return answering->request->peer.sees_all ? "No process uses a device runtime."
						 : "No process of yours uses a device runtime.";
}

/* ---- dump ---- */

static void check_gates(struct answering *answering)
{
	struct control_answer *answer = answering->answer;

	if (!gate_holds(&answering->query.gate, answering->snapshot, answer->message, sizeof(answer->message)))
		answer->exit_status = CMD_EXIT_GATE;
}

static void dump_text(struct answering *answering)
{
	static const char *const orders[] = {
		[SELECTION_BY_SIZE] = NULL,      [SELECTION_BY_AGE] = "oldest first",
		[SELECTION_BY_TYPE] = "by type", [SELECTION_BY_ADDRESS] = "by address",
		[SELECTION_BY_PID] = NULL,
	};
	struct text_view view = {.style = answering->query.style,
				 .max_buffers = answering->query.buffers,
				 .order = orders[answering->query.selection.order],
				 .nothing = nothing(answering)};
	struct strbuf text = STRBUF_INIT;

	answering_text(answering, &text, text_view_summary(&text, &view, answering->snapshot));
}

static int dump_json(const struct answering *answering)
{
	struct summary_asked asked = {
		.visible = answering->request->peer.sees_all ? "all" : "own",
		.selection = answering->query.selective ? answering->request->options : NULL,
	};

	return summary_json(answering->answer->out, answering->snapshot, &asked);
}

static void write_selected(struct answering *answering)
{
	FILE *out = answering->answer->out;
	int err = 0;

	if (answering->query.format == QUERY_TEXT)
		dump_text(answering);
	else if (answering->query.format == QUERY_CSV)
		err = csv_view_buffers(out, answering->snapshot);
	else
		err = dump_json(answering);
	if (err == -ENOMEM)
		answering_fail_memory(answering);
	else if (!answering->answer->exit_status)
		check_gates(answering);
}

static void answer_dump(struct answering *answering)
{
	if (answering_select(answering))
		write_selected(answering);
}

/* ---- report: what a connection follows ---- */

static bool is_followed(const void *context, uint32_t process)
{
	return follower_has(context, process);
}

/* What is missing makes the whole not exact. */
static void say_missing(struct snapshot *snapshot, uint64_t missing, struct snapshot_reason *reason, char *text,
			size_t size)
{
	snprintf(text, size, "%llu processes are left out: of other users, or ended when there were too many",
		 (unsigned long long)missing);
	*reason = (struct snapshot_reason){.reason = "process-limit", .text = text};
	snapshot->exact = false;
	snapshot->reasons = reason;
	snapshot->reason_count = 1;
}

static void answer_report(struct answering *answering)
{
	const struct follower *follower = answering->request->state;
	struct snapshot_reason reason;
	struct snapshot *snapshot;
	uint64_t missing;
	char text[128];

	if (!follower) {
		answering_fail(answering, CMD_EXIT_FAILED, "this connection follows nothing");
		return;
	}
	snapshot = model_snapshot_of(answering->source->model, loop_now_ns(), is_followed, follower);
	if (!snapshot) {
		answering_fail_memory(answering);
		return;
	}
	answering->snapshot = snapshot;
	missing = follower_left_out(follower) + snapshot->process_count;
	if (!answering_apply(answering, snapshot))
		return;
	missing -= snapshot->process_count;
	if (missing)
		say_missing(snapshot, missing, &reason, text, sizeof(text));
	write_selected(answering);
}

/* ---- ps ---- */

static const char *user_name(void *context, uint32_t user)
{
	const struct passwd *entry = getpwuid(user);

	(void)context;
	return entry ? entry->pw_name : NULL;
}

static uint32_t parent_of(void *context, uint32_t pid)
{
	struct procfs_stat stat;

	(void)context;
	return procfs_stat((pid_t)pid, &stat) ? 0 : (uint32_t)stat.parent;
}

static void answer_ps(struct answering *answering)
{
	struct ps_view view = {.style = answering->query.style,
			       .user_name = user_name,
			       .parent = parent_of,
			       .nothing = nothing(answering)};
	struct strbuf text = STRBUF_INIT;

	if (!answering_select(answering))
		return;
	if (answering->query.format == QUERY_TEXT)
		answering_text(answering, &text, ps_view(&text, &view, answering->snapshot));
	else if (answering->query.format == QUERY_JSON)
		answering_fail(answering, CMD_EXIT_USAGE, "\"ps\" answers text or csv; \"dump\" has it all as JSON");
	else if (csv_view_processes(answering->answer->out, answering->snapshot) == -ENOMEM)
		answering_fail_memory(answering);
}

/* ---- metrics ---- */

static void answer_metrics(struct answering *answering)
{
	struct metrics_figures figures;
	struct strbuf text = STRBUF_INIT;

	if (!answering_select(answering))
		return;
	serve_metrics_figures(answering->source->metrics, answering->request->peer.sees_all, &figures);
	answering_text(answering, &text, metrics_write(answering->snapshot, &figures, &text));
}

/* ---- all ---- */

static const struct {
	const char *name;
	void (*answer)(struct answering *answering);
} commands[] = {
	{"dump", answer_dump}, {"report", answer_report}, {"ps", answer_ps},           {"mark", answer_mark},
	{"diff", answer_diff}, {"watch", answer_watch},   {"metrics", answer_metrics},
};

void answer_request(const struct answer_source *source, const struct control_request *request,
		    struct control_answer *answer)
{
	struct answering answering = {.source = source, .request = request, .answer = answer};

	if (query_parse(request->options, &answering.query, answer->message, sizeof(answer->message))) {
		answer->exit_status = CMD_EXIT_USAGE;
		return;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(commands[i].name, request->command)) {
			commands[i].answer(&answering);
			snapshot_free(answering.snapshot);
			return;
		}
	}
	answering_fail(&answering, CMD_EXIT_USAGE, "the service (bufscope %s) does not know this command",
		       BUFSCOPE_VERSION);
}
