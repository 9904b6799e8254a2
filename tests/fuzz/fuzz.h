/* SPDX-License-Identifier: BSD-2-Clause */
/* What the fuzz targets share. libFuzzer has the main(). */
#ifndef BUFSCOPE_TESTS_FUZZ_H
#define BUFSCOPE_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What must be true of any input. */
#define FUZZ_ASSERT(condition)                                                          \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

/* A descriptor of a file with this content, the same one at each call. */
static inline int fuzz_file(const uint8_t *data, size_t len)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	FUZZ_ASSERT(fd >= 0 && !ftruncate(fd, 0) && pwrite(fd, data, len, 0) == (ssize_t)len);
	return fd;
}

/* UTF-8 text with nothing in it that a terminal would act on: no C0 but newline, no DEL, no C1. */
static inline void fuzz_assert_printable(const char *text, size_t len)
{
	const unsigned char *bytes = (const unsigned char *)text;

	for (size_t i = 0; i < len; i++) {
		FUZZ_ASSERT((bytes[i] >= ' ' && bytes[i] != 0x7f) || bytes[i] == '\n');
		FUZZ_ASSERT(i + 1 == len || bytes[i] != 0xc2 || bytes[i + 1] >= 0xa0);
	}
}

/* As JSON is written: escapes instead of whatever is not ASCII. */
static inline void fuzz_assert_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		FUZZ_ASSERT((text[i] >= ' ') || text[i] == '\n');
}

/* The next byte of the input, 0 at its end. */
static inline uint8_t fuzz_byte(const uint8_t **data, size_t *len)
{
	if (!*len)
		return 0;
	--*len;
	return *(*data)++;
}

#endif
