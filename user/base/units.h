/* SPDX-License-Identifier: BSD-2-Clause */
/* Sizes and durations as people read them. MB is 2^20 bytes, as in the runtime's own tools. */
#ifndef BUFSCOPE_BASE_UNITS_H
#define BUFSCOPE_BASE_UNITS_H

#include <stdint.h>

struct strbuf;

void units_mb(struct strbuf *out, uint64_t bytes);   /* "403.84 MB": always MB, two decimals */
void units_size(struct strbuf *out, uint64_t bytes); /* "512 B", "12.0 KB", "4.00 MB", "1.50 GB" */
void units_duration(struct strbuf *out,
		    uint64_t ns); /* "3.2 ms", "350 ms", "1.35 s", "12.4 s", "3 min 05 s", "2 h 14 min", "3 d 04 h" */

/* "4096", "64K", "16M", "2G" (powers of 1024, optional B). 0, or -EINVAL / -ERANGE. */
int units_parse_size(const char *text, uint64_t *bytes);
/* "0.5", "10", "2s", "500ms", "1m", "2h", "1d": a duration, seconds without a suffix. 0, or -EINVAL / -ERANGE. */
int units_parse_duration(const char *text, uint64_t *ns);

#endif
