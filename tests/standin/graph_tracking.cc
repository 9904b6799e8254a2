/* SPDX-License-Identifier: BSD-2-Clause */
/* The tracker, alone in its file as in the real library. No processor is ever registered. */
#include "runtime.hh"

namespace tt::tt_metal
{
GraphTracker &GraphTracker::instance()
{
	/* Never destroyed: buffers may be freed by destructors of static objects. */
	static GraphTracker *tracker = new GraphTracker;

	return *tracker;
}

void GraphTracker::track_allocate(const Buffer *buffer)
{
	for (auto &processor : processors)
		processor->track_allocate(buffer);
}

void GraphTracker::track_deallocate(Buffer *buffer)
{
	for (auto &processor : processors)
		processor->track_deallocate(buffer);
}

bool GraphTracker::hook_allocate(const Buffer *)
{
	return next_allocation == NextAllocation::Hooked;
}
} // namespace tt::tt_metal
