// SPDX-License-Identifier: BSD-2-Clause
/* A growing string; see strbuf.h. The data is always NUL-terminated once it exists. */
#include "base/strbuf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void strbuf_fini(struct strbuf *sb)
{
	free(sb->data);
	memset(sb, 0, sizeof(*sb));
}

void strbuf_reset(struct strbuf *sb)
{
	sb->len = 0;
	sb->error = 0;
	if (sb->data)
		sb->data[0] = '\0';
}

/* Makes room for @extra more characters and the NUL. Returns false after setting the sticky error. */
static int strbuf_reserve(struct strbuf *sb, size_t extra)
{
	size_t need, capacity;
	char *data;

	if (sb->error)
		return 0;
	if (extra >= SIZE_MAX / 2 - sb->len) {
		sb->error = -ENOMEM;
		return 0;
	}
	need = sb->len + extra + 1;
	if (need <= sb->capacity)
		return 1;
	capacity = sb->capacity ? sb->capacity : 64;
	while (capacity < need)
		capacity *= 2;
	data = realloc(sb->data, capacity);
	if (!data) {
		sb->error = -ENOMEM;
		return 0;
	}
	sb->data = data;
	sb->capacity = capacity;
	return 1;
}

void strbuf_add(struct strbuf *sb, const char *data, size_t len)
{
	if (!strbuf_reserve(sb, len))
		return;
	if (len)
		memcpy(sb->data + sb->len, data, len);
	sb->len += len;
	sb->data[sb->len] = '\0';
}

void strbuf_adds(struct strbuf *sb, const char *s)
{
	strbuf_add(sb, s, strlen(s));
}

void strbuf_addc(struct strbuf *sb, char c)
{
	strbuf_add(sb, &c, 1);
}

void strbuf_vaddf(struct strbuf *sb, const char *format, va_list ap)
{
	va_list again;
	size_t room;
	int len;

	if (!strbuf_reserve(sb, 0))
		return;
	room = sb->capacity - sb->len;
	va_copy(again, ap);
	len = vsnprintf(sb->data + sb->len, room, format, again);
	va_end(again);
	if (len < 0) {
		sb->data[sb->len] = '\0';
		sb->error = -ENOMEM;
		return;
	}
	if ((size_t)len >= room) {
		sb->data[sb->len] = '\0';
		if (!strbuf_reserve(sb, (size_t)len))
			return;
		vsnprintf(sb->data + sb->len, (size_t)len + 1, format, ap);
	}
	sb->len += (size_t)len;
}

void strbuf_addf(struct strbuf *sb, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	strbuf_vaddf(sb, format, ap);
	va_end(ap);
}

const char *strbuf_str(const struct strbuf *sb)
{
	return sb->data ? sb->data : "";
}

int strbuf_error(const struct strbuf *sb)
{
	return sb->error;
}
