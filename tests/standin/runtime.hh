/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The classes of the stand-in runtime: names, bases, member order and virtual slots as in TT-Metal,
 * so that compiler output has the shapes of the real library's.
 *
 * Two layouts: plain (as 0.78.0) and, with STANDIN_PIMPL, the one behind a pointer (as 0.81.1).
 * Members that nothing reads stand here to give the others their place; standin_layout_check()
 * in buffer.cc pins the offsets.
 */
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <unordered_set>
#include <variant>
#include <vector>

namespace ttsl
{
template <typename T, typename Tag> struct StrongType {
	T value;
};
} // namespace ttsl

namespace tt
{
enum class ARCH { Invalid = 0, WORMHOLE_B0 = 2 };

namespace assert
{
/* The cold path of the runtime's checks. */
[[noreturn]] void standin_throw(const char *file, int line, const char *condition, const char *text);
/*
 * The same in an accessor. It "returns" what the accessor returns, so that the call becomes a jump:
 * clang 14 would otherwise push a register before the first load, which the compiler of the released
 * wheels does not.
 */
uint32_t standin_throw_no_address(const char *file, int line);

/* A format string goes by value, what is to be formatted by reference: as in the real library. */
namespace detail
{
struct Format {
	const char *text;
	size_t len;
};
[[noreturn]] void tt_throw(const char *file, int line, const char *condition, const char *prefix, Format format,
			   const uint64_t &size, const char *const &type, const uint32_t &banks);
} // namespace detail
} // namespace assert

namespace tt_metal
{
using DeviceAddr = uint64_t;
using ChipId = int32_t;
struct SubDeviceIdTag {
};
using SubDeviceId = ttsl::StrongType<uint8_t, SubDeviceIdTag>;
struct SubDeviceManagerIdTag {
};
using SubDeviceManagerId = ttsl::StrongType<uint64_t, SubDeviceManagerIdTag>;

enum class BufferType { DRAM, L1, SYSTEM_MEMORY, L1_SMALL, TRACE };
enum class TensorMemoryLayout { INTERLEAVED = 0, HEIGHT_SHARDED = 2 };
constexpr int kBufferTypes = 5;

class Allocator;
class AllocatorImpl;
class Buffer;

class IDevice
{
      public:
	virtual ~IDevice() = default;
	virtual tt::ARCH arch() const = 0;
	virtual ChipId id() const = 0; /* slot 3 */
	virtual ChipId build_id() const = 0;
	virtual uint8_t num_hw_cqs() const = 0;
	virtual bool is_initialized() const = 0; /* slot 6 */
	virtual AllocatorImpl *allocator_impl() const = 0;
	virtual bool close() = 0;
};

struct BufferRegion {
	DeviceAddr offset = 0;
	DeviceAddr size = 0;
};

struct BufferShardingArgs {
	std::optional<uint64_t> shard_spec;
	TensorMemoryLayout buffer_layout = TensorMemoryLayout::INTERLEAVED;
};

enum class AllocationStatus : uint8_t { ALLOCATION_REQUESTED = 0, ALLOCATED = 1, DEALLOCATED = 2 };

/* The members from device_ on, the same in both layouts. */
#define STANDIN_BUFFER_MEMBERS                                                        \
	IDevice *const device_;                                                       \
	const DeviceAddr size_;                                                       \
	const BufferType buffer_type_;                                                \
	const TensorMemoryLayout buffer_layout_ = TensorMemoryLayout::INTERLEAVED;    \
	const bool bottom_up_;                                                        \
	const std::optional<SubDeviceId> sub_device_id_;                              \
	const bool owns_data_;                                                        \
	std::optional<SubDeviceManagerId> sub_device_manager_id_;                     \
	AllocatorImpl *allocator_ = nullptr;                                          \
	AllocationStatus allocation_status_ = AllocationStatus::ALLOCATION_REQUESTED; \
	bool hooked_allocation_ = false;                                              \
	DeviceAddr address_ = 0;                                                      \
	DeviceAddr page_size_;                                                        \
	std::shared_ptr<Buffer> root_buffer_;                                         \
	size_t unique_id_ = 0;

#ifdef STANDIN_PIMPL

class BufferImpl
{
      public:
	BufferImpl(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type, bool owns_data);

	static std::shared_ptr<Buffer> create(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type,
					      const BufferShardingArgs &args, std::optional<bool> bottom_up,
					      std::optional<SubDeviceId> sub_device);
	static std::shared_ptr<Buffer> create(IDevice *device, DeviceAddr address, DeviceAddr size,
					      DeviceAddr page_size, BufferType type, const BufferShardingArgs &args,
					      std::optional<bool> bottom_up, std::optional<SubDeviceId> sub_device);
	void allocate_impl(Buffer &buffer);
	void deallocate(Buffer &buffer);
	void deallocate_impl(Buffer &buffer);
	std::shared_ptr<Buffer> root_buffer(Buffer &buffer);

