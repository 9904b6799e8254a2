// SPDX-License-Identifier: BSD-2-Clause
/*
 * Chips of a process, in a tree that looks like /proc and /sys of a machine with the driver (tt-kmd: chardev.c,
 * docs/sysfs-attributes.md). Device numbers must be real ones to be told by the kernel: those of /dev/null,
 * /dev/zero and /dev/full stand in for three nodes.
 */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "fail_alloc.h"
#include "runtime/runtime.h"
#include "runtime/tt_metal.h"
#include "source/chips.h"

#define PID 77

/* The numbering library is this program: what is in its table of symbols is up to us. */
static const struct runtime_chips names = {
	.node_folder = "/tenstorrent/",
	.node_class = "tenstorrent",
	.unique_id_file = "tt_asic_id",
	.board_file = "tt_card_type",
	.numbering_library = "libtt-umd.so",
	.numbering_symbol = "numbers_by_pci_address",
};

void numbers_by_pci_address(void);
void numbers_by_pci_address(void)
{
}

static char root[64];
static uint64_t next_address;

static void path_in(char *path, const char *name)
{
	snprintf(path, 256, "%s%s", root, name);
}

static void write_file(const char *name, const char *text, const char *mode)
{
	char path[256];
	FILE *file;

	path_in(path, name);
	file = fopen(path, mode);
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void link_to(const char *name, const char *target)
{
	char path[256];

	path_in(path, name);
	unlink(path);
	assert_int_equal(symlink(target, path), 0);
}

static int set_up(void **state)
{
	static const char *const folders[] = {"/proc", "/proc/77", "/proc/77/map_files",
					      "/sys",  "/sys/dev", "/sys/dev/char"};
	char path[256];

	(void)state;
	strcpy(root, "/tmp/bufscope-test-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		path_in(path, folders[i]);
		if (mkdir(path, 0700))
			return -1;
	}
	next_address = 0x7f0000000000;
	write_file("/proc/77/maps",
		   "55d0-55e0 r-xp 00000000 08:01 12 /usr/bin/python3\n7ffc-7ffd rw-p 0 00:00 0 [stack]\n", "w");
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *place)
{
	(void)st;
	(void)flag;
	(void)place;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The process maps @path, which is @target. Inode 0 in a real line means memory of no file. */
static void map(const char *path, unsigned int inode, const char *target)
{
	char line[512], name[128];

	snprintf(line, sizeof(line), "%lx-%lx rw-s 00000000 00:05 %u                      %s\n",
		 (unsigned long)next_address, (unsigned long)next_address + 0x1000, inode, path);
	write_file("/proc/77/maps", line, "a");
	snprintf(name, sizeof(name), "/proc/77/map_files/%lx-%lx", (unsigned long)next_address,
		 (unsigned long)next_address + 0x1000);
	link_to(name, target);
	next_address += 0x2000;
}

/* A node of the driver, as sysfs shows it. @id, @board: the files' text, NULL: there is no such file. */
static void add_node(const char *number, const char *pci, const char *id, const char *board)
{
	char name[128], target[128];

	snprintf(name, sizeof(name), "/sys/dev/char/%s", number);
	path_in(target, name);
	assert_int_equal(mkdir(target, 0700), 0);
	snprintf(name, sizeof(name), "/sys/dev/char/%s/subsystem", number);
	link_to(name, "../../../../../../class/tenstorrent");
	snprintf(name, sizeof(name), "/sys/dev/char/%s/device", number);
	snprintf(target, sizeof(target), "../../../%s", pci);
	link_to(name, target);
	snprintf(name, sizeof(name), "/sys/dev/char/%s/tt_asic_id", number);
	if (id)
		write_file(name, id, "w");
	snprintf(name, sizeof(name), "/sys/dev/char/%s/tt_card_type", number);
	if (board)
		write_file(name, board, "w");
}

static int look(struct chips_found *found)
{
	struct chips *chips = chips_new(root);
	int err;

	assert_non_null(chips);
	err = chips_of_process(chips, PID, &names, found);
	chips_free(chips);
	return err;
}

static void test_one_chip(void **state)
{
	struct chips_found found;

	(void)state;
	add_node("1:3", "0000:c1:00.0", "0100015441F0D4B3\n", "n300\n");
	map("/dev/tenstorrent/0", 900, "/dev/null");
	map("/dev/tenstorrent/0", 900, "/dev/null");
	assert_int_equal(look(&found), 0);
	assert_int_equal(found.count, 1);
	assert_null(found.unnumbered);
	assert_true(found.chips[0].known);
	assert_int_equal(found.chips[0].unique_id, 0x100015441f0d4b3);
	assert_string_equal(found.chips[0].board, "n300");
	assert_string_equal(found.chips[0].pci, "0000:c1:00.0");
	assert_int_equal(found.chips[0].major, 1);
	assert_int_equal(found.chips[0].minor, 3);
}

/* A mock device, or none. */
static void test_no_chip(void **state)
{
	struct chips_found found;

	(void)state;
	add_node("1:3", "0000:c1:00.0", "0100015441F0D4B3\n", "n300\n");
	map("/dev/null", 901, "/dev/null");
	assert_int_equal(look(&found), 0);
	assert_int_equal(found.count, 0);
	assert_null(found.unnumbered);
}

static void several(void)
{
	/* Nodes in another order than addresses, as a container or a hot plug can have them. */
	add_node("1:3", "0000:c1:00.0", "00000000000000A1\n", "p150a\n");
	add_node("1:5", "0000:01:00.0", "00000000000000A2\n", "p150a\n");
	add_node("1:7", "0000:41:00.0", "00000000000000A3\n", "p150a\n");
	map("/dev/tenstorrent/0", 900, "/dev/null");
	map("/dev/tenstorrent/1", 901, "/dev/zero");
	map("/dev/tenstorrent/2", 902, "/dev/full");
}

static void test_several_by_address(void **state)
{
	struct chips_found found;

	(void)state;
	several();
	map("/opt/venv/lib/libtt-umd.so.0.9.14", 903, "/proc/self/exe");
	map("/opt/venv/lib/libtt-umd.so.0.9.14", 903, "/proc/self/exe");
	assert_int_equal(look(&found), 0);
	assert_int_equal(found.count, 3);
	assert_null(found.unnumbered);
	assert_int_equal(found.chips[0].unique_id, 0xa2);
	assert_int_equal(found.chips[1].unique_id, 0xa3);
	assert_int_equal(found.chips[2].unique_id, 0xa1);
}

/* How an older one numbers them, or one of two, cannot be told from outside. */
static void test_several_unproven(void **state)
{
	struct chips_found found;

	(void)state;
	several();
	assert_int_equal(look(&found), 0);
	assert_int_equal(found.count, 3);
	assert_non_null(found.unnumbered);
	map("/opt/venv/lib/libtt-umd.so", 903, "/bin/true");
	assert_int_equal(look(&found), 0);
	assert_non_null(found.unnumbered);
	map("/opt/venv/lib/libtt-umd.so", 904, "/proc/self/exe");
	assert_int_equal(look(&found), 0);
	assert_non_null(found.unnumbered);
}

/* A library file that is no regular file is not opened. */
static void test_library_is_a_fifo(void **state)
{
	struct chips_found found;
	char path[256];

	(void)state;
	several();
	path_in(path, "/fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	map("/opt/venv/lib/libtt-umd.so", 903, path);
	assert_int_equal(look(&found), 0);
	assert_non_null(found.unnumbered);
}

/* Names are a process's choice; what counts is the device behind them and its class. */
static void test_names_that_lie(void **state)
{
	struct chips_found found;
	char path[256];

	(void)state;
	write_file("/file", "", "w");
	path_in(path, "/file");
	map("/tmp/tenstorrent/0", 900, path);
	map("/tmp/tenstorrent/1", 901, "/dev/full");
	map("/tmp/tenstorrent/2", 902, "/dev/zero");
	map("/tmp/tenstorrent/3", 903, "/nowhere");
	map("/dev/tenstorrent/", 904, "/dev/null");
	map("/dev/tenstorrent/by-id/0x", 905, "/dev/null");
	map("tenstorrent/4", 906, "/dev/null");
	add_node("1:3", "0000:c1:00.0", "00000000000000A1\n", "n300\n");
	/* Of another driver; and with a parent that is on no PCI bus. */
	add_node("1:7", "0000:01:00.0", "00000000000000A2\n", "n300\n");
	link_to("/sys/dev/char/1:7/subsystem", "../../../../class/mem");
	add_node("1:5", "virtual", "00000000000000A3\n", "n300\n");
	/* The number of what is no device. */
	add_node("0:0", "0000:02:00.0", "00000000000000A4\n", "n300\n");
	assert_int_equal(look(&found), 0);
	assert_int_equal(found.count, 0);
	/* Two names of one device, in whatever folder, are one chip. */
	map("/rootfs/dev/tenstorrent/17", 907, "/dev/null");
	map("/dev/tenstorrent/0", 908, "/dev/null");
	assert_int_equal(look(&found), 0);
	assert_int_equal(found.count, 1);
	assert_null(found.unnumbered);
}

static void test_too_many(void **state)
{
	struct chips_found found;

	(void)state;
	add_node("1:3", "0000:c1:00.0", "00000000000000A1\n", "n300\n");
	for (unsigned int i = 0; i <= EVENT_MAX_CHIPS; i++)
		map("/tmp/tenstorrent/0", 1000 + i, "/dev/null");
	assert_int_equal(look(&found), 0);
	assert_int_equal(found.count, 1);
	assert_non_null(found.unnumbered);
}

static void test_what_the_driver_does_not_tell(void **state)
{
	static const char *const ids[] = {NULL,
					  "",
					  "0\n",
					  "FFFFFFFFFFFFFFFF\n",
					  "0000000000000000\n",
					  "00000000000000G1\n",
					  "0x000000000000A1\n",
					  "-0000000000000A1\n",
					  " 000000000000000A1\n"};
	static const char *const boards[] = {NULL, "", "n300\xe9\n", "\033[31mred\n", "n300 n150\n", "a\"b\n"};
	static const char *const addresses[] = {"0000:c1:00",   "c1:00.0",           "0000:c1:00.9",
						"0000:C1:00.0", "0000:c1:00.0x",     "000g:c1:00.0",
						"0000:c1.00:0", "000000000:c1:00.0", ""};
	struct chips_found found;
	char target[64];

	(void)state;
	add_node("1:3", "0000:c1:00.0", NULL, NULL);
	map("/dev/tenstorrent/0", 900, "/dev/null");
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		if (ids[i])
			write_file("/sys/dev/char/1:3/tt_asic_id", ids[i], "w");
		assert_int_equal(look(&found), 0);
		assert_int_equal(found.count, 1);
		assert_int_equal(found.chips[0].unique_id, 0);
	}
	for (size_t i = 0; i < sizeof(boards) / sizeof(boards[0]); i++) {
		if (boards[i])
			write_file("/sys/dev/char/1:3/tt_card_type", boards[i], "w");
		assert_int_equal(look(&found), 0);
		assert_string_equal(found.chips[0].board, "");
	}
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		snprintf(target, sizeof(target), "../../%s", addresses[i]);
		link_to("/sys/dev/char/1:3/device", target);
		assert_int_equal(look(&found), 0);
		assert_int_equal(found.count, 0);
	}
}

/* Asked once, but for what was not told; another device under the number is another chip. */
static void test_remembered(void **state)
{
	struct chips *chips = chips_new(root);
	struct chips_found found;
	char path[256], moved[256];

	(void)state;
	map("/dev/tenstorrent/0", 900, "/dev/null");
	add_node("1:3", "0000:c1:00.0", NULL, NULL);
	assert_int_equal(chips_of_process(chips, PID, &names, &found), 0);
	assert_int_equal(found.chips[0].unique_id, 0);
	write_file("/sys/dev/char/1:3/tt_asic_id", "00000000000000A1\n", "w");
	assert_int_equal(chips_of_process(chips, PID, &names, &found), 0);
	assert_int_equal(found.chips[0].unique_id, 0xa1);
	write_file("/sys/dev/char/1:3/tt_asic_id", "00000000000000A2\n", "w");
	assert_int_equal(chips_of_process(chips, PID, &names, &found), 0);
	assert_int_equal(found.chips[0].unique_id, 0xa1);
	/* Kept beside, so that its inode cannot be given to the new one. */
	path_in(path, "/sys/dev/char/1:3");
	path_in(moved, "/old");
	assert_int_equal(rename(path, moved), 0);
	add_node("1:3", "0000:01:00.0", "00000000000000A3\n", NULL);
	assert_int_equal(chips_of_process(chips, PID, &names, &found), 0);
	assert_int_equal(found.chips[0].unique_id, 0xa3);
	assert_string_equal(found.chips[0].pci, "0000:01:00.0");
	chips_free(chips);
}

static void test_gone(void **state)
{
	struct chips_found found;
	char path[256];

	(void)state;
	path_in(path, "/proc/77/maps");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(look(&found), -ESRCH);
	assert_int_equal(found.count, 0);
}

static void test_out_of_memory(void **state)
{
	struct chips *chips = NULL;

	(void)state;
	for (long n = 0; !chips; n++) {
		assert_true(n < 8);
		fail_alloc_at(n);
		chips = chips_new(root);
		fail_alloc_off();
	}
	chips_free(chips);
}

/* The real runtime's names are those that the tests above use. */
static void test_names_of_the_runtime(void **state)
{
	const struct runtime_chips *told = tt_metal_runtime.chips;

	(void)state;
	assert_string_equal(told->node_folder, names.node_folder);
	assert_string_equal(told->node_class, names.node_class);
	assert_string_equal(told->unique_id_file, names.unique_id_file);
	assert_string_equal(told->board_file, names.board_file);
	assert_string_equal(told->numbering_library, names.numbering_library);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_chip),           TEST(test_no_chip),
		TEST(test_several_by_address), TEST(test_several_unproven),
		TEST(test_library_is_a_fifo),  TEST(test_names_that_lie),
		TEST(test_too_many),           TEST(test_what_the_driver_does_not_tell),
		TEST(test_remembered),         TEST(test_gone),
		TEST(test_out_of_memory),      cmocka_unit_test(test_names_of_the_runtime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
