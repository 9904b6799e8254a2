/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Outputs compared with files in tests/golden/, byte for byte. BUFSCOPE_GOLDEN_UPDATE=1 writes the files
 * instead; BUFSCOPE_GOLDEN_DIR says where. Include after cmocka.h.
 */
#ifndef BUFSCOPE_TESTS_GOLDEN_H
#define BUFSCOPE_TESTS_GOLDEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

static inline void golden_path(char *path, size_t size, const char *name)
{
	const char *dir = getenv("BUFSCOPE_GOLDEN_DIR");

	snprintf(path, size, "%s/%s", dir ? dir : "tests/golden", name);
}

static inline void assert_golden(const char *name, const struct strbuf *got)
{
	struct strbuf expected = STRBUF_INIT;
	char path[512], block[4096];
	size_t len;
	FILE *file;

	assert_int_equal(strbuf_error(got), 0);
	golden_path(path, sizeof(path), name);
	if (getenv("BUFSCOPE_GOLDEN_UPDATE")) {
		file = fopen(path, "w");
		assert_non_null(file);
		assert_int_equal(fwrite(strbuf_str(got), 1, got->len, file), got->len);
		assert_int_equal(fclose(file), 0);
		return;
	}
	file = fopen(path, "r");
	if (!file)
		fail_msg("%s is missing; BUFSCOPE_GOLDEN_UPDATE=1 makes it", path);
	while ((len = fread(block, 1, sizeof(block), file)) > 0)
		strbuf_add(&expected, block, len);
	fclose(file);
	if (expected.len != got->len || memcmp(strbuf_str(&expected), strbuf_str(got), got->len))
		fail_msg("%s: expected\n%s\ngot\n%s", path, strbuf_str(&expected), strbuf_str(got));
	strbuf_fini(&expected);
}

#endif
