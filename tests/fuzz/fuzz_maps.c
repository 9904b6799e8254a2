/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes lines of /proc/PID/maps, and the escaping of what they name. */
#include <jansson.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "fuzz.h"
#include "source/procfs.h"

static void check_path(const char *path)
{
	struct strbuf text = STRBUF_INIT;
	json_t *json;

	escape_terminal(&text, path, strlen(path));
	FUZZ_ASSERT(!strchr(strbuf_str(&text), '\n'));
	fuzz_assert_printable(strbuf_str(&text), text.len);
	json = json_stringn(strbuf_str(&text), text.len); /* NULL when it is not UTF-8 */
	FUZZ_ASSERT(json);
	json_decref(json);
	strbuf_reset(&text);
	escape_utf8(&text, path, strlen(path));
	json = json_stringn(strbuf_str(&text), text.len);
	FUZZ_ASSERT(json);
	json_decref(json);
	strbuf_fini(&text);
}

static void check_line(char *line)
{
	struct procfs_mapping mapping;

	if (!procfs_parse_mapping(line, &mapping))
		return;
	FUZZ_ASSERT(mapping.start < mapping.end && mapping.inode);
	FUZZ_ASSERT(mapping.path >= line && mapping.path < line + strlen(line));
	check_path(mapping.path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* of exactly this size, so that a read behind its end is seen */
	char *text = malloc(len + 1), *line, *rest;

	FUZZ_ASSERT(text);
	memcpy(text, data, len);
	text[len] = 0;
	check_path(text);
	for (rest = text; (line = strsep(&rest, "\n"));)
		check_line(line);
	free(text);
	return 0;
}
