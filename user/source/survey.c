/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks at each mapped library once. Owns the plans; the files are closed again. */
#include "source/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elf/elf_file.h"

#define PAGE          4096
#define MAX_LIBRARIES 16

int survey_open_mapped(void *context, const struct memory_region *region)
{
	const pid_t *pid = context;
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, *pid, region->start, region->end);
	/* O_NONBLOCK: whatever it is, opening it must not block */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd >= 0 ? fd : -errno;
}

static const struct runtime *recognise(struct elf_file *file)
{
	for (size_t i = 0; runtime_all[i]; i++)
		if (runtime_all[i]->recognise(file))
			return runtime_all[i];
	return NULL;
}

/* The load base, from the executable segment; its first page may begin before it. */
static int find_base(struct elf_file *file, const struct memory_region *region, uint64_t *base)
{
	uint64_t vaddr;

	for (uint64_t skip = 0; skip < PAGE; skip += PAGE - 1) {
		if (elf_file_vaddr(file, region->offset + skip, &vaddr))
			continue;
		*base = region->start + skip - vaddr;
		return 0;
	}
	return -EINVAL;
}

static int add_library(struct survey *survey, const struct memory_region *region, struct elf_file *file,
		       const struct runtime *runtime)
{
	struct survey_library *grown, *library;
	uint64_t base;

	/* not its code after all: a core does not always say what was executable */
	if (survey->count == MAX_LIBRARIES || find_base(file, region, &base))
		return 0;
	grown = realloc(survey->libraries, (survey->count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	survey->libraries = grown;
	library = &grown[survey->count];
	memset(library, 0, sizeof(*library));
	library->path = strdup(region->path);
	if (!library->path)
		return -ENOMEM;
	survey->count++;
	snprintf(library->build_id, sizeof(library->build_id), "%s", elf_file_build_id(file));
	library->text_start = region->start;
	library->text_end = region->end;
	library->base = base;
	library->plan_error = runtime->plan(file, &library->plan, &library->report);
	library->books_error = library->plan_error;
	if (!library->books_error)
		library->books_error = runtime->census_plan ? runtime->census_plan(file, &library->plan,
										   &library->books, &library->report)
							    : -ENOTSUP;
	return library->plan_error == -ENOMEM || library->books_error == -ENOMEM ? -ENOMEM : 0;
}

static int look_at(struct survey *survey, const struct memory_region *region, int fd)
{
	const struct runtime *runtime;
	struct elf_file *file;
	int err = elf_file_open(fd, region->path, &file);

	if (err)
		return err == -ENOMEM ? err : 0;
	runtime = recognise(file);
	if (runtime)
		err = add_library(survey, region, file, runtime);
	elf_file_close(file);
	return err;
}

int survey_find(struct memory *memory, survey_open_fn *open_file, void *context, struct survey *survey)
{
	struct memory_region region;
	int err = 0;

	memset(survey, 0, sizeof(*survey));
	for (size_t i = 0; !err && memory->ops->region(memory, i, &region) == 0; i++) {
		int fd;

		if (!region.executable || region.path[0] != '/' || region.kind != MEMORY_KIND_ORDINARY)
			continue;
		fd = open_file(context, &region);
		if (fd == -ENOENT) {
			survey->unopened++;
			continue;
		}
		if (fd < 0)
			return fd;
		err = look_at(survey, &region, fd);
		close(fd);
	}
	return err;
}

int survey_census(struct memory *memory, const struct survey_library *library, struct census *census)
{
	struct census_input input = {.library = &library->plan,
				     .plan = &library->books,
				     .memory = memory,
				     .base = library->base,
				     .text_start = library->text_start,
				     .text_end = library->text_end};

	memset(census, 0, sizeof(*census));
	if (library->books_error)
		return library->books_error;
	return library->plan.runtime->census(&input, census);
}

void survey_fini(struct survey *survey)
{
	for (size_t i = 0; i < survey->count; i++) {
		free(survey->libraries[i].path);
		strbuf_fini(&survey->libraries[i].report);
	}
	free(survey->libraries);
	memset(survey, 0, sizeof(*survey));
}
