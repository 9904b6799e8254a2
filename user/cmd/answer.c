/* SPDX-License-Identifier: BSD-2-Clause */
/* What the service answers; see answer.h. A row per command. */
#include "cmd/answer.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/loop.h"
#include "base/strbuf.h"
#include "cmd/cmd.h"
#include "cmd/gate.h"
#include "cmd/query.h"
#include "cmd/serve_metrics.h"
#include "cmd/summary.h"
#include "model/model.h"
#include "model/selection.h"
#include "model/snapshot.h"
#include "server/control.h"
#include "view/csv_view.h"
#include "view/metrics_view.h"
#include "view/text_view.h"

struct answering {
	const struct answer_source *source;
	const struct control_request *request;
	struct control_answer *answer;
	struct query query;
	struct snapshot *snapshot; /* of what was asked for and may be seen */
};

static void fail(struct answering *answering, int exit_status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void fail(struct answering *answering, int exit_status, const char *format, ...)
{
	va_list ap;

	answering->answer->exit_status = exit_status;
	va_start(ap, format);
	vsnprintf(answering->answer->message, sizeof(answering->answer->message), format, ap);
	va_end(ap);
}

static void fail_memory(struct answering *answering)
{
	fail(answering, CMD_EXIT_FAILED, "the service is out of memory");
}

/* The text goes out as it is. */
static void write_text(struct answering *answering, struct strbuf *text, int err)
{
	if (err)
		fail_memory(answering);
	else
		fwrite(strbuf_str(text), 1, text->len, answering->answer->out);
	strbuf_fini(text);
}

static bool select_processes(struct answering *answering)
{
	const struct peer *peer = &answering->request->peer;
	const char *visible = peer->sees_all ? "" : ", or it is not yours";
	int64_t missing;
	int err;

	answering->query.selection.one_user = !peer->sees_all;
	answering->query.selection.user = peer->user;
	answering->snapshot = model_snapshot(answering->source->model, loop_now_ns());
	if (!answering->snapshot) {
		fail_memory(answering);
		return false;
	}
	err = selection_apply(&answering->query.selection, answering->snapshot, &missing);
	if (err == -ESRCH)
		fail(answering, CMD_EXIT_FAILED, "process %lld is not there or uses no device runtime%s",
		     (long long)missing, visible);
	else if (err)
		fail(answering, CMD_EXIT_FAILED, "no process%s uses device %lld", peer->sees_all ? "" : " of yours",
		     (long long)missing);
	return !err;
}

/* ---- dump ---- */

static void check_gates(struct answering *answering)
{
	struct control_answer *answer = answering->answer;

	if (!gate_holds(&answering->query.gate, answering->snapshot, answer->message, sizeof(answer->message)))
		answer->exit_status = CMD_EXIT_GATE;
}

/* Why there is no process in the answer, without a word about what may not be seen. */
static const char *nothing(const struct answering *answering)
{
	if (answering->query.selective)
		return "Nothing of what was asked for is allocated.";
	return answering->request->peer.sees_all ? "No process uses a device runtime."
						 : "No process of yours uses a device runtime.";
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

	write_text(answering, &text, text_view_summary(&text, &view, answering->snapshot));
}

static int dump_json(const struct answering *answering)
{
	struct summary_asked asked = {
		.visible = answering->request->peer.sees_all ? "all" : "own",
		.selection = answering->query.selective ? answering->request->options : NULL,
	};

	return summary_json(answering->answer->out, answering->snapshot, &asked);
}

static void answer_dump(struct answering *answering)
{
	FILE *out = answering->answer->out;
	int err = 0;

	if (!select_processes(answering))
		return;
	if (answering->query.format == QUERY_TEXT)
		dump_text(answering);
	else if (answering->query.format == QUERY_CSV)
		err = csv_view_buffers(out, answering->snapshot);
	else
		err = dump_json(answering);
	if (err == -ENOMEM)
		fail_memory(answering);
	else if (!answering->answer->exit_status)
		check_gates(answering);
}

/* ---- metrics ---- */

static void answer_metrics(struct answering *answering)
{
	struct metrics_figures figures;
	struct strbuf text = STRBUF_INIT;

	if (!select_processes(answering))
		return;
	serve_metrics_figures(answering->source->metrics, answering->request->peer.sees_all, &figures);
	write_text(answering, &text, metrics_write(answering->snapshot, &figures, &text));
}

/* ---- all ---- */

static const struct {
	const char *name;
	void (*answer)(struct answering *answering);
} commands[] = {
	{"dump", answer_dump},
	{"metrics", answer_metrics},
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
	fail(&answering, CMD_EXIT_USAGE, "the service (bufscope %s) does not know this command", BUFSCOPE_VERSION);
}
