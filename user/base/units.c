// SPDX-License-Identifier: BSD-2-Clause
/* Sizes and durations as people read and write them; see units.h. */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "base/strbuf.h"

#define UNITS_SECOND UINT64_C(1000000000)

void units_mb(struct strbuf *out, uint64_t bytes)
{
	/* Little is not nothing: down to 11 bytes there is a digit that says so. */
	strbuf_addf(out, bytes && bytes < 10486 ? "%.5f MB" : "%.2f MB", (double)bytes / (1 << 20));
}

void units_size(struct strbuf *out, uint64_t bytes)
{
	static const struct {
		const char *name;
		int shift;
		int decimals;
		double below; /* a value that would round up to 1024 belongs to the next unit */
	} unit[] = {
		{"KB", 10, 1, 1023.95},
		{"MB", 20, 2, 1023.995},
		{"GB", 30, 2, 1023.995},
		{"TB", 40, 2, 0},
	};
	size_t last = sizeof(unit) / sizeof(unit[0]) - 1;

	if (bytes < 1024) {
		strbuf_addf(out, "%u B", (unsigned int)bytes);
		return;
	}
	for (size_t i = 0; i <= last; i++) {
		double value = (double)bytes / (double)(UINT64_C(1) << unit[i].shift);

		if (i < last && value >= unit[i].below)
			continue;
		strbuf_addf(out, "%.*f %s", unit[i].decimals, value, unit[i].name);
		return;
	}
}

/* Cut, not rounded: a duration never reads longer than it was, and "60.0 s" cannot appear. */
void units_duration(struct strbuf *out, uint64_t ns)
{
	uint64_t seconds = ns / UNITS_SECOND;
	unsigned int centi = (unsigned int)(ns % UNITS_SECOND / 10000000);

	if (ns < 10000000)
		strbuf_addf(out, "%u.%u ms", (unsigned int)(ns / 1000000), (unsigned int)(ns % 1000000 / 100000));
	else if (!seconds)
		strbuf_addf(out, "%u ms", (unsigned int)(ns / 1000000));
	else if (seconds < 10)
		strbuf_addf(out, "%u.%02u s", (unsigned int)seconds, centi);
	else if (seconds < 60)
		strbuf_addf(out, "%u.%u s", (unsigned int)seconds, centi / 10);
	else if (seconds < 3600)
		strbuf_addf(out, "%u min %02u s", (unsigned int)(seconds / 60), (unsigned int)(seconds % 60));
	else if (seconds < 86400)
		strbuf_addf(out, "%u h %02u min", (unsigned int)(seconds / 3600), (unsigned int)(seconds / 60 % 60));
	else
		strbuf_addf(out, "%llu d %02u h", (unsigned long long)(seconds / 86400),
			    (unsigned int)(seconds / 3600 % 24));
}

/* Digits at *text, moving it on. 0, -EINVAL when there are none, -ERANGE. */
static int units_digits(const char **text, uint64_t *value)
{
	const char *at = *text;

	if (!isdigit((unsigned char)*at))
		return -EINVAL;
	*value = 0;
	for (; isdigit((unsigned char)*at); at++) {
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*at - '0'), value))
			return -ERANGE;
	}
	*text = at;
	return 0;
}

int units_parse_size(const char *text, uint64_t *bytes)
{
	static const char suffix[] = "KMGT";
	const char *found;
	uint64_t value;
	int err, shift = 0;

	err = units_digits(&text, &value);
	if (err)
		return err;
	if (*text) {
		found = strchr(suffix, toupper((unsigned char)*text));
		if (found) {
			shift = 10 * (int)(found - suffix + 1);
			text++;
		}
		if (*text == 'B' || *text == 'b')
			text++;
		if (*text)
			return -EINVAL;
	}
	if (shift && value > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = value << shift;
	return 0;
}

static int units_duration_suffix(const char *text, uint64_t *unit_ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{"", UNITS_SECOND},          {"s", UNITS_SECOND},        {"ms", 1000000},
		{"m", 60 * UNITS_SECOND},    {"min", 60 * UNITS_SECOND}, {"h", 3600 * UNITS_SECOND},
		{"d", 86400 * UNITS_SECOND},
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(text, units[i].name)) {
			*unit_ns = units[i].ns;
			return 0;
		}
	}
	return -EINVAL;
}

int units_parse_duration(const char *text, uint64_t *ns)
{
	uint64_t whole, unit, total, scale, part = 0;
	const char *fraction = NULL;
	int err;

	err = units_digits(&text, &whole);
	if (err)
		return err;
	if (*text == '.') {
		fraction = ++text;
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		while (isdigit((unsigned char)*text))
			text++;
	}
	err = units_duration_suffix(text, &unit);
	if (err)
		return err;
	/* Digits below one nanosecond change nothing: scale reaches 0 before they could. */
	for (scale = unit / 10; fraction && isdigit((unsigned char)*fraction) && scale; fraction++, scale /= 10)
		part += (uint64_t)(*fraction - '0') * scale;
	if (__builtin_mul_overflow(whole, unit, &total) || __builtin_add_overflow(total, part, &total))
		return -ERANGE;
	*ns = total;
	return 0;
}
