/* SPDX-License-Identifier: BSD-2-Clause */
/* Chips and meshes, and what happens when they are closed. */
#include "runtime.hh"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace tt::tt_metal
{
static_assert(offsetof(Device, id_) == 24);

Device::Device(ChipId id) : id_(id), default_allocator_(new AllocatorImpl)
{
}

Device::~Device()
{
	if (initialized_)
		close();
}

bool Device::initialize()
{
	initialized_ = true;
	return true;
}

bool Device::close()
{
	if (!initialized_)
		return false;
	default_allocator_->deallocate_buffers();
	initialized_ = false;
	return true;
}

namespace distributed
{
static_assert(sizeof(MaybeRemote<IDevice *>) == 16);
static_assert(offsetof(MeshDeviceViewImpl, devices_) == 0x178);
#ifdef STANDIN_PIMPL
static_assert(offsetof(MeshDeviceImpl, view_) == 0x70);
#else
static_assert(offsetof(MeshDeviceImpl, view_) == 0x58);
#endif
static_assert(offsetof(MeshDevice, pimpl_) == 24);

MeshDeviceView::MeshDeviceView(const std::vector<IDevice *> &devices) : pimpl_(new MeshDeviceViewImpl)
{
	for (IDevice *device : devices)
		pimpl_->devices_.emplace_back(device);
}

MeshDeviceView::~MeshDeviceView() = default;

std::vector<IDevice *> MeshDeviceView::get_devices() const
{
	return extract_locals(pimpl_->devices_);
}

static std::atomic<int> next_mesh_id;

MeshDeviceImpl::MeshDeviceImpl(const std::vector<std::shared_ptr<Device>> &devices, std::shared_ptr<MeshDevice> parent)
    : mesh_id_(next_mesh_id++), parent_mesh_(std::move(parent)), allocator_(new AllocatorImpl), chips_(devices)
{
	std::vector<IDevice *> pointers;

	for (const auto &device : devices)
		pointers.push_back(device.get());
	view_ = std::make_unique<MeshDeviceView>(pointers);
	initialized_ = true;
}

MeshDeviceImpl::~MeshDeviceImpl() = default;

ChipId MeshDeviceImpl::id() const
{
	return mesh_id_;
}

ChipId MeshDeviceImpl::build_id() const
{
	return chips_.front()->id();
}

bool MeshDeviceImpl::is_initialized() const
{
	return initialized_;
}

AllocatorImpl *MeshDeviceImpl::allocator_impl() const
{
	return allocator_.get();
}

bool MeshDeviceImpl::close()
{
	return close_impl(nullptr);
}

bool MeshDeviceImpl::close_impl(MeshDevice *)
{
	if (!is_initialized())
		return false;
	for (const auto &weak : submeshes_)
		if (auto submesh = weak.lock())
			submesh->close();
	allocator_->deallocate_buffers();
	initialized_ = false;
	if (!parent_mesh_)
		for (const auto &chip : chips_)
			chip->close();
	return true;
}

MeshDevice::MeshDevice(std::unique_ptr<MeshDeviceImpl> pimpl) : pimpl_(std::move(pimpl))
{
}

MeshDevice::~MeshDevice()
{
	pimpl_->close_impl(this);
}

tt::ARCH MeshDevice::arch() const
{
	return pimpl_->arch();
}

ChipId MeshDevice::id() const
{
	return static_cast<const IDevice *>(pimpl_.get())->id();
}

ChipId MeshDevice::build_id() const
{
	return pimpl_->build_id();
}

uint8_t MeshDevice::num_hw_cqs() const
{
	return pimpl_->num_hw_cqs();
}

bool MeshDevice::is_initialized() const
{
	return pimpl_->is_initialized();
}

AllocatorImpl *MeshDevice::allocator_impl() const
{
	return pimpl_->allocator_impl();
}

bool MeshDevice::close()
{
	return pimpl_->close_impl(this);
}

const MeshDeviceView &MeshDevice::get_view() const
{
	if (!pimpl_->view_)
		return standin_throw_no_view(__FILE__, __LINE__);
	return *pimpl_->view_;
}
} // namespace distributed
} // namespace tt::tt_metal
