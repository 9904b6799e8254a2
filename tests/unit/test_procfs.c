/* SPDX-License-Identifier: BSD-2-Clause */
/* What /proc tells, of this process and its children, and hostile lines of a maps file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/strbuf.h"
#include "source/procfs.h"

static bool parse(const char *text, struct procfs_mapping *out)
{
	static char line[1024];

	snprintf(line, sizeof(line), "%s", text);
	return procfs_parse_mapping(line, out);
}

static void test_parse(void **state)
{
	struct procfs_mapping m;

	(void)state;
	assert_true(parse("7f00-7f10 r-xp 00001000 08:02 1234                       /usr/lib/a b (deleted)", &m));
	assert_int_equal(m.start, 0x7f00);
	assert_int_equal(m.end, 0x7f10);
	assert_int_equal(m.offset, 0x1000);
	assert_int_equal(m.major, 8);
	assert_int_equal(m.minor, 2);
	assert_int_equal(m.inode, 1234);
	assert_string_equal(m.path, "/usr/lib/a b (deleted)");
	assert_false(parse("7f00-7f10 rw-p 00001000 08:02 1234 /usr/lib/a", &m));
	assert_false(parse("7f00-7f10 r-xp 00000000 00:00 0 ", &m));
	assert_false(parse("7f00-7f10 r-xp 00000000 00:00 0 [vdso]", &m));
	assert_false(parse("7f10-7f10 r-xp 00000000 08:02 1 /a", &m));
	assert_false(parse("7f00-7f10 r-x", &m));
	assert_false(parse("", &m));
	assert_false(parse("zz", &m));
}

static void test_self(void **state)
{
	struct strbuf command = STRBUF_INIT, cgroup = STRBUF_INIT;
	struct procfs_stat st;
	uint32_t user = 12345;

	(void)state;
	/* A name that tries to look like the end of the field. */
	assert_int_equal(prctl(PR_SET_NAME, "a) Z 1 (b"), 0);
	assert_int_equal(procfs_stat(getpid(), &st), 0);
	assert_true(st.start_ns > 0);
	assert_false(st.kernel_thread);
	assert_false(st.zombie);
	assert_int_equal(procfs_user(getpid(), &user), 0);
	assert_int_equal(user, getuid());
	assert_int_equal(procfs_command(getpid(), &command), 0);
	assert_string_equal(command.data, program_invocation_name);
	assert_int_equal(command.data[command.len - 1], 0);
	assert_int_equal(procfs_cgroup(getpid(), &cgroup), 0);
	assert_int_equal(strbuf_str(&cgroup)[0], '/');
	strbuf_fini(&command);
	strbuf_fini(&cgroup);
}

static void test_kernel_thread(void **state)
{
	struct procfs_stat st;

	(void)state;
	/* kthreadd; in a pid namespace of its own there is none. */
	if (procfs_stat(2, &st)) {
		skip();
		return;
	}
	assert_true(st.kernel_thread);
}

static void test_gone(void **state)
{
	struct strbuf text = STRBUF_INIT;
	struct procfs_stat st;
	uint32_t user;
	char byte;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0)
		_exit(0);
	/* First a zombie, then nothing. */
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	assert_int_equal(procfs_stat(pid, &st), 0);
	assert_true(st.zombie);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(procfs_stat(pid, &st), -ESRCH);
	assert_int_equal(procfs_command(pid, &text), -ESRCH);
	assert_int_equal(procfs_user(pid, &user), -ESRCH);
	assert_int_equal(procfs_read_memory(pid, 4096, &byte, 1), -ESRCH);
	strbuf_fini(&text);
}

static int find_self(void *context, const struct procfs_mapping *mapping)
{
	uint64_t here = (uintptr_t)test_gone;

	if (here < mapping->start || here >= mapping->end)
		return 0;
	*(int *)context = procfs_open_mapping(getpid(), mapping);
	return 1;
}

static void test_mappings(void **state)
{
	struct stat mine, found;
	int fd = -1;

	(void)state;
	assert_int_equal(procfs_mappings(getpid(), find_self, &fd), 1);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &found), 0);
	assert_int_equal(stat("/proc/self/exe", &mine), 0);
	assert_int_equal(found.st_ino, mine.st_ino);
	close(fd);
}

static void test_memory(void **state)
{
	uint64_t value = 0x1122334455667788, copy = 0;
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_int_equal(procfs_read_memory(getpid(), (uintptr_t)&value, &copy, sizeof(copy)), 0);
	assert_int_equal(copy, value);
	/* Half of it is not there. */
	munmap(page + 4096, 4096);
	assert_int_equal(procfs_read_memory(getpid(), (uintptr_t)page + 4092, &copy, sizeof(copy)), -EFAULT);
	munmap(page, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse), cmocka_unit_test(test_self),     cmocka_unit_test(test_kernel_thread),
		cmocka_unit_test(test_gone),  cmocka_unit_test(test_mappings), cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests_name("procfs", tests, NULL, NULL);
}
