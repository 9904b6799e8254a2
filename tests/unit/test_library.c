/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of libraries when it is full, and after some were let go. Its files are copies of a stand-in
 * (standin_tt_metal.cpp) that is compiled here. Nothing is attached to.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "source/library.h"

#define TRACKER "GraphTracker14track_allocate"

extern const char standin_source[], standin_source_end[];
__asm__(".pushsection .rodata\n.global standin_source\nstandin_source:\n.incbin \"tests/unit/standin_tt_metal.cpp\"\n"
	".global standin_source_end\nstandin_source_end:\n.byte 0\n.popsection\n");

static char directory[64];
static uint8_t *image;
static size_t image_len;
static unsigned int files;

/* Not this file's subject, and it needs the kernel. */
void live_attachment_close(struct live_attachment *attachment)
{
	(void)attachment;
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(close(fd), 0);
}

static void read_image(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	image_len = (size_t)st.st_size;
	image = malloc(image_len);
	assert_non_null(image);
	assert_int_equal(read(fd, image, image_len), image_len);
	close(fd);
}

static int set_up(void **state)
{
	char source[96], output[96], command[320];

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	strcpy(directory, "/tmp/bufscope-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(source, sizeof(source), "%s/standin.cpp", directory);
	snprintf(output, sizeof(output), "%s/standin.so", directory);
	write_file(source, standin_source, (size_t)(standin_source_end - standin_source));
	snprintf(command, sizeof(command), "clang++ -std=c++17 -O2 -shared -fPIC -w -o %s %s", output, source);
	if (system(command))
		return -1;
	read_image(output);
	unlink(source);
	unlink(output);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(image);
	return rmdir(directory);
}

/* The library of a new file with these bytes. The file is gone again when this returns. */
static struct library *library_of(struct libraries *libraries, const uint8_t *data)
{
	struct library *library;
	char path[96];

	snprintf(path, sizeof(path), "%s/lib%u.so", directory, files++);
	write_file(path, data, image_len);
	assert_int_equal(libraries_of_file(libraries, path, &library), 0);
	assert_non_null(library);
	unlink(path);
	return library;
}

static void test_full_table(void **state)
{
	struct libraries *libraries = libraries_new();
	struct library *library, *some = NULL;

	(void)state;
	assert_non_null(libraries);
	for (uint32_t i = 0; i < WIRE_MAX_LIBRARIES; i++) {
		library = library_of(libraries, image);
		assert_int_equal(library->state, LIBRARY_PLANNED);
		assert_int_equal(library->index, i);
		if (i == 7)
			some = library;
	}
	library = library_of(libraries, image);
	assert_int_equal(library->state, LIBRARY_UNSUPPORTED);
	assert_non_null(strstr(library->why, "more than 256"));
	/* What the BPF side calls number 7 is the next one from now on, and the others keep their numbers. */
	libraries_remove(libraries, some);
	assert_null(libraries_get(libraries, 7));
	library = library_of(libraries, image);
	assert_int_equal(library->state, LIBRARY_PLANNED);
	assert_int_equal(library->index, 7);
	assert_ptr_equal(libraries_get(libraries, 7), library);
	assert_int_equal(libraries_end(libraries), WIRE_MAX_LIBRARIES);
	for (uint32_t i = 0; i < WIRE_MAX_LIBRARIES; i++)
		assert_int_equal(libraries_get(libraries, i)->index, i);
	libraries_free(libraries);
}

/* A user who maps one after the other gets neither numbers nor, without end, memory. */
static void test_many_unsupported(void **state)
{
	struct libraries *libraries = libraries_new();
	uint8_t *damaged = malloc(image_len);
	struct library *library;
	char *name;

	(void)state;
	assert_non_null(libraries);
	assert_non_null(damaged);
	memcpy(damaged, image, image_len);
	for (size_t at = 0; (name = memmem(damaged + at, image_len - at, TRACKER, strlen(TRACKER)));) {
		name[strlen(TRACKER) - 1] = 'X';
		at = (size_t)(name - (char *)damaged);
	}
	for (int i = 0; i < 260; i++) {
		library = library_of(libraries, damaged);
		assert_int_equal(library->state, LIBRARY_UNSUPPORTED);
		assert_true(library->why[0]);
		assert_true(library->fd < 0);
	}
	assert_int_equal(libraries_end(libraries), 0);
	library = library_of(libraries, image);
	assert_int_equal(library->state, LIBRARY_PLANNED);
	assert_int_equal(library->index, 0);
	free(damaged);
	libraries_free(libraries);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_many_unsupported),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
