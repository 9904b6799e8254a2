/* SPDX-License-Identifier: BSD-2-Clause */
/* Named moments; see marks.h. */
#include "cmd/marks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/moment.h"

int marks_new_file(void)
{
	int fd = memfd_create("bufscope-mark", MFD_CLOEXEC);

	return fd >= 0 ? fd : -errno;
}

static bool same_set(const struct peer *a, const struct peer *b)
{
	return a->sees_all ? b->sees_all : !b->sees_all && a->user == b->user;
}

bool marks_visible(const struct mark *mark, const struct peer *asker)
{
	return same_set(&mark->owner, asker);
}

const struct mark *marks_find(const struct marks *marks, const struct peer *asker, const char *name)
{
	for (size_t i = 0; i < marks->count; i++) {
		if (marks_visible(&marks->list[i], asker) && !strcmp(marks->list[i].name, name))
			return &marks->list[i];
	}
	return NULL;
}

static void drop(struct marks *marks, size_t at)
{
	close(marks->list[at].fd);
	marks->count--;
	memmove(&marks->list[at], &marks->list[at + 1], (marks->count - at) * sizeof(marks->list[0]));
}

/* Of @owner's set only, or of all. */
static void sum(const struct marks *marks, const struct peer *owner, size_t *count, uint64_t *bytes)
{
	*count = 0;
	*bytes = 0;
	for (size_t i = 0; i < marks->count; i++) {
		if (owner && !same_set(&marks->list[i].owner, owner))
			continue;
		++*count;
		*bytes += marks->list[i].bytes;
	}
}

static void drop_oldest(struct marks *marks, const struct peer *owner)
{
	size_t oldest = 0;

	while (!same_set(&marks->list[oldest].owner, owner))
		oldest++;
	drop(marks, oldest);
}

/*
 * A user's marks never displace those of others: would there be no room even without their own, nothing is
 * given up. @old, the one of the same name, goes in any case.
 */
static int make_room(struct marks *marks, const struct peer *owner, const struct mark *old, uint64_t bytes,
		     unsigned int *dropped)
{
	uint64_t limit = owner->sees_all ? MARKS_MAX_BYTES : MARKS_MAX_USER_BYTES;
	size_t most = owner->sees_all ? MARKS_MAX : MARKS_MAX_USER;
	size_t own_count, all_count;
	uint64_t own_bytes, all_bytes;

	sum(marks, owner, &own_count, &own_bytes);
	sum(marks, NULL, &all_count, &all_bytes);
	if (bytes > limit || all_count - own_count >= MARKS_MAX || all_bytes - own_bytes + bytes > MARKS_MAX_BYTES)
		return -EFBIG;
	if (old)
		drop(marks, (size_t)(old - marks->list));
	for (;;) {
		sum(marks, owner, &own_count, &own_bytes);
		sum(marks, NULL, &all_count, &all_bytes);
		if (own_count < most && own_bytes + bytes <= limit && all_count < MARKS_MAX &&
		    all_bytes + bytes <= MARKS_MAX_BYTES)
			return 0;
		drop_oldest(marks, owner);
		++*dropped;
	}
}

int marks_add(struct marks *marks, const struct peer *owner, const char *name, int fd, unsigned int *dropped)
{
	const struct mark *old = marks_find(marks, owner, name);
	struct mark mark = {.owner = *owner, .fd = fd};
	struct moment_head head;
	struct stat st;
	int err = 0;

	*dropped = 0;
	snprintf(mark.name, sizeof(mark.name), "%s", name);
	if (fstat(fd, &st))
		err = -errno;
	else if (pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
		err = -EIO;
	if (!err) {
		mark.bytes = (uint64_t)st.st_size;
		mark.time_ns = head.now_ns;
		err = make_room(marks, owner, old, mark.bytes, dropped);
	}
	if (err) {
		close(fd);
		return err;
	}
	marks->list[marks->count++] = mark;
	return 0;
}

void marks_fini(struct marks *marks)
{
	while (marks->count)
		drop(marks, marks->count - 1);
}

const void *marks_map(const struct mark *mark)
{
	void *data = mmap(NULL, mark->bytes, PROT_READ, MAP_PRIVATE, mark->fd, 0);

	return data != MAP_FAILED ? data : NULL;
}

void marks_unmap(const struct mark *mark, const void *data)
{
	if (data)
		munmap((void *)data, mark->bytes);
}
