/* SPDX-License-Identifier: BSD-2-Clause */
/* One software event and one small buffer per CPU. Owns both. */
#include "source/map_watch.h"

#include <errno.h>
#include <limits.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DATA_PAGES 16 /* a power of two; a record is about 150 bytes */

struct map_watch {
	int epoll_fd;
	size_t cpu_count;
	size_t data_bytes, map_bytes;
	struct {
		int fd;
		void *map;
	} cpu[];
};

static int open_cpu(struct map_watch *watch, size_t cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.size = sizeof(attr),
		.mmap = 1,
		.mmap2 = 1,
		/* By bytes: the kernel counts wakeup_events for samples only, and these are none. */
		.watermark = 1,
		.wakeup_watermark = 1,
	};
	struct epoll_event event = {.events = EPOLLIN};
	void *map;
	int fd;

	fd = syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return errno == ENODEV ? 0 : -errno; /* an offline CPU */
	watch->cpu[cpu].fd = fd;
	map = mmap(NULL, watch->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	watch->cpu[cpu].map = map;
	return epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int map_watch_open(struct map_watch **out)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF), page = sysconf(_SC_PAGESIZE);
	struct map_watch *watch;
	int err = 0;

	watch = calloc(1, sizeof(*watch) + (size_t)cpus * sizeof(watch->cpu[0]));
	if (!watch)
		return -ENOMEM;
	watch->cpu_count = (size_t)cpus;
	watch->data_bytes = DATA_PAGES * (size_t)page;
	watch->map_bytes = watch->data_bytes + (size_t)page;
	for (size_t i = 0; i < watch->cpu_count; i++)
		watch->cpu[i].fd = -1;
	watch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (watch->epoll_fd < 0)
		err = -errno;
	for (size_t i = 0; !err && i < watch->cpu_count; i++)
		err = open_cpu(watch, i);
	if (err) {
		map_watch_close(watch);
		return err;
	}
	*out = watch;
	return 0;
}

void map_watch_close(struct map_watch *watch)
{
	if (!watch)
		return;
	for (size_t i = 0; i < watch->cpu_count; i++) {
		if (watch->cpu[i].map)
			munmap(watch->cpu[i].map, watch->map_bytes);
		if (watch->cpu[i].fd >= 0)
			close(watch->cpu[i].fd);
	}
	if (watch->epoll_fd >= 0)
		close(watch->epoll_fd);
	free(watch);
}

int map_watch_fd(const struct map_watch *watch)
{
	return watch->epoll_fd;
}

/* Copies out of the circular buffer, over its end if need be. */
static void copy_out(const struct map_watch *watch, const char *data, uint64_t at, void *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((char *)to)[i] = data[(at + i) & (watch->data_bytes - 1)];
}

/* PERF_RECORD_MMAP2 as perf_event_open(2) has it; the file's name follows. */
struct mmap2_record {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t address, length, offset;
	uint32_t major, minor;
	uint64_t inode, generation;
	uint32_t protection, flags;
};

static void read_mapping(const struct map_watch *watch, const char *data, uint64_t at, uint16_t size,
			 map_watch_visitor mapped, void *context)
{
	struct map_watch_mapping mapping = {0};
	struct mmap2_record record;
	char path[PATH_MAX + 1];
	size_t len;

	if (size <= sizeof(record))
		return;
	copy_out(watch, data, at, &record, sizeof(record));
	len = size - sizeof(record);
	len = len < PATH_MAX ? len : PATH_MAX;
	copy_out(watch, data, at + sizeof(record), path, len);
	path[len] = 0;
	mapping.path = path;
	mapping.pid = record.pid;
	mapping.file = (struct map_file){record.major, record.minor, record.inode, record.generation};
	mapped(context, &mapping);
}

static uint64_t read_cpu(struct map_watch *watch, struct perf_event_mmap_page *page, map_watch_visitor mapped,
			 void *context)
{
	const char *data = (const char *)page + (watch->map_bytes - watch->data_bytes);
	uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE), tail = page->data_tail, lost = 0;
	struct perf_event_header header;
	struct {
		uint64_t id, lost;
	} loss;

	/*
	 * The kernel says that it lost records with the next one that finds room, which may come late or never. So where
	 * another might not have found room, one is taken for lost.
	 */
	if (head - tail > watch->data_bytes - sizeof(struct mmap2_record) - PATH_MAX)
		lost++;
	while (tail < head) {
		copy_out(watch, data, tail, &header, sizeof(header));
		if (header.size < sizeof(header))
			break;
		if (header.type == PERF_RECORD_MMAP2) {
			read_mapping(watch, data, tail, header.size, mapped, context);
		} else if (header.type == PERF_RECORD_LOST) {
			copy_out(watch, data, tail + sizeof(header), &loss, sizeof(loss));
			lost += loss.lost;
		}
		tail += header.size;
	}
	__atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
	return lost;
}

uint64_t map_watch_read(struct map_watch *watch, map_watch_visitor mapped, void *context)
{
	uint64_t lost = 0;

	for (size_t i = 0; i < watch->cpu_count; i++) {
		if (watch->cpu[i].map)
			lost += read_cpu(watch, watch->cpu[i].map, mapped, context);
	}
	return lost;
}
