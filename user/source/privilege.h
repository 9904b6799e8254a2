/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which capability is needed, and what for: one list, for the checks, the messages and the documentation
 * (README, "Privileges", where each was measured).
 */
#ifndef BUFSCOPE_SOURCE_PRIVILEGE_H
#define BUFSCOPE_SOURCE_PRIVILEGE_H

#include <stdbool.h>
#include <linux/capability.h>

struct strbuf;

#define PRIVILEGE(capability) (1ull << (capability))

/* Loading the programs, and finding libraries that are mapped later. */
#define PRIVILEGE_TRACE (PRIVILEGE(CAP_BPF) | PRIVILEGE(CAP_PERFMON) | PRIVILEGE(CAP_CHECKPOINT_RESTORE))
/* Looking into a process that is not one's own. */
#define PRIVILEGE_OTHERS (PRIVILEGE(CAP_SYS_PTRACE) | PRIVILEGE(CAP_DAC_READ_SEARCH))
/* A uprobe as a perf event (kernels before 6.6, or --perf-links). */
#define PRIVILEGE_PERF_LINKS PRIVILEGE(CAP_SYS_ADMIN)

/* Those of @needed that this process has neither itself nor by one that includes them. */
unsigned long long privilege_missing(unsigned long long needed);

/*
 * "CAP_X is missing (for this), CAP_Y is missing (for that)". False, and nothing is added, when none of
 * @needed is missing: then something else forbids it (a user namespace, a security module).
 */
bool privilege_explain(struct strbuf *out, unsigned long long needed);

/* Logs that something (@format) failed with @err, and which of @needed are missing, if it is that. */
void privilege_log(int err, unsigned long long needed, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