	static std::atomic<size_t> next_unique_id;
	STANDIN_BUFFER_MEMBERS
};

class Buffer final : public std::enable_shared_from_this<Buffer>
{
      public:
	explicit Buffer(std::unique_ptr<BufferImpl> pimpl);
	~Buffer();

	IDevice *device() const;
	Allocator *allocator() const;
	DeviceAddr size() const;
	bool is_allocated() const;
	uint32_t address() const;
	DeviceAddr page_size() const;
	BufferType buffer_type() const;

	BufferImpl *impl() const
	{
		return pimpl_.get();
	}

	std::unique_ptr<BufferImpl> pimpl_;
};

#else

class Buffer final : public std::enable_shared_from_this<Buffer>
{
      public:
	Buffer(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type, bool owns_data);
	~Buffer();

	static std::shared_ptr<Buffer> create(IDevice *device, DeviceAddr size, DeviceAddr page_size, BufferType type,
					      const BufferShardingArgs &args, std::optional<bool> bottom_up,
					      std::optional<SubDeviceId> sub_device);
	static std::shared_ptr<Buffer> create(IDevice *device, DeviceAddr address, DeviceAddr size,
					      DeviceAddr page_size, BufferType type, const BufferShardingArgs &args,
					      std::optional<bool> bottom_up, std::optional<SubDeviceId> sub_device);

	IDevice *device() const
	{
		return device_;
	}
	DeviceAddr size() const
	{
		return size_;
	}
	BufferType buffer_type() const
	{
		return buffer_type_;
	}
	Allocator *allocator() const;
	bool is_allocated() const;
	uint32_t address() const;
	DeviceAddr page_size() const;
	bool is_trace() const;
	bool is_valid_region(const BufferRegion &region) const;
	void mark_as_deallocated();

	void allocate_impl();
	void deallocate();
	void deallocate_impl();
	std::shared_ptr<Buffer> root_buffer();

	Buffer *impl()
	{
		return this;
	}

	static std::atomic<size_t> next_unique_id;
	STANDIN_BUFFER_MEMBERS
};

#endif

/* What the test wants from the next allocation on this thread; the real one asks the capture's hook. */
enum class NextAllocation : int { Tracked = 0, Silent = 1, Hooked = 2 };
extern thread_local NextAllocation next_allocation;
extern thread_local bool silent_deallocation;

class GraphTracker
{
      public:
	static GraphTracker &instance();
	void track_allocate(const Buffer *buffer);
	void track_deallocate(Buffer *buffer);
	bool hook_allocate(const Buffer *buffer);

	class Processor
	{
	      public:
		virtual void track_allocate(const Buffer *)
		{
		}
		virtual void track_deallocate(Buffer *)
		{
		}
		virtual ~Processor() = default;
	};
	std::vector<std::shared_ptr<Processor>> processors;
};

class Allocator
{
      public:
	explicit Allocator(AllocatorImpl *impl) : impl_(impl)
	{
	}

	AllocatorImpl *impl_;
};

/* One memory type of one allocator: first fit over per-bank addresses. */
class BankManager
{
      public:
	BankManager(BufferType type, uint32_t banks, DeviceAddr base, DeviceAddr bytes_per_bank);
	/* In a file of its own in the real library. */
	__attribute__((noinline)) DeviceAddr allocate_buffer(DeviceAddr size, DeviceAddr page_size);
	void deallocate_buffer(DeviceAddr address);
	void deallocate_all();
	DeviceAddr bytes_per_bank(DeviceAddr size, DeviceAddr page_size) const;

      private:
	BufferType buffer_type_;
	uint32_t banks_;
	DeviceAddr base_;
	DeviceAddr limit_;
	std::map<DeviceAddr, DeviceAddr> blocks_; /* address, bytes per bank */
};

class AllocatorImpl
{
      public:
	AllocatorImpl();
	virtual ~AllocatorImpl() = default;
	DeviceAddr allocate_buffer(Buffer *buffer);
	void deallocate_buffer(Buffer *buffer);
	void deallocate_buffers();
	void clear();
	const std::unique_ptr<Allocator> &view() const;
	std::vector<Buffer *> allocated() const;
	DeviceAddr bytes_per_bank(BufferType type, DeviceAddr size, DeviceAddr page_size) const;

