/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages for people, on stderr. stdout is data and never written here.
 *
 * Each line starts with "bufscope: ". A failure is logged once, in the layer that knows the path,
 * symbol or pid. Text that came from a traced process must be escaped first (escape.h).
 */
#ifndef BUFSCOPE_BASE_LOG_H
#define BUFSCOPE_BASE_LOG_H

enum log_level {
	LOG_LEVEL_ERROR = 0,   /* the command cannot do what it was asked */
	LOG_LEVEL_WARNING = 1, /* it can, but the result is less than was asked */
	LOG_LEVEL_INFO = 2,    /* progress a person wants to see once; silent with -q */
	LOG_LEVEL_DEBUG = 3,   /* only with --verbose */
};

/* Everything above @level is dropped. Default: LOG_LEVEL_INFO. Set once, before threads exist. */
void log_set_level(enum log_level level);
int log_enabled(enum log_level level);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
