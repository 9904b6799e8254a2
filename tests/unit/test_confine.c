/* SPDX-License-Identifier: BSD-2-Clause */
/* What confine() leaves: in a child process each, as nothing of it can be taken back. */
#include <cap-ng.h>
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/confine.h"
#include "cmd/options.h"

/* Runs @check confined; its result is the child's exit status. */
static int confined(const struct options *options, enum confine_task task, int (*check)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(confine(options, task) ? 99 : check());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define REFUSED(call)                                                                 \
	do {                                                                          \
		errno = 0;                                                            \
		if ((call) != -1 || errno != EPERM) {                                 \
			fprintf(stderr, "%s: errno %d, not refused\n", #call, errno); \
			return 1;                                                     \
		}                                                                     \
	} while (0)

#define ALLOWED(call)                                                             \
	do {                                                                      \
		errno = 0;                                                        \
		if ((call) == -1) {                                               \
			fprintf(stderr, "%s: errno %d, refused\n", #call, errno); \
			return 1;                                                 \
		}                                                                 \
	} while (0)

static int escapes(void)
{
	char *const argv[] = {(char *)"false", NULL};

	REFUSED(execv("/bin/false", argv));
	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
	REFUSED(ptrace(PTRACE_POKEDATA, getppid(), NULL, NULL));
	REFUSED(mount("none", "/nonexistent", "tmpfs", 0, NULL));
	REFUSED(unshare(0));
	REFUSED(setuid(getuid()));
	REFUSED(unlink("/nonexistent"));
	REFUSED(syscall(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0));
	REFUSED(syscall(SYS_init_module, NULL, 0, ""));
	REFUSED(syscall(SYS_io_uring_setup, 1, NULL));
	REFUSED(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0));
	return 0;
}

static void test_ways_out_are_refused(void **state)
{
	struct options options = {0};

	(void)state;
	assert_int_equal(confined(&options, CONFINE_TRACER, escapes), 0);
	assert_int_equal(confined(&options, CONFINE_CENSUS, escapes), 0);
}

static int signals(void)
{
	ALLOWED(kill(getpid(), 0));
	ALLOWED(kill(getpid(), SIGCONT));
	REFUSED(kill(getpid(), SIGKILL));
	REFUSED(kill(getpid(), SIGSEGV));
	REFUSED(syscall(SYS_tgkill, getppid(), getppid(), 0));
	ALLOWED(syscall(SYS_tgkill, getpid(), gettid(), 0));
	return 0;
}

static void test_signals_that_are_passed_on(void **state)
{
	struct options options = {0};

	(void)state;
	assert_int_equal(confined(&options, CONFINE_TRACER, signals), 0);
}

/* The kernel's own answer to such a call is another error than the filter's. */
static int bpf_calls(void)
{
	union bpf_attr attr = {.map_fd = (uint32_t)-1};

	REFUSED(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)));
	REFUSED(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
	REFUSED(syscall(SYS_bpf, BPF_OBJ_PIN, &attr, sizeof(attr)));
	return syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)) == -1 && errno == EPERM;
}

static void test_no_program_is_loaded(void **state)
{
	struct options options = {0};

	(void)state;
	if (geteuid()) {
		print_message("SKIP: needs root: others may not use bpf() anyway\n");
		skip();
	}
	assert_int_equal(confined(&options, CONFINE_TRACER, bpf_calls), 0);
	/* A census has no use for it at all. */
	assert_int_equal(confined(&options, CONFINE_CENSUS, bpf_calls), 1);
}

static int freezes(void)
{
	/* The kernel's own answer: no such process. */
	if (ptrace(PTRACE_INTERRUPT, -1, NULL, NULL) != -1 || errno != ESRCH)
		return 1;
	REFUSED(ptrace(PTRACE_POKEDATA, -1, NULL, NULL));
	REFUSED(ptrace(PTRACE_SETREGSET, -1, NULL, NULL));
	return 0;
}

static void test_a_frozen_process_is_not_written_to(void **state)
{
	struct options options = {.freeze = true};

	(void)state;
	assert_int_equal(confined(&options, CONFINE_CENSUS, freezes), 0);
}

static void *nothing(void *argument)
{
	return argument;
}

static int work(void)
{
	pthread_t thread;
	pid_t pid;

	if (pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL))
		return 1;
	pid = fork();
	if (pid == 0)
		_exit(0);
	ALLOWED(pid);
	ALLOWED(waitpid(pid, NULL, 0));
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

static void test_ordinary_work_goes_on(void **state)
{
	struct options options = {0};

	(void)state;
	assert_int_equal(confined(&options, CONFINE_TRACER, work), 0);
}

static int capabilities_of_tracer(void)
{
	static const unsigned int kept[] = {CAP_BPF,        CAP_PERFMON,         CAP_CHECKPOINT_RESTORE,
					    CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN,
					    CAP_KILL};

	capng_get_caps_process();
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++) {
		bool wanted = false;

		for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
			wanted |= kept[k] == i;
		if (!!capng_have_capability(CAPNG_PERMITTED, i) != wanted ||
		    capng_have_capability(CAPNG_BOUNDING_SET, i))
			return (int)i + 1;
	}
	return 0;
}

static int capabilities_of_census(void)
{
	capng_get_caps_process();
	return capng_have_capability(CAPNG_PERMITTED, CAP_BPF) || capng_have_capability(CAPNG_PERMITTED, CAP_KILL) ||
	       capng_have_capability(CAPNG_PERMITTED, CAP_DAC_OVERRIDE) ||
	       !capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_PTRACE);
}

static int may_write_anywhere(void)
{
	capng_get_caps_process();
	return capng_have_capability(CAPNG_EFFECTIVE, CAP_DAC_OVERRIDE) ? 0 : 1;
}

static void test_capabilities(void **state)
{
	struct options plain = {0}, standard = {.output = "-"}, file = {.output = "report"};

	(void)state;
	if (geteuid()) {
		print_message("SKIP: needs root: there is nothing to drop\n");
		skip();
	}
	assert_int_equal(confined(&plain, CONFINE_TRACER, capabilities_of_tracer), 0);
	assert_int_equal(confined(&standard, CONFINE_TRACER, capabilities_of_tracer), 0);
	assert_int_equal(confined(&plain, CONFINE_CENSUS, capabilities_of_census), 0);
	/* Snapshots are made beside the report, in whoever's folder it is. */
	assert_int_equal(confined(&file, CONFINE_TRACER, may_write_anywhere), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ways_out_are_refused),  cmocka_unit_test(test_signals_that_are_passed_on),
		cmocka_unit_test(test_no_program_is_loaded),  cmocka_unit_test(test_a_frozen_process_is_not_written_to),
		cmocka_unit_test(test_ordinary_work_goes_on), cmocka_unit_test(test_capabilities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