      private:
	BankManager *manager(BufferType type) const;
	mutable std::mutex mutex_;
	std::unique_ptr<BankManager> dram_manager_;
	std::unique_ptr<BankManager> l1_manager_;
	std::unique_ptr<BankManager> l1_small_manager_;
	std::unique_ptr<BankManager> trace_manager_;
	std::unordered_set<Buffer *> allocated_buffers_;
	std::unique_ptr<Allocator> view_;
};

class Device : public IDevice
{
      public:
	explicit Device(ChipId id);
	~Device() override;
	tt::ARCH arch() const override
	{
		return tt::ARCH::WORMHOLE_B0;
	}
	ChipId id() const override
	{
		return id_;
	}
	ChipId build_id() const override
	{
		return id_;
	}
	uint8_t num_hw_cqs() const override
	{
		return 1;
	}
	bool is_initialized() const override
	{
		return initialized_;
	}
	AllocatorImpl *allocator_impl() const override
	{
		return default_allocator_.get();
	}
	bool initialize();
	bool close() override;

	void *context_ = nullptr;
	void *env_ = nullptr;
	ChipId id_;
	bool initialized_ = false;
	std::unique_ptr<AllocatorImpl> default_allocator_;
};

void DeallocateBuffer(Buffer &buffer);

namespace distributed
{
class MeshDevice;
class MeshDeviceView;

struct RemoteDevice {
};
template <typename T> class MaybeRemote
{
      public:
	explicit MaybeRemote(T local) : value_(local)
	{
	}
	bool is_local() const
	{
		return std::holds_alternative<T>(value_);
	}
	T value() const
	{
		return std::get<T>(value_);
	}

      private:
	std::variant<RemoteDevice, T> value_;
};

/*
 * The real one is a constrained template; its name needs a compiler that mangles constraints, so
 * it is written here.
 */
std::vector<IDevice *> extract_locals(const std::vector<MaybeRemote<IDevice *>> &devices) __asm__(
	"_ZN2tt8tt_metal11distributed14extract_localsISt6vectorINS1_11MaybeRemoteIPNS0_7IDeviceEEESaIS7_"
	"EEQ15MaybeRemoteLikeINT_10value_typeEEEEDaRKSA_");

const MeshDeviceView &standin_throw_no_view(const char *file, int line);

class MeshDeviceViewImpl
{
      public:
	char shape_and_range_[0x178]; /* MeshShape, MeshCoordinateRange and more in small vectors */
	std::vector<MaybeRemote<IDevice *>> devices_;
};

class MeshDeviceView
{
      public:
	explicit MeshDeviceView(const std::vector<IDevice *> &devices);
	~MeshDeviceView();
	std::vector<IDevice *> get_devices() const;

	std::unique_ptr<MeshDeviceViewImpl> pimpl_;
};

class MeshDeviceImpl : public IDevice
{
      public:
	MeshDeviceImpl(const std::vector<std::shared_ptr<Device>> &devices, std::shared_ptr<MeshDevice> parent);
	~MeshDeviceImpl() override;
	tt::ARCH arch() const override
	{
		return tt::ARCH::WORMHOLE_B0;
	}
	ChipId id() const override;
	ChipId build_id() const override;
	uint8_t num_hw_cqs() const override
	{
		return 1;
	}
	bool is_initialized() const override;
	AllocatorImpl *allocator_impl() const override;
	bool close() override;
	bool close_impl(MeshDevice *pimpl_wrapper);

	std::mutex api_mutex_;
	bool initialized_ = false;
#ifdef STANDIN_PIMPL
	void *env_[4] = {};
#else
	void *env_ = nullptr;
#endif
	int mesh_id_;
	std::shared_ptr<MeshDevice> parent_mesh_;
	std::unique_ptr<MeshDeviceView> view_;
	std::vector<std::weak_ptr<MeshDevice>> submeshes_;
	std::unique_ptr<AllocatorImpl> allocator_;
	std::vector<std::shared_ptr<Device>> chips_;
};

class MeshDevice : public IDevice, public std::enable_shared_from_this<MeshDevice>
{
      public:
	explicit MeshDevice(std::unique_ptr<MeshDeviceImpl> pimpl);
	~MeshDevice() override;
	tt::ARCH arch() const override;
	ChipId id() const override;
	ChipId build_id() const override;
	uint8_t num_hw_cqs() const override;
	bool is_initialized() const override;
	AllocatorImpl *allocator_impl() const override;
	bool close() override;
	const MeshDeviceView &get_view() const;

	std::unique_ptr<MeshDeviceImpl> pimpl_;
};

} // namespace distributed
} // namespace tt_metal
} // namespace tt
