/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finds the runtimes' libraries in a memory (of a process or a core file) and what is needed to take a
 * census with each: its plan, the layout of its books, where it is loaded.
 */
#ifndef BUFSCOPE_SOURCE_SURVEY_H
#define BUFSCOPE_SOURCE_SURVEY_H

#include <stdint.h>
#include <sys/types.h>

#include "base/strbuf.h"
#include "runtime/census.h"
#include "runtime/memory.h"
#include "runtime/runtime.h"

/* A file that is mapped; opens it. A descriptor, -ENOENT (passed over), or another -errno. */
typedef int survey_open_fn(void *context, const struct memory_region *region);

/* Opens what a running process maps (context: its pid_t *), also when it was deleted or is in another mount namespace. */
survey_open_fn survey_open_mapped;

struct survey_library {
	char *path; /* as the process sees it */
	char build_id[129];
	uint64_t base, text_start, text_end;
	int plan_error;  /* 0; -ENOTSUP: recognised, but see @report */
	int books_error; /* the same of the books: then there is no census */
	struct library_plan plan;
	struct census_plan books;
	struct strbuf report; /* lines as of runtime.plan */
};

struct survey {
	struct survey_library *libraries;
	size_t count;
	size_t unopened; /* mapped files that could not be opened, so perhaps a runtime's */
};

/* 0, -ENOMEM, or an error of @open. Ends with survey_fini() in any case. */
int survey_find(struct memory *memory, survey_open_fn *open, void *context, struct survey *survey);
/* 0; -ENOTSUP: see the library's report; errors of runtime.census. */
int survey_census(struct memory *memory, const struct survey_library *library, struct census *census);
void survey_fini(struct survey *survey);

#endif
