// SPDX-License-Identifier: BSD-2-Clause
/* Messages on stderr; see log.h. Knows no other module, so that any of them may log. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one mutable global of the program: set once by main, before threads exist. */
static enum log_level log_level = LOG_LEVEL_INFO;

static const char *const log_prefix[] = {
	[LOG_LEVEL_ERROR] = "bufscope: ",
	[LOG_LEVEL_WARNING] = "bufscope: warning: ",
	[LOG_LEVEL_INFO] = "bufscope: ",
	[LOG_LEVEL_DEBUG] = "bufscope: debug: ",
};

void log_set_level(enum log_level level)
{
	log_level = level;
}

int log_enabled(enum log_level level)
{
	return level <= log_level;
}

/* A message of several lines gets the prefix on each, so that grep and journals see whose it is. */
static void log_lines(enum log_level level, const char *text)
{
	flockfile(stderr);
	do {
		size_t len = strcspn(text, "\n");

		fprintf(stderr, "%s%.*s\n", log_prefix[level], (int)len, text);
		text += len;
		if (*text == '\n')
			text++;
	} while (*text);
	fflush(stderr);
	funlockfile(stderr);
}

static void __attribute__((format(printf, 2, 0))) log_vmessage(enum log_level level, const char *format, va_list ap)
{
	char fixed[512];
	char *text = NULL;

	if (!log_enabled(level))
		return;
	if (vasprintf(&text, format, ap) < 0) {
		/* Out of memory is the very thing a message may be about: say what fits. */
		snprintf(fixed, sizeof(fixed), "(out of memory) %s", format);
		log_lines(level, fixed);
		return;
	}
	log_lines(level, text);
	free(text);
}

void log_error(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_vmessage(LOG_LEVEL_ERROR, format, ap);
	va_end(ap);
}

void log_warning(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_vmessage(LOG_LEVEL_WARNING, format, ap);
	va_end(ap);
}

void log_info(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_vmessage(LOG_LEVEL_INFO, format, ap);
	va_end(ap);
}

void log_debug(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_vmessage(LOG_LEVEL_DEBUG, format, ap);
	va_end(ap);
}
