// SPDX-License-Identifier: BSD-2-Clause
/* The process that makes one answer; see control_child.h. */
#include "server/control_child.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/control.h"
#include "server/protocol.h"

#define FRAME_MS       10000 /* a client takes 64 KiB in this time, or gets no more */
#define ANSWER_SECONDS 600
#define NICE           5 /* the server, which drains the ring, comes first */

/* Ends with the server, and after some time in any case. */
static void limit(pid_t server)
{
	sigset_t deadly;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != server)
		_exit(CONTROL_CHILD_CUT_OFF);
	prctl(PR_SET_NAME, "bufscope-answer");
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
