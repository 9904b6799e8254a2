/* SPDX-License-Identifier: BSD-2-Clause */
/* A snapshot as bufscope.summary/1; see summary.h. */
#include "cmd/summary.h"

#include <sys/utsname.h>
#include <time.h>

#include "view/json_view.h"

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int summary_json(FILE *out, const struct snapshot *snapshot, const struct summary_asked *asked)
{
	struct json_view view = {.version = BUFSCOPE_VERSION};
	struct utsname name;

	if (asked) {
		view.visible = asked->visible;
		view.selection = asked->selection;
	}
	if (!uname(&name)) {
		view.hostname = name.nodename;
		view.kernel = name.release;
		view.machine = name.machine;
	}
	view.boottime_ns = clock_ns(CLOCK_BOOTTIME);
	view.realtime_ns = clock_ns(CLOCK_REALTIME);
	return json_view_summary(out, &view, snapshot);
}
