/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text from traced processes made safe to print. It may hold control characters, newlines, terminal
 * escapes or broken UTF-8.
 */
#ifndef BUFSCOPE_BASE_ESCAPE_H
#define BUFSCOPE_BASE_ESCAPE_H

#include <stddef.h>

struct strbuf;

/*
 * For a terminal or a log line: control characters (C0, DEL, C1), backslash and bytes that are not
 * valid UTF-8 become \xNN, \n, \t or \\; bidirectional overrides (U+202A..U+202E, U+2066..U+2069)
 * become \u{NNNN}. The rest is copied.
 */
void escape_terminal(struct strbuf *out, const char *text, size_t len);

/*
 * Valid UTF-8 for JSON: bytes that are not valid UTF-8 become U+FFFD. Quoting is the JSON library's.
 * NUL bytes become U+FFFD too.
 */
void escape_utf8(struct strbuf *out, const char *text, size_t len);

/*
 * The value of a metrics label, without its quotes: control characters, bidirectional overrides and
 * bytes that are not valid UTF-8 become U+FFFD; backslash and quote are escaped. At most @max bytes of
 * @text are taken, the last ones if there are more: then U+FFFD stands in front.
 */
void escape_label(struct strbuf *out, const char *text, size_t len, size_t max);

#endif
