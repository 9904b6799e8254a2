/* SPDX-License-Identifier: BSD-2-Clause */
/* In a file of their own, so that they are called through the PLT as the real ones are. */
#include "runtime.hh"

namespace tt::tt_metal::distributed
{
std::vector<IDevice *> extract_locals(const std::vector<MaybeRemote<IDevice *>> &devices)
{
	std::vector<IDevice *> locals;

	locals.reserve(devices.size());
	for (const auto &device : devices)
		if (device.is_local())
			locals.push_back(device.value());
	return locals;
}

const MeshDeviceView &standin_throw_no_view(const char *file, int line)
{
	assert::standin_throw(file, line, "view_", "MeshDeviceView is not initialized");
}
} // namespace tt::tt_metal::distributed
