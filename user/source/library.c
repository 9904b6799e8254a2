/* SPDX-License-Identifier: BSD-2-Clause */
/* One entry a file. Owns entries, their descriptors and attachments. */
#include "source/library.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "elf/elf_file.h"
#include "source/procfs.h"

#define MAX_ATTEMPTS 16 /* a loader maps a library in some five steps */

/* Which file: a deleted file's inode number is reused, hence the times. */
struct identity {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec changed;
};

struct entry {
	struct identity identity;
	struct timespec written;
	struct library *library;
	bool alias; /* another entry owns it */
};

#define OTHERS          4096 /* a power of two */
#define MAX_UNSUPPORTED 256  /* remembered, so that each is told of once */

/* Files that are no runtime's library are remembered in a table without chains: who falls out is looked at again. */
struct libraries {
	struct entry *entries;
	size_t count, capacity;
	struct identity others[OTHERS];
	struct library *by_index[WIRE_MAX_LIBRARIES];
	uint32_t index_count;
};

struct libraries *libraries_new(void)
{
	return calloc(1, sizeof(struct libraries));
}

static void library_free(struct library *library)
{
	if (!library)
		return;
	live_attachment_close(&library->destroy);
	live_attachment_close(&library->attachment);
	if (library->state == LIBRARY_CLOSING)
		pthread_detach(library->closer);
	if (library->fd >= 0)
		close(library->fd);
	free(library->path);
	free(library);
}

void libraries_free(struct libraries *libraries)
{
	if (!libraries)
		return;
	for (size_t i = 0; i < libraries->count; i++) {
		if (!libraries->entries[i].alias)
			library_free(libraries->entries[i].library);
	}
	free(libraries->entries);
	free(libraries);
}

struct library *libraries_get(const struct libraries *libraries, uint32_t index)
{
	return index < libraries->index_count ? libraries->by_index[index] : NULL;
}

uint32_t libraries_end(const struct libraries *libraries)
{
	return libraries->index_count;
}

static struct identity *other_slot(struct libraries *libraries, const struct identity *identity)
{
	uint64_t mixed = (identity->inode ^ (uint64_t)identity->device << 32) * 0x9e3779b97f4a7c15ull;

	return &libraries->others[mixed >> 52];
}

