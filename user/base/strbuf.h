/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A growing string. The caller owns struct strbuf; strbuf_fini() releases what it points to.
 *
 * Allocation failure is sticky: after one, appends do nothing and strbuf_error() returns -ENOMEM,
 * so a long sequence of appends needs one check at its end.
 */
#ifndef BUFSCOPE_BASE_STRBUF_H
#define BUFSCOPE_BASE_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

struct strbuf {
	char *data; /* NUL-terminated once anything was appended; NULL before */
	size_t len;
	size_t capacity;
	int error;
};

#define STRBUF_INIT \
	{           \
		0   \
	}

void strbuf_fini(struct strbuf *sb);
void strbuf_reset(struct strbuf *sb); /* keeps the memory */
void strbuf_add(struct strbuf *sb, const char *data, size_t len);
void strbuf_adds(struct strbuf *sb, const char *s);
void strbuf_addc(struct strbuf *sb, char c);
void strbuf_addf(struct strbuf *sb, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *sb, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
const char *strbuf_str(const struct strbuf *sb); /* never NULL */
int strbuf_error(const struct strbuf *sb);

#endif
