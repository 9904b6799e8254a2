/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocator: first fit, so that an address that was given back is the next one handed out.
 * Banks and sizes are those of a Wormhole chip with a trace region of 30,000,000 bytes.
 */
#include <string>

#include "runtime.hh"

namespace tt
{
namespace assert
{
void standin_throw(const char *file, int line, const char *condition, const char *text)
{
	throw std::runtime_error(std::string("TT_FATAL @ ") + file + ":" + std::to_string(line) + ": " + condition +
				 "\ninfo:\n" + text);
}

uint32_t standin_throw_no_address(const char *file, int line)
{
	standin_throw(file, line, "allocation_status_ != ALLOCATION_REQUESTED",
		      "Can only query the address of a buffer that has been allocated");
}

namespace detail
{
void tt_throw(const char *file, int line, const char *condition, const char *prefix, Format format,
	      const uint64_t &size, const char *const &type, const uint32_t &banks)
{
	const std::string values[] = {std::to_string(size), type, std::to_string(banks)};
	std::string text(format.text, format.len);

	for (const std::string &value : values)
		text.replace(text.find("{}"), 2, value);
	throw std::runtime_error(std::string(prefix) + " @ " + file + ":" + std::to_string(line) + ": " + condition +
				 "\ninfo:\n" + text);
}
} // namespace detail
} // namespace assert

namespace tt_metal
{
static constexpr DeviceAddr kAlignment = 32;
static constexpr DeviceAddr kDramBytes = 1ull << 30;
static constexpr DeviceAddr kTraceBytes = 30000000;
static const char kOutOfMemory[] = "Out of Memory: Not enough space to allocate {} B {} buffer across {} banks";
static const char *const kTypeNames[kBufferTypes] = {"DRAM", "L1", "SYSTEM_MEMORY", "L1_SMALL", "TRACE"};

BankManager::BankManager(BufferType type, uint32_t banks, DeviceAddr base, DeviceAddr bytes_per_bank)
    : buffer_type_(type), banks_(banks), base_(base), limit_(base + bytes_per_bank)
{
}

DeviceAddr BankManager::bytes_per_bank(DeviceAddr size, DeviceAddr page_size) const
{
	DeviceAddr pages = size / page_size;
	DeviceAddr aligned_page = (page_size + kAlignment - 1) / kAlignment * kAlignment;

	return (pages + banks_ - 1) / banks_ * aligned_page;
}

DeviceAddr BankManager::allocate_buffer(DeviceAddr size, DeviceAddr page_size)
{
	DeviceAddr need = bytes_per_bank(size, page_size);
	DeviceAddr at = base_;

	for (const auto &block : blocks_) {
		if (block.first - at >= need)
			break;
		at = block.first + block.second;
	}
	if (at + need > limit_)
		assert::detail::tt_throw(__FILE__, __LINE__, "address.has_value()", "TT_FATAL",
					 {kOutOfMemory, sizeof(kOutOfMemory) - 1}, size,
					 kTypeNames[static_cast<int>(buffer_type_)], banks_);
	blocks_[at] = need;
	return at;
}

void BankManager::deallocate_buffer(DeviceAddr address)
{
	blocks_.erase(address);
}

void BankManager::deallocate_all()
{
	blocks_.clear();
}

AllocatorImpl::AllocatorImpl()
    : dram_manager_(new BankManager(BufferType::DRAM, 12, 1024, kDramBytes - kTraceBytes - 1024)),
      l1_manager_(new BankManager(BufferType::L1, 64, 101152, 1331936)),
      l1_small_manager_(new BankManager(BufferType::L1_SMALL, 64, 1433088, 65536)),
      trace_manager_(new BankManager(BufferType::TRACE, 12, kDramBytes - kTraceBytes, kTraceBytes)),
      view_(new Allocator(this))
{
}

BankManager *AllocatorImpl::manager(BufferType type) const
{
	switch (type) {
	case BufferType::DRAM:
		return dram_manager_.get();
	case BufferType::L1:
		return l1_manager_.get();
	case BufferType::L1_SMALL:
		return l1_small_manager_.get();
	case BufferType::TRACE:
		return trace_manager_.get();
	default:
		throw std::runtime_error("Unsupported buffer type!");
	}
}

DeviceAddr AllocatorImpl::allocate_buffer(Buffer *buffer)
{
	std::lock_guard<std::mutex> lock(mutex_);
	DeviceAddr address = manager(buffer->buffer_type())->allocate_buffer(buffer->size(), buffer->page_size());

	allocated_buffers_.insert(buffer);
	return address;
}

void AllocatorImpl::deallocate_buffer(Buffer *buffer)
{
	std::lock_guard<std::mutex> lock(mutex_);

	manager(buffer->buffer_type())->deallocate_buffer(buffer->address());
	allocated_buffers_.erase(buffer);
}

void AllocatorImpl::deallocate_buffers()
{
	std::lock_guard<std::mutex> lock(mutex_);

	dram_manager_->deallocate_all();
	l1_manager_->deallocate_all();
	l1_small_manager_->deallocate_all();
	trace_manager_->deallocate_all();
	allocated_buffers_.clear();
}

void AllocatorImpl::clear()
{
	deallocate_buffers();
}

const std::unique_ptr<Allocator> &AllocatorImpl::view() const
{
	return view_;
}

std::vector<Buffer *> AllocatorImpl::allocated() const
{
	std::lock_guard<std::mutex> lock(mutex_);

	return {allocated_buffers_.begin(), allocated_buffers_.end()};
}

DeviceAddr AllocatorImpl::bytes_per_bank(BufferType type, DeviceAddr size, DeviceAddr page_size) const
{
	return size ? manager(type)->bytes_per_bank(size, page_size) : 0;
}
} // namespace tt_metal
} // namespace tt