static bool same_identity(const struct identity *a, const struct identity *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* Says once, in full, why a copy of the runtime is not observed. */
static void report_unsupported(struct library *library, pid_t pid, const struct strbuf *report)
{
	const char *why = strstr(strbuf_str(report), "refused ");
	struct strbuf path = STRBUF_INIT;

	/* The first thing that stood in the way. */
	why = why ? why : "its layout could not be learnt";
	snprintf(library->why, sizeof(library->why), "%.*s", (int)strcspn(why, "\n"), why);

	escape_terminal(&path, library->path, strlen(library->path));
	if (pid)
		strbuf_addf(&path, " in process %d", pid);
	log_warning("%s is not supported, its buffers are not seen: %s (\"bufscope check\" on it tells more)",
		    strbuf_str(&path), library->why);
	log_debug("%s", strbuf_str(report));
	strbuf_fini(&path);
}

static void report_no_books(const struct library *library, const struct strbuf *report)
{
	struct strbuf path = STRBUF_INIT;

	escape_terminal(&path, library->path, strlen(library->path));
	log_debug("the books of %s cannot be read:\n%s", strbuf_str(&path), strbuf_str(report));
	strbuf_fini(&path);
}

static int plan_library(struct libraries *libraries, struct library *library, struct elf_file *file,
			const struct runtime *runtime, pid_t pid)
{
	struct strbuf report = STRBUF_INIT;
	uint32_t index = 0;
	int err;

	snprintf(library->build_id, sizeof(library->build_id), "%s", elf_file_build_id(file));
	err = runtime->plan(file, &library->plan, &report);
	library->books_error = -ENOTSUP;
	if (!err && runtime->census_plan) {
		library->books_error = runtime->census_plan(file, &library->plan, &library->books, &report);
		if (library->books_error)
			report_no_books(library, &report);
	}
	while (index < libraries->index_count && libraries->by_index[index])
		index++;
	if (!err && index >= WIRE_MAX_LIBRARIES) {
		strbuf_reset(&report); /* that its books cannot be read, say, is not why */
		strbuf_addf(&report, "refused library: more than %d different ones at once\n", WIRE_MAX_LIBRARIES);
		err = -ENOSPC;
	}
	if (!err) {
		library->exec_offset = library->plan.probes[0].place.file_offset;
		library->exec_vaddr = library->plan.probes[0].place.vaddr;
		library->index = index;
		library->state = LIBRARY_PLANNED;
		libraries->by_index[index] = library;
		if (index == libraries->index_count)
			libraries->index_count++;
	} else if (err != -ENOMEM) {
		library->state = LIBRARY_UNSUPPORTED;
		report_unsupported(library, pid, &report);
		err = 0;
	}
	strbuf_fini(&report);
	return err;
}

/* Looks into the file. *out stays NULL when it is no runtime's library. */
static int examine(struct libraries *libraries, int fd, pid_t pid, const char *path, struct library **out)
{
	struct library *library = NULL;
	struct elf_file *file;
	int err;

	/* What is mapped executable need not be an ELF file of ours: then it is simply none. */
	err = elf_file_open(fd, path, &file);
	if (err)
		return err == -ENOEXEC || err == -ENOTSUP || err == -EINVAL ? 0 : err;
	for (size_t i = 0; runtime_all[i] && !library; i++) {
		if (!runtime_all[i]->recognise(file))
			continue;
		library = calloc(1, sizeof(*library));
		if (library)
			library->path = strdup(path);
		if (!library || !library->path) {
			err = -ENOMEM;
			break;
		}
		library->fd = -1;
		err = plan_library(libraries, library, file, runtime_all[i], pid);
	}
	if (!library && !err)
		err = elf_file_error(file);
	elf_file_close(file);
	if (err) {
		library_free(library);
		library = NULL;
	}
	*out = library;
	return err;
}

static int add_entry(struct libraries *libraries, const struct identity *identity, const struct timespec *written,
		     struct library *library)
{
	struct entry *grown;

	if (libraries->count == libraries->capacity) {
		size_t capacity = libraries->capacity ? 2 * libraries->capacity : 64;

		grown = realloc(libraries->entries, capacity * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		libraries->entries = grown;
		libraries->capacity = capacity;
	}
	libraries->entries[libraries->count++] = (struct entry){
		.identity = *identity,
		.written = *written,
		.library = library,
	};
	return 0;
}

void libraries_remove(struct libraries *libraries, struct library *library)
{
	size_t kept = 0;

	for (size_t i = 0; i < libraries->count; i++) {
		if (libraries->entries[i].library != library)
			libraries->entries[kept++] = libraries->entries[i];
	}
	libraries->count = kept;
	if (library->index < libraries->index_count && libraries->by_index[library->index] == library)
		libraries->by_index[library->index] = NULL;
	library_free(library);
}

void libraries_merge(struct libraries *libraries, struct library *library, struct library *twin)
{
	for (size_t i = 0; i < libraries->count; i++) {
		if (libraries->entries[i].library != library)
			continue;
		libraries->entries[i].library = twin;
		libraries->entries[i].alias = true;
	}
	libraries_remove(libraries, library);
}

/* So that a user who maps one after the other does not fill our memory. */
static void forget_oldest_unsupported(struct libraries *libraries)
{
	struct library *oldest = NULL;
	size_t count = 0;

	for (size_t i = 0; i < libraries->count; i++) {
		if (libraries->entries[i].library->state != LIBRARY_UNSUPPORTED ||
		    libraries->entries[i].library->fd >= 0)
			continue;
		oldest = oldest ? oldest : libraries->entries[i].library;
		count++;
	}
	if (count > MAX_UNSUPPORTED)
		libraries_remove(libraries, oldest);
}

struct closing {
	struct live_attachment attachment, destroy;
	struct timespec end;
};

static void *close_attachments(void *argument)
{
	struct closing *closing = argument;

	live_attachment_close(&closing->destroy);
	live_attachment_close(&closing->attachment);
	clock_gettime(CLOCK_BOOTTIME, &closing->end);
	return closing;
}

int library_begin_close(struct library *library)
{
	struct closing *closing = malloc(sizeof(*closing));
	int err;

	if (!closing)
		return -ENOMEM;
	*closing = (struct closing){.attachment = library->attachment, .destroy = library->destroy};
	err = pthread_create(&library->closer, NULL, close_attachments, closing);
	if (err) {
		free(closing);
		return -err;
	}
	memset(&library->attachment, 0, sizeof(library->attachment));
	memset(&library->destroy, 0, sizeof(library->destroy));
	library->destroy_armed = false;
	library->state = LIBRARY_CLOSING;
	return 0;
}

bool library_end_close(struct library *library, unsigned int wait_ms)
{
	struct closing *closing;
	struct timespec until;
	void *result;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += wait_ms % 1000 * 1000000l;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	if (pthread_clockjoin_np(library->closer, &result, CLOCK_MONOTONIC, &until))
		return false;
	closing = result;
	library->closed_ns = (uint64_t)closing->end.tv_sec * 1000000000 + (uint64_t)closing->end.tv_nsec;
	library->state = library->overwritten ? LIBRARY_UNSUPPORTED : LIBRARY_PLANNED;
	free(closing);
	return true;
}

bool library_is_deleted(const struct library *library)
{
	struct stat st;

	return library->fd >= 0 && !fstat(library->fd, &st) && !st.st_nlink;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_content(const struct entry *entry, const struct stat *st, const char *build_id)
{
	return entry->identity.size == st->st_size && (same_time(&entry->written, &st->st_mtim) ||
						       (build_id[0] && !strcmp(entry->library->build_id, build_id)));
}

static bool may_be_overwritten(const struct entry *entry)
{
	return !entry->alias && entry->library->fd >= 0 && !entry->library->overwritten;
}

static void set_overwritten(struct library *library)
{
	struct strbuf path = STRBUF_INIT;

	escape_terminal(&path, library->path, strlen(library->path));
	log_warning("%s was overwritten in place: processes that map its old contents are not exact (rename a new file "
		    "to its name instead, as package managers do)",
		    strbuf_str(&path));
	strbuf_fini(&path);
	library->overwritten = true;
	snprintf(library->why, sizeof(library->why), "its file was overwritten in place");
	if (library->state == LIBRARY_PLANNED)
		library->state = LIBRARY_UNSUPPORTED;
}

/* Something else is in this file now. */
static void file_overwritten(struct libraries *libraries, const struct identity *identity)
{
	for (size_t i = 0; i < libraries->count; i++) {
		struct entry *entry = &libraries->entries[i];

		if (may_be_overwritten(entry) && entry->identity.device == identity->device &&
		    entry->identity.inode == identity->inode)
			set_overwritten(entry->library);
	}
}

void libraries_check_contents(struct libraries *libraries)
{
	for (size_t i = 0; i < libraries->count; i++) {
		struct entry *entry = &libraries->entries[i];
		struct elf_file *file = NULL;
		struct stat st;

		if (!may_be_overwritten(entry) || fstat(entry->library->fd, &st) || same_content(entry, &st, ""))
			continue;
		if (elf_file_open(entry->library->fd, entry->library->path, &file) ||
		    !same_content(entry, &st, elf_file_build_id(file)))
			set_overwritten(entry->library);
		else
			entry->written = st.st_mtim;
		elf_file_close(file);
	}
}

bool library_same_file(const struct library *a, const struct library *b)
{
	struct stat one, other;

	return a->fd >= 0 && b->fd >= 0 && !fstat(a->fd, &one) && !fstat(b->fd, &other) && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

/*
 * The inode of a file that is kept open is given to no other: it is the same file with another mode, owner or
 * name, and attaching to it once more would tell each of its events twice.
 */
static struct entry *entry_of_touched(const struct libraries *libraries, const struct stat *st,
				      const struct library *library)
{
	for (size_t i = 0; i < libraries->count; i++) {
		struct entry *entry = &libraries->entries[i];

		if (entry->library->fd >= 0 && !entry->library->overwritten && entry->identity.device == st->st_dev &&
		    entry->identity.inode == st->st_ino && same_content(entry, st, library->build_id))
			return entry;
	}
	return NULL;
}

/* Takes over @fd if it is a runtime's library. @pid: for messages; 0: none. */
static int libraries_of_fd(struct libraries *libraries, int fd, pid_t pid, const char *path, struct library **out)
{
	struct library *library = NULL;
	struct identity identity;
	struct entry *touched;
	struct stat st;
	int err;

	*out = NULL;
	if (fstat(fd, &st)) {
		err = -errno;
		goto out;
	}
	identity = (struct identity){st.st_dev, st.st_ino, st.st_size, st.st_ctim};
	for (size_t i = 0; i < libraries->count; i++) {
		if (!libraries->entries[i].library->overwritten &&
		    same_identity(&libraries->entries[i].identity, &identity)) {
			*out = libraries->entries[i].library;
			err = 0;
			goto out;
		}
	}
	if (same_identity(other_slot(libraries, &identity), &identity)) {
		err = 0;
		goto out;
	}
	err = S_ISREG(st.st_mode) ? examine(libraries, fd, pid, path, &library) : 0;
	if (err)
		goto out;
	touched = library ? entry_of_touched(libraries, &st, library) : NULL;
	if (!touched)
		file_overwritten(libraries, &identity);
	if (!library) {
		*other_slot(libraries, &identity) = identity;
		goto out;
	}
	if (touched) {
		touched->identity = identity;
		touched->written = st.st_mtim;
		*out = touched->library;
		libraries_remove(libraries, library);
		goto out;
	}
	err = add_entry(libraries, &identity, &st.st_mtim, library);
	if (err) {
		libraries_remove(libraries, library);
		goto out;
	}
	if (library->state == LIBRARY_PLANNED) {
		library->fd = fd;
		fd = -1;
	} else {
		forget_oldest_unsupported(libraries);
	}
	*out = library;
out:
	if (fd >= 0)
		close(fd);
	return err;
}

int libraries_of_mapping(struct libraries *libraries, pid_t pid, const struct procfs_mapping *mapping,
			 struct library **out)
{
	int fd = procfs_open_mapping(pid, mapping);

	*out = NULL;
	if (fd == -EPERM || fd == -EACCES || fd == -EMFILE || fd == -ENFILE)
		return fd;
	/* Gone, or no file at all: a device that is mapped executable. */
	return fd < 0 ? fd == -EINVAL ? 0 : -ESRCH : libraries_of_fd(libraries, fd, pid, mapping->path, out);
}

int libraries_of_file(struct libraries *libraries, const char *path, struct library **out)
{
	int fd = procfs_open_regular(path);

	*out = NULL;
	return fd < 0 ? fd : libraries_of_fd(libraries, fd, 0, path, out);
}

uint64_t library_base(const struct library *library, const struct procfs_mapping *mapping)
{
	return mapping->start - mapping->offset + library->exec_offset - library->exec_vaddr;
}

bool library_code_intact(const struct library *library, pid_t pid, uint64_t base, bool *breakpoint)
{
	uint8_t in_file[8], in_memory[8];

	*breakpoint = false;
	for (size_t i = 0; i < library->plan.probe_count; i++) {
		const struct place *place = &library->plan.probes[i].place;

		if (pread(library->fd, in_file, sizeof(in_file), (off_t)place->file_offset) != sizeof(in_file))
			return false;
		/* Code that cannot be read now is not evidence of anything: the process may be ending. */
		if (procfs_read_memory(pid, base + place->vaddr, in_memory, sizeof(in_memory)))
			continue;
		if (in_memory[0] == 0xcc) {
			if (i == 0)
				*breakpoint = true;
			in_memory[0] = in_file[0];
		}
		if (in_memory[0] != in_file[0])
			return false;
	}
	return true;
}

bool library_probes_in_place(const struct library *library, pid_t pid, uint64_t base)
{
	uint8_t in_file[8], in_memory[8];

	for (size_t i = 0; i < library->plan.probe_count; i++) {
		const struct probe_plan *probe = &library->plan.probes[i];

		/* That one comes and goes. */
		if (probe->role == PROBE_DESTROY)
			continue;
		if (pread(library->fd, in_file, sizeof(in_file), (off_t)probe->place.file_offset) == sizeof(in_file) &&
		    !procfs_read_memory(pid, base + probe->place.vaddr, in_memory, sizeof(in_memory)) &&
		    !memcmp(in_file, in_memory, sizeof(in_file)))
			return false;
	}
	return true;
}

/*
 * Is what stands there still the file's own bytes? The loader maps the whole library from its beginning,
 * then the parts over it, and clears what is behind the data: until it has, a counter holds something else.
 */
static bool not_cleared_yet(const struct library *library, const struct procfs_mapping *mapping, uint64_t address,
			    const uint64_t *value)
{
	off_t at = (off_t)(mapping->offset + (address - mapping->start));
	uint64_t in_file;

	if (!mapping->inode)
		return false;
	/* Beyond the file's end there is nothing to be read, neither here nor there. */
	if (pread(library->fd, &in_file, sizeof(in_file), at) != sizeof(in_file))
		return true;
	return value && *value && *value == in_file;
}

int64_t library_objects_made(const struct library *library, pid_t pid, uint64_t base)
{
	uint64_t address = base + library->plan.made_counter_vaddr, made = 0;
	struct procfs_mapping before, after;
	unsigned int attempts = 0;
	bool readable;

	/* The loader goes on meanwhile: until the value was read under one and the same mapping. */
	do {
		if (!library->plan.made_counter_vaddr || attempts++ == MAX_ATTEMPTS ||
		    procfs_mapping_at(pid, address, &before))
			return -1;
		readable = !procfs_read_memory(pid, address, &made, sizeof(made));
		if (procfs_mapping_at(pid, address, &after))
			return -1;
	} while (memcmp(&before, &after, sizeof(before)) != 0);
	/* No code of a library runs before it is loaded. */
	if (not_cleared_yet(library, &after, address, readable ? &made : NULL))
		return 0;
	return readable && made <= INT64_MAX ? (int64_t)made : -1;
}

static const struct identity *identity_of(const struct libraries *libraries, const struct library *library)
{
	for (size_t i = 0; i < libraries->count; i++) {
		if (libraries->entries[i].library == library && !libraries->entries[i].alias)
			return &libraries->entries[i].identity;
	}
	return NULL;
}

struct library *libraries_twin(const struct libraries *libraries, const struct library *library)
{
	const struct identity *mine = identity_of(libraries, library);

	for (size_t i = 0; mine && i < libraries->count; i++) {
		const struct identity *other = &libraries->entries[i].identity;
		struct library *candidate = libraries->entries[i].library;

		if (candidate != library && candidate->state == LIBRARY_ATTACHED && other->inode == mine->inode &&
		    other->size == mine->size && other->device != mine->device && library->build_id[0] &&
		    !strcmp(candidate->build_id, library->build_id))
			return candidate;
	}
	return NULL;
}
