#include "core/cuda/device_memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/cuda/check.h"

namespace kvreplay::cuda {
namespace {

// Blocks come in steps of a megabyte, small ones of a page: what one unit gave back, the next one of nearly the same
// shape takes.
std::size_t rounded(std::size_t bytes) {
  const std::size_t step = bytes < (1 << 20) ? 4096 : 1 << 20;
  return std::max<std::size_t>(1, (bytes + step - 1) / step) * step;
}

}  // namespace

DevicePool::~DevicePool() { release_idle(); }

std::pair<void*, std::size_t> DevicePool::take(std::size_t bytes) {
  bytes = rounded(bytes);
  const std::lock_guard lock(mutex_);
  // A block of twice the size would be missed elsewhere.
  if (const auto fit = idle_.lower_bound(bytes); fit != idle_.end() && fit->first <= 2 * bytes) {
    const auto [size, block] = *fit;
    idle_.erase(fit);
    in_use_ += size;
    return {block, size};
  }
  void* const block = allocate(bytes);
  in_use_ += bytes;
  return {block, bytes};
}

void* DevicePool::allocate(std::size_t bytes) {
  void* block = nullptr;
  KVREPLAY_CUDA(cudaSetDevice(device_));
  if (cudaMalloc(&block, bytes) == cudaSuccess) return block;
  cudaGetLastError();
  release_idle();
  const cudaError_t status = cudaMalloc(&block, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw DeviceError(fmt::format(
        "device {} has no room for {} bytes more: {} bytes are in use by this replay, {} of {} bytes are free", device_,
        bytes, in_use_, free, total));
  }
  check(status, "cudaMalloc(&block, bytes)", __FILE__, __LINE__);
  return block;
}

void DevicePool::give(void* block, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  in_use_ -= bytes;
  try {
    idle_.emplace(bytes, block);
  } catch (...) {
    cudaFree(block);
  }
}

void DevicePool::release_idle() noexcept {
  for (const auto& [size, block] : idle_) cudaFree(block);  // nothing to be done about a failure
  idle_.clear();
}

void* allocate_pinned(std::size_t bytes) {
  void* block = nullptr;
  if (bytes == 0) return block;
  const cudaError_t status = cudaMallocHost(&block, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw DeviceError(fmt::format("no room for {} bytes of page-locked memory", bytes));
  }
  check(status, "cudaMallocHost(&block, bytes)", __FILE__, __LINE__);
  return block;
}

void free_pinned(void* block) noexcept {
  if (block != nullptr) cudaFreeHost(block);
}

}  // namespace kvreplay::cuda
