/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Buffer: the order of calls around an allocation and a free, and the accessors whose machine code
 * gives away the layout. Kept apart from the tracker and the allocator, as in the real library, so
 * that calls to them go through the PLT.
 */
#include "runtime.hh"

/* Classes with a base are not standard layout; gcc and clang agree on the offsets all the same. */
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace tt::tt_metal
{
#ifdef STANDIN_PIMPL
using Members = BufferImpl;
static_assert(offsetof(Buffer, pimpl_) == 16);
constexpr size_t kShift = 16;
#else
using Members = Buffer;
constexpr size_t kShift = 0;
#endif
static_assert(offsetof(Members, device_) == 16 - kShift);
static_assert(offsetof(Members, size_) == 24 - kShift);
static_assert(offsetof(Members, buffer_type_) == 32 - kShift);
static_assert(offsetof(Members, owns_data_) == 43 - kShift);
static_assert(offsetof(Members, allocator_) == 64 - kShift);
static_assert(offsetof(Members, allocation_status_) == 72 - kShift);
static_assert(offsetof(Members, hooked_allocation_) == 73 - kShift);
static_assert(offsetof(Members, address_) == 80 - kShift);
static_assert(offsetof(Members, page_size_) == 88 - kShift);

thread_local NextAllocation next_allocation;
thread_local bool silent_deallocation;
std::atomic<size_t> Members::next_unique_id;

static void check_pages(DeviceAddr size, DeviceAddr page_size)
{
	if (page_size == 0 ? size != 0 : size % page_size != 0)
		assert::standin_throw(__FILE__, __LINE__, "size % page_size == 0", "For valid non-interleaved buffers");
}

/* A constructor cannot be defined through an alias of its class. */
#ifdef STANDIN_PIMPL
BufferImpl::BufferImpl(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type, bool owns_data)
#else
Buffer::Buffer(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type, bool owns_data)
#endif
    : device_(device), size_(size), buffer_type_(type), bottom_up_(type == BufferType::DRAM), owns_data_(owns_data),
      page_size_(page_size), unique_id_(next_unique_id.fetch_add(1))
{
	check_pages(size, page_size);
}

static void allocate(Members &m, Buffer &buffer)
{
	if (GraphTracker::instance().hook_allocate(&buffer)) {
		m.address_ = 0;
		m.hooked_allocation_ = true;
	} else {
		m.address_ = m.allocator_->allocate_buffer(&buffer);
	}
	m.allocation_status_ = AllocationStatus::ALLOCATED;
	if (next_allocation != NextAllocation::Silent)
		GraphTracker::instance().track_allocate(&buffer);
}

static void deallocate_memory(Members &m, Buffer &buffer)
{
	if (m.allocation_status_ != AllocationStatus::ALLOCATED)
		return;
	if (m.device_->is_initialized() && m.size_ != 0) {
		if (!silent_deallocation)
			GraphTracker::instance().track_deallocate(&buffer);
		if (!m.hooked_allocation_)
			m.allocator_->deallocate_buffer(&buffer);
	}
	m.allocation_status_ = AllocationStatus::DEALLOCATED;
}

static std::shared_ptr<Buffer> finish_owner(std::shared_ptr<Buffer> buffer)
{
	Members *m = buffer->impl();

	m->allocator_ = m->device_->allocator_impl();
	if (m->size_ == 0)
		m->allocation_status_ = AllocationStatus::ALLOCATED;
	else
#ifdef STANDIN_PIMPL
		m->allocate_impl(*buffer);
#else
		m->allocate_impl();
#endif
	return buffer;
}

static std::shared_ptr<Buffer> finish_view(std::shared_ptr<Buffer> buffer, DeviceAddr address)
{
	Members *m = buffer->impl();

	m->address_ = address;
	m->allocation_status_ = AllocationStatus::ALLOCATED;
	return buffer;
}

#ifdef STANDIN_PIMPL
static std::shared_ptr<Buffer> make(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type, bool owns)
{
	return std::make_shared<Buffer>(std::make_unique<BufferImpl>(device, size, page_size, type, owns));
}
#else
static std::shared_ptr<Buffer> make(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type, bool owns)
{
	return std::make_shared<Buffer>(device, size, page_size, type, owns);
}
#endif

std::shared_ptr<Buffer> Members::create(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type,
					const BufferShardingArgs &, std::optional<bool>, std::optional<SubDeviceId>)
{
	return finish_owner(make(device, size, page_size, type, true));
}

std::shared_ptr<Buffer> Members::create(IDevice *device, DeviceAddr address, DeviceAddr size, DeviceAddr page_size,
					BufferType type, const BufferShardingArgs &, std::optional<bool>,
					std::optional<SubDeviceId>)
{
	return finish_view(make(device, size, page_size, type, false), address);
}

#ifdef STANDIN_PIMPL

void BufferImpl::allocate_impl(Buffer &buffer)
{
	allocate(*this, buffer);
}

void BufferImpl::deallocate(Buffer &buffer)
{
	if (owns_data_)
		deallocate_impl(buffer);
}

void BufferImpl::deallocate_impl(Buffer &buffer)
{
	deallocate_memory(*this, buffer);
}

std::shared_ptr<Buffer> BufferImpl::root_buffer(Buffer &buffer)
{
	return root_buffer_ ? root_buffer_ : buffer.shared_from_this();
}

Buffer::Buffer(std::unique_ptr<BufferImpl> pimpl) : pimpl_(std::move(pimpl))
{
}

Buffer::~Buffer()
{
	if (pimpl_ && pimpl_->allocation_status_ != AllocationStatus::DEALLOCATED && pimpl_->owns_data_)
		pimpl_->deallocate_impl(*this);
}

IDevice *Buffer::device() const
{
	return pimpl_->device_;
}

Allocator *Buffer::allocator() const
{
	return pimpl_->allocator_->view().get();
}

DeviceAddr Buffer::size() const
{
	return pimpl_->size_;
}

bool Buffer::is_allocated() const
{
	return pimpl_->allocation_status_ == AllocationStatus::ALLOCATED;
}

uint32_t Buffer::address() const
{
	if (pimpl_->allocation_status_ == AllocationStatus::ALLOCATION_REQUESTED)
		return assert::standin_throw_no_address(__FILE__, __LINE__);
	return pimpl_->address_;
}

DeviceAddr Buffer::page_size() const
{
	return pimpl_->page_size_;
}

BufferType Buffer::buffer_type() const
{
	return pimpl_->buffer_type_;
}

void DeallocateBuffer(Buffer &buffer)
{
	buffer.pimpl_->deallocate(buffer);
}

#else

void Buffer::allocate_impl()
{
	allocate(*this, *this);
}

void Buffer::deallocate()
{
	if (owns_data_)
		deallocate_impl();
}

void Buffer::deallocate_impl()
{
	deallocate_memory(*this, *this);
}

std::shared_ptr<Buffer> Buffer::root_buffer()
{
	return root_buffer_ ? root_buffer_ : shared_from_this();
}

Buffer::~Buffer()
{
	if (allocation_status_ != AllocationStatus::DEALLOCATED && owns_data_)
		deallocate_impl();
}

Allocator *Buffer::allocator() const
{
	return allocator_->view().get();
}

bool Buffer::is_allocated() const
{
	return allocation_status_ == AllocationStatus::ALLOCATED;
}

uint32_t Buffer::address() const
{
	if (allocation_status_ == AllocationStatus::ALLOCATION_REQUESTED)
		return assert::standin_throw_no_address(__FILE__, __LINE__);
	return address_;
}

DeviceAddr Buffer::page_size() const
{
	return page_size_;
}

bool Buffer::is_trace() const
{
	return buffer_type_ == BufferType::TRACE;
}

bool Buffer::is_valid_region(const BufferRegion &region) const
{
	return region.offset + region.size <= this->size();
}

void Buffer::mark_as_deallocated()
{
	allocation_status_ = AllocationStatus::DEALLOCATED;
}

void DeallocateBuffer(Buffer &buffer)
{
	buffer.deallocate();
}

#endif
} // namespace tt::tt_metal
