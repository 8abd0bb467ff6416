#pragma once
// Memory of a device and pinned memory of the host. Addresses of a device are of a type of their own, so that host code
// cannot read one by accident.

#include <cstddef>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

namespace kvreplay::cuda {

/// An address on a device. Only kernels and CUDA's own calls take what get() returns.
template <typename T>
class DevicePointer {
 public:
  DevicePointer() = default;
  explicit DevicePointer(T* address) : address_(address) {}
  T* get() const { return address_; }
  DevicePointer operator+(std::size_t n) const { return DevicePointer(address_ + n); }
  explicit operator bool() const { return address_ != nullptr; }
  operator DevicePointer<const T>() const { return DevicePointer<const T>(address_); }

 private:
  T* address_ = nullptr;
};

/// Memory of one device, kept for reuse: cudaMalloc waits for the whole device. Blocks are given back only when nothing
/// that was enqueued uses them any more. Safe to use from several threads at once.
class DevicePool {
 public:
  explicit DevicePool(int device) : device_(device) {}
  ~DevicePool();
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;

  /// At least `bytes`, aligned to 256. Throws DeviceError naming the sizes when the device has no more.
  std::pair<void*, std::size_t> take(std::size_t bytes);
  void give(void* block, std::size_t bytes) noexcept;

 private:
  void* allocate(std::size_t bytes);
  void release_idle() noexcept;

  int device_;
  std::mutex mutex_;
  std::multimap<std::size_t, void*> idle_;
  std::size_t in_use_ = 0;
};

/// An uninitialised array on a device.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(DevicePool& pool) : pool_(&pool) {}
  ~DeviceBuffer() { reset(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer old(std::move(other));
    swap(old);
    return *this;
  }

  DevicePointer<T> data() const { return DevicePointer<T>(static_cast<T*>(block_)); }

  /// Makes room for `size` elements; the content is lost when it has to grow.
  void reserve_discard(std::size_t size) {
    if (size * sizeof(T) <= bytes_) return;
    reset();
    std::tie(block_, bytes_) = pool_->take(size * sizeof(T));
  }
  void reset() noexcept {
    if (block_ != nullptr) pool_->give(block_, bytes_);
    block_ = nullptr;
    bytes_ = 0;
  }

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(block_, other.block_);
    std::swap(bytes_, other.bytes_);
  }

  DevicePool* pool_ = nullptr;
  void* block_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Page-locked memory of the host, which a device reads and writes by itself.
void* allocate_pinned(std::size_t bytes);
void free_pinned(void* block) noexcept;

/// An uninitialised array of it.
template <typename T>
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  ~PinnedBuffer() { free_pinned(data_); }
  PinnedBuffer(PinnedBuffer&& other) noexcept { swap(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    PinnedBuffer old(std::move(other));
    swap(old);
    return *this;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data_[i]; }

  void reserve_discard(std::size_t size) {
    if (size <= size_) return;
    free_pinned(std::exchange(data_, nullptr));
    size_ = 0;
    data_ = static_cast<T*>(allocate_pinned(size * sizeof(T)));
    size_ = size;
  }

 private:
  void swap(PinnedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kvreplay::cuda
