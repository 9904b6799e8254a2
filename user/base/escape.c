// SPDX-License-Identifier: BSD-2-Clause
/* Text from traced processes made safe to print; see escape.h. Every input byte is hostile. */
#include "base/escape.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"

/*
 * One code point of well-formed UTF-8 (Unicode table 3-7: no overlong form, no surrogate, nothing
 * above U+10FFFF). Returns its length, or 0 when the bytes at @text are not well-formed.
 */
static size_t escape_decode(const unsigned char *text, size_t len, uint32_t *code)
{
	unsigned char lead = text[0];
	unsigned char low = 0x80, high = 0xbf;
	size_t need;

	if (lead < 0x80) {
		*code = lead;
		return 1;
	}
	if (lead >= 0xc2 && lead <= 0xdf) {
		need = 2;
		*code = lead & 0x1f;
	} else if (lead >= 0xe0 && lead <= 0xef) {
		need = 3;
		*code = lead & 0x0f;
		if (lead == 0xe0)
			low = 0xa0;
		if (lead == 0xed)
			high = 0x9f;
	} else if (lead >= 0xf0 && lead <= 0xf4) {
		need = 4;
		*code = lead & 0x07;
		if (lead == 0xf0)
			low = 0x90;
		if (lead == 0xf4)
			high = 0x8f;
	} else {
		return 0;
	}
	if (len < need)
		return 0;
	for (size_t i = 1; i < need; i++) {
		if (text[i] < low || text[i] > high)
			return 0;
		*code = *code << 6 | (text[i] & 0x3f);
		low = 0x80;
		high = 0xbf;
	}
	return need;
}

#define ESCAPE_REPLACEMENT "\xef\xbf\xbd"

static bool escape_is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

/* Characters that reorder what a person reads: "trojan source". */
static bool escape_is_bidi(uint32_t code)
{
	return (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

void escape_terminal(struct strbuf *out, const char *text, size_t len)
{
	const unsigned char *at = (const unsigned char *)text;
	const unsigned char *end = at + len;

	while (at < end) {
		uint32_t code;
		size_t used = escape_decode(at, (size_t)(end - at), &code);

		if (!used)
			strbuf_addf(out, "\\x%02x", *at);
		else if (code == '\n')
			strbuf_adds(out, "\\n");
		else if (code == '\t')
			strbuf_adds(out, "\\t");
		else if (code == '\\')
			strbuf_adds(out, "\\\\");
		else if (escape_is_control(code))
			strbuf_addf(out, "\\x%02x", code);
		else if (escape_is_bidi(code))
			strbuf_addf(out, "\\u{%04X}", code);
		else
			strbuf_add(out, (const char *)at, used);
		at += used ? used : 1;
	}
}

void escape_utf8(struct strbuf *out, const char *text, size_t len)
{
	const unsigned char *at = (const unsigned char *)text;
	const unsigned char *end = at + len;

	while (at < end) {
		uint32_t code;
		size_t used = escape_decode(at, (size_t)(end - at), &code);

		if (!used || code == 0)
			strbuf_adds(out, ESCAPE_REPLACEMENT);
		else
			strbuf_add(out, (const char *)at, used);
		at += used ? used : 1;
	}
}

void escape_label(struct strbuf *out, const char *text, size_t len, size_t max)
{
	const unsigned char *at = (const unsigned char *)text;
	const unsigned char *end = at + len;

	if (len > max) {
		strbuf_adds(out, ESCAPE_REPLACEMENT);
		at = end - max;
		/* Not in the middle of a character. */
		while (at < end && (*at & 0xc0) == 0x80)
			at++;
	}
	while (at < end) {
		uint32_t code;
		size_t used = escape_decode(at, (size_t)(end - at), &code);

		if (!used || escape_is_control(code) || escape_is_bidi(code))
			strbuf_adds(out, ESCAPE_REPLACEMENT);
		else if (code == '\\' || code == '"')
			strbuf_addf(out, "\\%c", (int)code);
		else
			strbuf_add(out, (const char *)at, used);
		at += used ? used : 1;
	}
}
