/* SPDX-License-Identifier: BSD-2-Clause */
/* A process that is stopped stands still, goes on afterwards, and loses no signal meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "source/freeze.h"

#define THREADS 4
#define ROUNDS  200
#define BURST   16 /* some are on their way when the threads are stopped */
#define SIGNALS (ROUNDS * BURST)

struct shared {
	atomic_ulong turns[THREADS];
	atomic_uint signals;
	atomic_bool stop;
};

static struct shared *shared;

static void count_signal(int signal)
{
	(void)signal;
	shared->signals++;
}

static void *spin(void *argument)
{
	while (!shared->stop)
		shared->turns[(uintptr_t)argument]++;
	return NULL;
}

static void child(void)
{
	struct sigaction action = {.sa_handler = count_signal};
	pthread_t threads[THREADS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGRTMIN, &action, NULL);
	for (uintptr_t i = 1; i < THREADS; i++)
		pthread_create(&threads[i], NULL, spin, (void *)i);
	spin(NULL);
	for (int i = 1; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	_exit(7);
}

static void wait_for_turns(void)
{
	for (int i = 0; i < THREADS; i++) {
		unsigned long before = shared->turns[i];

		while (shared->turns[i] == before)
			sched_yield();
	}
}

static void test_freeze(void **state)
{
	struct freeze freeze;
	int status;
	pid_t pid;

	(void)state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	pid = fork();
	if (pid == 0)
		child();
	wait_for_turns();
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned long before[THREADS];

		/* Real-time signals queue: each one must arrive, whatever it meets on its way. */
		for (int i = 0; i < BURST; i++)
			assert_int_equal(kill(pid, SIGRTMIN), 0);
		assert_int_equal(freeze_begin(pid, &freeze), 0);
		assert_int_equal(freeze.count, THREADS);
		for (int i = 0; i < THREADS; i++)
			before[i] = shared->turns[i];
		sched_yield();
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(shared->turns[i], before[i]);
		assert_true(freeze_end(&freeze) > 0);
		wait_for_turns();
	}
	while (shared->signals < SIGNALS)
		sched_yield();
	shared->stop = true;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_int_equal(shared->signals, SIGNALS);
	assert_int_equal(freeze_begin(pid, &freeze), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_freeze)};

	alarm(60); /* a signal that is lost is waited for in vain */
	return cmocka_run_group_tests_name("freeze", tests, NULL, NULL);
}
