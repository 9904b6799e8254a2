/* SPDX-License-Identifier: BSD-2-Clause */
/* The C interface: handles that hold what a tensor and a device of the real runtime hold. */
#include <algorithm>
#include <cstring>
#include <string>

#include "runtime.hh"
#include "standin.h"

using namespace tt::tt_metal;
using distributed::MeshDevice;
using distributed::MeshDeviceImpl;

/* One of the two is set. Buffers keep weak references only, as in the real runtime. */
struct standin_device {
	std::shared_ptr<MeshDevice> mesh;
	std::shared_ptr<Device> chip;

	IDevice *get() const
	{
		return mesh ? static_cast<IDevice *>(mesh.get()) : chip.get();
	}
};

struct standin_buffer {
	std::weak_ptr<MeshDevice> mesh;
	std::weak_ptr<Device> chip;
	std::shared_ptr<Buffer> owner;
	std::vector<std::shared_ptr<Buffer>> views;
	std::vector<int> chips;

	bool device_exists() const
	{
		return mesh.lock() || chip.lock();
	}
};

static thread_local std::string last_error;

static std::shared_ptr<Device> open_device(int chip)
{
	auto device = std::make_shared<Device>(chip);

	device->initialize();
	return device;
}

extern "C" struct standin_device *standin_open_mesh(int chips)
{
	static const int t3k_order[] = {4, 0, 2, 6, 5, 1, 3, 7};
	std::vector<std::shared_ptr<Device>> devices;

	if (chips < 1 || chips > STANDIN_MAX_CHIPS) {
		last_error = "number of chips out of range";
		return nullptr;
	}
	for (int i = 0; i < chips; i++)
		devices.push_back(open_device(chips == 8 ? t3k_order[i] : i));
	return new standin_device{std::make_shared<MeshDevice>(std::make_unique<MeshDeviceImpl>(devices, nullptr)),
				  nullptr};
}

extern "C" struct standin_device *standin_open_submesh(struct standin_device *parent, int first, int count)
{
	if (!parent->mesh || first < 0 || count < 1 || size_t(first + count) > parent->mesh->pimpl_->chips_.size()) {
		last_error = "no such part of a mesh";
		return nullptr;
	}
	auto begin = parent->mesh->pimpl_->chips_.begin() + first;
	std::vector<std::shared_ptr<Device>> devices(begin, begin + count);
	auto mesh = std::make_shared<MeshDevice>(std::make_unique<MeshDeviceImpl>(devices, parent->mesh));

	parent->mesh->pimpl_->submeshes_.push_back(mesh);
	return new standin_device{mesh, nullptr};
}

extern "C" struct standin_device *standin_open_chip(int chip)
{
	return new standin_device{nullptr, open_device(chip)};
}

extern "C" void standin_close(struct standin_device *device, enum standin_close how)
{
	if (how == STANDIN_CLOSE_EACH)
		for (Buffer *buffer : device->get()->allocator_impl()->allocated())
			DeallocateBuffer(*buffer);
	device->get()->close();
}

extern "C" void standin_drop_device(struct standin_device *device)
{
	delete device;
}

extern "C" uint64_t standin_device_object(const struct standin_device *device)
{
	return reinterpret_cast<uint64_t>(device->get());
}

static void make_views(struct standin_buffer *handle, struct standin_device *device)
{
	Buffer *owner = handle->owner.get();

	if (!device->mesh) {
		handle->chips.push_back(device->chip->id());
		return;
	}
	for (IDevice *chip : device->mesh->get_view().get_devices()) {
		handle->chips.push_back(chip->id());
		handle->views.push_back(
			std::remove_pointer_t<decltype(owner->impl())>::create(chip, owner->address(), owner->size(),
									       owner->page_size(), owner->buffer_type(),
									       {}, std::nullopt, std::nullopt));
	}
}

extern "C" struct standin_buffer *standin_alloc(struct standin_device *device, enum standin_type type, uint64_t size,
						uint64_t page_size, enum standin_alloc how)
{
	auto handle = std::make_unique<standin_buffer>();

	handle->mesh = device->mesh;
	handle->chip = device->chip;
	next_allocation = static_cast<NextAllocation>(how);
	try {
		handle->owner =
			std::remove_pointer_t<decltype(handle->owner->impl())>::create(device->get(), size, page_size,
										       static_cast<BufferType>(type),
										       {}, std::nullopt, std::nullopt);
		make_views(handle.get(), device);
	} catch (const std::runtime_error &error) {
		last_error = error.what();
		handle.reset();
	}
	next_allocation = NextAllocation::Tracked;
	return handle.release();
}

extern "C" void standin_deallocate(struct standin_buffer *buffer)
{
	if (buffer->device_exists())
		DeallocateBuffer(*buffer->owner);
}

extern "C" void standin_deallocate_silent(struct standin_buffer *buffer)
{
	silent_deallocation = true;
	standin_deallocate(buffer);
	silent_deallocation = false;
}

extern "C" void standin_track_deallocate(struct standin_buffer *buffer)
{
	GraphTracker::instance().track_deallocate(buffer->owner.get());
}

extern "C" void standin_drop(struct standin_buffer *buffer)
{
	/* The device is gone: the real MeshBuffer marks its buffer, so that nobody calls the device. */
	if (!buffer->device_exists())
		buffer->owner->impl()->allocation_status_ = AllocationStatus::DEALLOCATED;
	delete buffer;
}

extern "C" void standin_facts(const struct standin_buffer *buffer, struct standin_facts *facts)
{
	auto *m = buffer->owner->impl();
	bool exists = buffer->device_exists();

	memset(facts, 0, sizeof(*facts));
	facts->object = reinterpret_cast<uint64_t>(buffer->owner.get());
	facts->device_object = reinterpret_cast<uint64_t>(m->device_);
	facts->allocator = reinterpret_cast<uint64_t>(m->allocator_);
	facts->address = m->address_;
	facts->size = m->size_;
	facts->page_size = m->page_size_;
	facts->type = static_cast<int>(m->buffer_type_);
	facts->allocated = m->allocation_status_ == AllocationStatus::ALLOCATED;
	facts->device_open = exists && m->device_->is_initialized();
	if (facts->device_open && !m->hooked_allocation_)
		facts->bytes_per_bank = m->allocator_->bytes_per_bank(m->buffer_type_, m->size_, m->page_size_);
	facts->chip_count = std::min<int>(buffer->chips.size(), STANDIN_MAX_CHIPS);
	std::copy_n(buffer->chips.begin(), facts->chip_count, facts->chips);
}

extern "C" const char *standin_layout(void)
{
#ifdef STANDIN_PIMPL
	return "pimpl";
#else
	return "plain";
#endif
}

extern "C" const char *standin_error(void)
{
	return last_error.c_str();
}
