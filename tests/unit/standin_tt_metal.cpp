// SPDX-License-Identifier: BSD-2-Clause
//
// Stand-in for the parts of TT-Metal's library that a plan is learnt from: the same mangled names,
// the same members in the same order, functions that do the same to them. Never run, only looked at.
// test_tt_metal.c compiles it in several variants (-D...).
//
//  PIMPL        the members are in a BufferImpl behind a pointer, as from 0.79
//  PLAIN_ARRAY  a mesh holds bare pointers, as in 0.60
//  PIMPL_MESH   mesh and view are behind pointers, as from 0.66
//  the rest     damage, one each: see where they are used
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

/* clang would put functions of the same file into each other, which the real library's files prevent */
#define OUTLINE __attribute__((noinline))

namespace tt::assert {
[[noreturn]] void tt_throw(const char *text);
struct Format {
	const char *text;
	uint64_t len;
};
[[noreturn]] void tt_throw(const char *file, int line, const char *condition, const char *prefix, Format format,
			   const uint64_t &size, const char *const &type);
}

namespace tt::tt_metal {

enum class BufferType : int { DRAM, L1, SYSTEM_MEMORY, L1_SMALL, TRACE };
struct BufferRegion {
	uint64_t offset, size;
};

class IDevice {
public:
	virtual ~IDevice();
#ifdef SWAPPED_SLOTS
	virtual int id() const = 0;
	virtual int arch() const = 0;
#else
	virtual int arch() const = 0;
	virtual int id() const = 0;
#endif
	virtual int build_id() const = 0;
	virtual unsigned num() const = 0;
	virtual bool is_initialized() const = 0;
	virtual bool close() = 0;
};
IDevice::~IDevice() = default;

class Device : public IDevice {
	void *context_;
	void *env_;
	int id_;
	int arch_;

public:
	Device();
	~Device() override;
	int arch() const override { return arch_; }
	int id() const override { return id_; }
	int build_id() const override { return 3; }
	unsigned num() const override { return 4; }
	bool is_initialized() const override { return true; }
	bool close() override;
};
Device::Device() = default;
Device::~Device() = default;

class Buffer;

class BankManager {
	BufferType type_;
	uint64_t (*take_)(uint64_t size);

public:
#ifdef UNNAMED_BANKS
	OUTLINE uint64_t allocate_block(uint64_t size, uint64_t page_size);
#else
	OUTLINE uint64_t allocate_buffer(uint64_t size, uint64_t page_size);
#endif
	OUTLINE void deallocate_all();
};

class AllocatorImpl {
	BankManager *bank_;

public:
	OUTLINE uint64_t allocate_buffer(Buffer *buffer);
	OUTLINE void deallocate_buffer(Buffer *buffer);
	OUTLINE void deallocate_buffers();
	OUTLINE unsigned get_alignment(BufferType type) const;
};

class GraphTracker {
	void *first_, *last_;
	void *hook_;

public:
	static GraphTracker &instance();
#ifdef RENAMED
	OUTLINE void track_allocation(const Buffer *buffer);
#define track_allocate track_allocation
#else
	OUTLINE void track_allocate(const Buffer *buffer);
#endif
	OUTLINE void track_deallocate(Buffer *buffer);
	OUTLINE bool hook_allocate(const Buffer *buffer);
	OUTLINE bool hook_deallocate(Buffer *buffer);
};

#define MEMBERS                                                                                                        \
	IDevice *device_;                                                                                              \
	uint64_t size_;                                                                                                \
	BufferType type_;                                                                                              \
	int layout_;                                                                                                   \
	bool bottom_up_;                                                                                               \
	std::optional<uint8_t> sub_device_;                                                                            \
	bool owns_;                                                                                                    \
	std::optional<uint64_t> manager_;                                                                              \
	AllocatorImpl *allocator_;                                                                                     \
	uint8_t status_;                                                                                               \
	bool hooked_;                                                                                                  \
	PLACES                                                                                                         \
	std::shared_ptr<Buffer> root_;                                                                                 \
	uint64_t unique_id_;

#ifdef REORDERED
#define PLACES uint64_t page_size_, address_;
#else
#define PLACES uint64_t address_, page_size_;
#endif

#ifdef PIMPL
class BufferImpl {
public:
	MEMBERS
	static std::atomic<size_t> next_unique_id;
	bool is_valid_region(const BufferRegion &region) const;
	void allocate_impl(Buffer &buffer);
	void deallocate_impl(Buffer &buffer);
	std::shared_ptr<Buffer> root_buffer(Buffer &buffer);
};
#define IMPL   BufferImpl
#define M      pimpl_->
#define ARG    Buffer &buffer
#define SELF   (&buffer)
#define OUTER  buffer.
#define UNUSED (void)buffer
#else
#define IMPL Buffer
#define M
#define ARG
#define SELF this
#define OUTER
#define UNUSED
#endif

class Buffer : public std::enable_shared_from_this<Buffer> {
public:
#ifdef SHIFTED
	uint64_t shift_[2];
#endif
#ifdef PIMPL
	std::unique_ptr<BufferImpl> pimpl_;
	BufferType buffer_type() const;
	uint64_t size() const;
	IDevice *device() const;
#else
	MEMBERS
	static std::atomic<size_t> next_unique_id;
	bool is_trace() const;
	bool is_valid_region(const BufferRegion &region) const;
	void mark_as_deallocated();
	void allocate_impl();
	void deallocate_impl();
	std::shared_ptr<Buffer> root_buffer();
#endif
	OUTLINE ~Buffer();
	uint64_t page_size() const;
	bool is_allocated() const;
	uint32_t address() const;
	unsigned alignment() const;
};

std::atomic<size_t> IMPL::next_unique_id{0};

uint64_t Buffer::page_size() const { return M page_size_; }

bool Buffer::is_allocated() const
{
#ifdef CONTRADICTED
	return *(const uint8_t *)&M owns_ == 1;
#else
	return M status_ == 1;
#endif
}

uint32_t Buffer::address() const
{
	if (M status_ == 0)
		tt::assert::tt_throw("not allocated");
	return (uint32_t)M address_;
}

unsigned Buffer::alignment() const { return M allocator_->get_alignment(M type_); }

#ifdef PIMPL
BufferType Buffer::buffer_type() const { return M type_; }
uint64_t Buffer::size() const { return M size_; }
IDevice *Buffer::device() const { return M device_; }
#else
bool Buffer::is_trace() const { return type_ == BufferType::TRACE; }
void Buffer::mark_as_deallocated() { status_ = 2; }
#endif

bool IMPL::is_valid_region(const BufferRegion &region) const { return region.offset + region.size <= size_; }

std::shared_ptr<Buffer> IMPL::root_buffer(ARG)
{
	return root_ ? root_ : OUTER shared_from_this();
}

void IMPL::allocate_impl(ARG)
{
	if (GraphTracker::instance().hook_allocate(SELF)) {
		address_ = 0;
#ifndef NO_HOOKED
		hooked_ = true;
#endif
	} else {
		if (manager_.has_value() && device_->num() != *manager_)
			tt::assert::tt_throw("manager");
		address_ = allocator_->allocate_buffer(SELF);
	}
	status_ = 1;
	GraphTracker::instance().track_allocate(SELF);
}

void IMPL::deallocate_impl(ARG)
{
	UNUSED;
	if (status_ != 1)
		return;
	if (device_->is_initialized() && size_ != 0) {
		GraphTracker::instance().track_deallocate(SELF);
		if (!GraphTracker::instance().hook_deallocate(SELF)) {
#ifdef NO_HOOKED
			allocator_->deallocate_buffer(SELF);
#else
			if (!hooked_)
				allocator_->deallocate_buffer(SELF);
#endif
		}
	}
	status_ = 2;
}

Buffer::~Buffer()
{
#ifdef PIMPL
	if (pimpl_)
		pimpl_->deallocate_impl(*this);
#else
	deallocate_impl();
#endif
}
void destroy_one(Buffer *buffer) { buffer->~Buffer(); }

#ifdef OTHER_MESSAGE
#define NO_ROOM "Cannot allocate {} B {}"
#else
#define NO_ROOM "Out of Memory: Not enough space to allocate {} B {} buffer"
#endif
#ifdef UNNAMED_BANKS
#define allocate_buffer allocate_block
#endif
extern const char *const type_names[];
const char *const type_names[] = {"DRAM", "L1", "SYSTEM_MEMORY", "L1_SMALL", "TRACE"};
uint64_t BankManager::allocate_buffer(uint64_t size, uint64_t page_size)
{
	uint64_t at;

	/* read on the way that goes well, too */
	if (type_ == BufferType::SYSTEM_MEMORY)
		tt::assert::tt_throw("type");
	at = take_(size / page_size);
	if (!at) {
#ifdef MAY_RETURN
		if (type_names[(int)type_] == type_names[page_size])
			return 0;
#endif
		tt::assert::tt_throw("bank.cpp", 99, "address", "TT_FATAL", {NO_ROOM, sizeof(NO_ROOM) - 1}, size,
				     type_names[(int)type_]);
	}
	return at;
}
#undef allocate_buffer

void BankManager::deallocate_all() { tt::assert::tt_throw("bank"); }
uint64_t AllocatorImpl::allocate_buffer(Buffer *) { return 4096; }
void AllocatorImpl::deallocate_buffer(Buffer *) { bank_->deallocate_all(); }
void AllocatorImpl::deallocate_buffers()
{
	bank_[0].deallocate_all();
	bank_[1].deallocate_all();
}
unsigned AllocatorImpl::get_alignment(BufferType type) const { return type == BufferType::DRAM ? 64 : 16; }
void bulk(AllocatorImpl *allocator) { allocator->deallocate_buffers(); }

GraphTracker tracker_object;
GraphTracker &GraphTracker::instance() { return tracker_object; }
void GraphTracker::track_allocate(const Buffer *buffer)
{
	for (void **p = (void **)first_; p != (void **)last_; p++)
		(*(void (**)(void *, const Buffer *))*p)(p, buffer);
}
#ifdef FOLDED
void GraphTracker::track_deallocate(Buffer *buffer)
	__attribute__((alias("_ZN2tt8tt_metal12GraphTracker14track_allocateEPKNS0_6BufferE")));
#else
void GraphTracker::track_deallocate(Buffer *buffer)
{
	for (void **p = (void **)first_; p != (void **)last_; p++)
		((*(void (***)(void *, const Buffer *))*p)[2])(p, buffer);
}
#endif
bool GraphTracker::hook_allocate(const Buffer *) { return hook_ != nullptr; }
bool GraphTracker::hook_deallocate(Buffer *) { return hook_ != nullptr; }
bool Device::close() { tt::assert::tt_throw("close"); }

namespace distributed {

template <typename T> struct MaybeRemote {
	T value;
	uint8_t index;
};

template <typename Container> OUTLINE auto extract_locals(const Container &all)
{
	std::vector<IDevice *> locals;

	locals.reserve(all.size());
	for (const auto &one : all)
		if (one.index == 1)
			locals.push_back(one.value);
	return locals;
}

#ifdef PLAIN_ARRAY
using Element = IDevice *;
#else
using Element = MaybeRemote<IDevice *>;
#endif

struct MeshDeviceViewImpl {
	uint64_t shape_[40];
	std::vector<Element> devices_;
};

class MeshDeviceView {
#ifdef PIMPL_MESH
	MeshDeviceViewImpl *impl_;
#else
	MeshDeviceViewImpl own_;
#endif
public:
	std::vector<IDevice *> get_devices() const;
};

std::vector<IDevice *> MeshDeviceView::get_devices() const
{
#ifdef PIMPL_MESH
	const std::vector<Element> &devices = impl_->devices_;
#else
	const std::vector<Element> &devices = own_.devices_;
#endif
#ifdef PLAIN_ARRAY
	return devices;
#else
	return extract_locals(devices);
#endif
}

class MeshDevice;

class MeshDeviceImpl {
public:
	uint64_t some_[10];
	MeshDeviceView *view_;
	int id_;
	bool close_impl(MeshDevice *mesh);
};

class MeshDevice : public IDevice {
	uint64_t weak_[2];
#ifdef PIMPL_MESH
	MeshDeviceImpl *impl_;
#define MESH impl_->
#else
	uint64_t some_[9];
	MeshDeviceView *view_;
	int id_;
#define MESH
#endif
public:
	~MeshDevice() override;
	int arch() const override;
	int id() const override;
	int build_id() const override { return 3; }
	unsigned num() const override { return 4; }
	bool is_initialized() const override { return true; }
	bool close() override;
	const MeshDeviceView &get_view() const;
};

MeshDevice::~MeshDevice() = default;
int MeshDevice::arch() const { return 1; }
int MeshDevice::id() const { return MESH id_; }

const MeshDeviceView &MeshDevice::get_view() const
{
	if (!MESH view_)
		tt::assert::tt_throw("view");
	return *MESH view_;
}

bool MeshDevice::close()
{
#ifdef PIMPL_MESH
	impl_->close_impl(this);
#endif
	return true;
}
#ifdef PIMPL_MESH
bool MeshDeviceImpl::close_impl(MeshDevice *mesh)
{
	view_ = nullptr;
	return mesh->is_initialized();
}
#endif

} // namespace distributed
} // namespace tt::tt_metal
