/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tracker call while the page of every object is absent, as after NUMA balancing or swapping:
 * the heap is replaced by a mapping of a copy, none of whose pages was touched yet.
 */
#include <cstdio>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime.hh"
#include "standin.h"

using namespace tt::tt_metal;

struct heap {
	char *begin, *end;
};

static heap find_heap()
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], name[16];
	heap found = {};

	while (maps && !found.begin && fgets(line, sizeof(line), maps)) {
		void *begin, *end;

		if (sscanf(line, "%p-%p %*s %*s %*s %*s %15s", &begin, &end, name) == 3 &&
		    std::string(name) == "[heap]")
			found = {static_cast<char *>(begin), static_cast<char *>(end)};
	}
	if (maps)
		fclose(maps);
	return found;
}

extern "C" int standin_track_allocate_absent(struct standin_buffer *buffer)
{
	struct standin_facts facts;
	heap heap = find_heap();
	size_t size = heap.end - heap.begin;
	int fd = memfd_create("heap", MFD_CLOEXEC);

	standin_facts(buffer, &facts);
	auto object = reinterpret_cast<const Buffer *>(facts.object);
	GraphTracker &tracker = GraphTracker::instance();

	if (fd < 0 || write(fd, heap.begin, size) != static_cast<ssize_t>(size))
		return -1;
	/* From here to the call nothing may touch the heap. */
	if (mmap(heap.begin, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
		return -1;
	tracker.track_allocate(object);
	close(fd);
	return 0;
}
