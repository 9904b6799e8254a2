// SPDX-License-Identifier: BSD-2-Clause
/* The process that makes one answer; see control_child.h. */
#include "server/control_child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "server/control.h"
#include "server/protocol.h"

#define FRAME_MS       10000 /* a client takes 64 KiB in this time, or gets no more */
#define ANSWER_SECONDS 600
#define NICE           5 /* the server, which drains the ring, comes first */

/* Short of memory, an answer ends and not the server, which may look larger: the ring counts as its own. */
static void die_first(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1000", 4) != 4)
		log_debug("an answer's oom_score_adj cannot be raised");
	close(fd);
}

/* Ends with the server, and after some time in any case. */
static void limit(pid_t server)
{
	sigset_t deadly;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != server)
		_exit(CONTROL_CHILD_CUT_OFF);
	prctl(PR_SET_NAME, "bufscope-answer");
	die_first();
	setpriority(PRIO_PROCESS, 0, NICE);
	sigemptyset(&deadly);
	sigaddset(&deadly, SIGALRM);
	sigaddset(&deadly, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &deadly, NULL);
	alarm(ANSWER_SECONDS);
}

void control_child(pid_t server, int fd, const struct control_callbacks *callbacks,
		   const struct control_request *request)
{
	struct control_answer answer = {0};

	limit(server);
	answer.out = protocol_stream(fd, FRAME_MS);
	if (!answer.out)
		_exit(CONTROL_CHILD_CUT_OFF);
	callbacks->answer(callbacks->context, request, &answer);
	if (fflush(answer.out) || ferror(answer.out))
		_exit(CONTROL_CHILD_CUT_OFF);
	if (request->file >= 0 && !answer.exit_status)
		_exit(CONTROL_CHILD_FILE);
	if (protocol_send(fd, protocol_end(answer.exit_status, *answer.message ? answer.message : NULL), FRAME_MS))
		_exit(CONTROL_CHILD_CUT_OFF);
	_exit(CONTROL_CHILD_WHOLE);
}
