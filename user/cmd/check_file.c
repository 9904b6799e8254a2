/* SPDX-License-Identifier: BSD-2-Clause */
/* What `bufscope check FILE` says about one library file. */
#include <errno.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "cmd/check_file.h"
#include "elf/elf_file.h"
#include "runtime/runtime.h"

static const char *role_name(enum probe_role role)
{
	switch (role) {
	case PROBE_ALLOCATE:
		return "allocate";
	case PROBE_FREE:
		return "free";
	case PROBE_CLOSE:
		return "close";
	case PROBE_BULK_FREE:
		return "bulk free";
	case PROBE_DESTROY:
		return "destroy";
	case PROBE_OUT_OF_MEMORY:
		return "out of memory";
	}
	return "unknown";
}

static const char *open_error(int err)
{
	switch (err) {
	case -ENOEXEC:
		return "not an ELF file";
	case -ENOTSUP:
		return "not an x86-64 ELF file";
	case -EINVAL:
		return "a broken ELF file";
	default:
		return strerror(-err);
	}
}

static const struct runtime *find_runtime(struct elf_file *file)
{
	for (size_t i = 0; runtime_all[i]; i++)
		if (runtime_all[i]->recognise(file))
			return runtime_all[i];
	return NULL;
}

static void print_probes(const struct library_plan *plan, FILE *out)
{
	if (plan->probe_count)
		fprintf(out, "probes\n");
	for (size_t i = 0; i < plan->probe_count; i++) {
		const struct probe_plan *probe = &plan->probes[i];

		fprintf(out, "  %-13s  0x%-8llx %s  %-12s  %s\n", role_name(probe->role),
			(unsigned long long)probe->place.vaddr,
			probe->place.cost == PLACE_SINGLE_STEP ? "slow probe" : "fast probe", probe->place.instruction,
			probe->symbol);
	}
}

static void print_layout(const struct library_plan *plan, FILE *out)
{
	if (plan->layout_count)
		fprintf(out, "layout (bytes)\n");
	for (size_t i = 0; i < plan->layout_count; i++)
		fprintf(out, "  %-18s %lld\n", plan->layout[i].name, (long long)plan->layout[i].value);
}

static void print_report(const struct strbuf *report, FILE *out)
{
	const char *line = strbuf_str(report);

	fprintf(out, "what was tried\n");
	while (*line) {
		size_t len = strcspn(line, "\n");

		fprintf(out, "  %.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

/* The first thing that went wrong, for the verdict's line. */
static void print_reason(const struct strbuf *report, FILE *out)
{
	const char *line = strbuf_str(report);

	while (*line) {
		size_t len = strcspn(line, "\n");

		if (strncmp(line, "refused ", 8) == 0) {
			fprintf(out, "%.*s\n", (int)len - 8, line + 8);
			return;
		}
		line += len + (line[len] == '\n');
	}
	fprintf(out, "see below\n");
}

static int check_plan(struct elf_file *file, const struct runtime *runtime, FILE *out)
{
	struct strbuf report = STRBUF_INIT;
	struct library_plan plan;
	int err = runtime->plan(file, &plan, &report);

	if (err && err != -ENOTSUP)
		goto out;
	if (err) {
		fprintf(out, "verdict    not supported: ");
		print_reason(&report, out);
	} else if (strcmp(plan.version_hint, "new layout") == 0) {
		fprintf(out, "verdict    supported (a new layout, learnt from the library's code)\n");
	} else {
		fprintf(out, "verdict    supported (layout as in %s)\n", plan.version_hint);
	}
	if (!err)
		print_probes(&plan, out);
	if (!err)
		print_layout(&plan, out);
	print_report(&report, out);
out:
	strbuf_fini(&report);
	return err;
}

int check_library(int fd, const char *name, FILE *out)
{
	struct strbuf text = STRBUF_INIT;
	const struct runtime *runtime;
	struct elf_file *file = NULL;
	const char *build_id;
	int err;

	escape_terminal(&text, name, strlen(name));
	fprintf(out, "library    %s\n", strbuf_str(&text));
	strbuf_fini(&text);
	err = elf_file_open(fd, name, &file);
	if (err) {
		fprintf(out, "verdict    not supported: %s\n", open_error(err));
		return err == -ENOEXEC || err == -EINVAL ? -ENOTSUP : err;
	}
	build_id = elf_file_build_id(file);
	fprintf(out, "build-id   %s\n", *build_id ? build_id : "none");
	runtime = find_runtime(file);
	fprintf(out, "runtime    %s\n", runtime ? runtime->name : "none known");
	if (runtime) {
		err = check_plan(file, runtime, out);
	} else {
		fprintf(out, "verdict    not supported: no known device runtime is in this file\n");
		err = -ENOTSUP;
	}
	elf_file_close(file);
	return err;
}
