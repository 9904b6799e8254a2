/* SPDX-License-Identifier: BSD-2-Clause */
/* Capabilities by libcap-ng, and a word on each. */
#include "source/privilege.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "base/strbuf.h"

static const struct {
	unsigned int capability;
	const char *name;
	const char *purpose;
	unsigned int included_in; /* a stronger one that the kernel takes instead; or itself */
} known[] = {
	{CAP_BPF, "CAP_BPF", "loading BPF programs", CAP_SYS_ADMIN},
	{CAP_PERFMON, "CAP_PERFMON", "putting probes on functions and noticing new mappings", CAP_SYS_ADMIN},
	{CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE", "opening the libraries that a process maps", CAP_SYS_ADMIN},
	{CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "looking into processes of other users", CAP_SYS_PTRACE},
	{CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "opening /proc files of other users", CAP_DAC_OVERRIDE},
	{CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "perf links: probes on kernels before 6.6", CAP_SYS_ADMIN},
};

unsigned long long privilege_missing(unsigned long long needed)
{
	unsigned long long missing = 0;

	capng_get_caps_process();
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (needed & PRIVILEGE(known[i].capability) &&
		    !capng_have_capability(CAPNG_EFFECTIVE, known[i].capability) &&
		    !capng_have_capability(CAPNG_EFFECTIVE, known[i].included_in))
			missing |= PRIVILEGE(known[i].capability);
	}
	return missing;
}

bool privilege_explain(struct strbuf *out, unsigned long long needed)
{
	unsigned long long missing = privilege_missing(needed);
	const char *separator = "";

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!(missing & PRIVILEGE(known[i].capability)))
			continue;
		strbuf_addf(out, "%s%s is missing (for %s)", separator, known[i].name, known[i].purpose);
		separator = ", ";
	}
	return missing != 0;
}

void privilege_log(int err, unsigned long long needed, const char *format, ...)
{
	struct strbuf text = STRBUF_INIT;
	va_list ap;

	va_start(ap, format);
	strbuf_vaddf(&text, format, ap);
	va_end(ap);
	strbuf_adds(&text, ": ");
	if ((err != -EPERM && err != -EACCES) || !privilege_explain(&text, needed))
		strbuf_adds(&text, strerror(-err));
	log_error("%s", strbuf_str(&text));
	strbuf_fini(&text);
}
