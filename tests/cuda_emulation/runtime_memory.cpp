// The runtime's functions about memory.

#include <cuda_runtime.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda_emulation/api_call.h"
#include "tests/cuda_emulation/device_heap.h"
#include "tests/cuda_emulation/pinned_heap.h"
#include "tests/cuda_emulation/stream_queue.h"

namespace kvreplay::emulation {
namespace {

// Rows of `width` bytes, their beginnings `pitch` bytes apart; a plain piece of memory is one row.
struct Rows {
  std::size_t width = 0;
  std::size_t pitch = 0;
  std::size_t n = 1;

  std::size_t extent() const { return n == 0 ? 0 : (n - 1) * pitch + width; }
};

void copy_rows(void* to, const Rows& target, const void* from, const Rows& source) {
  for (std::size_t row = 0; row < target.n; ++row)
    std::memcpy(static_cast<char*>(to) + row * target.pitch, static_cast<const char*>(from) + row * source.pitch,
                target.width);
}

struct Copy {
  void* to;
  Rows target;
  const void* from;
  Rows source;
  cudaMemcpyKind kind;

  bool to_device() const { return kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice; }
  bool from_device() const { return kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice; }
};

void require_on_host(const void* memory, const char* what) {
  if (is_device_address(memory)) fatal(std::string(what) + " is device memory: the kind does not match the pointers");
}

// Ends the program unless the pointers are what the kind says, and have room.
void check(Copy& copy, int device) {
  if (copy.kind == cudaMemcpyDefault) {
    const bool to = is_device_address(copy.to), from = is_device_address(copy.from);
    copy.kind = to ? (from ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                   : (from ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
  }
  if (copy.to_device())
    require_on_device(copy.to, copy.target.extent(), device, "a copy's target");
  else
    require_on_host(copy.to, "a copy's target");
  if (copy.from_device())
    require_on_device(copy.from, copy.source.extent(), device, "a copy's source");
  else
    require_on_host(copy.from, "a copy's source");
}

void enqueue_copy(const Copy& copy, cudaStream_t stream) {
  enqueue(stream, [copy] { copy_rows(copy.to, copy.target, copy.from, copy.source); });
}

// CUDA takes pageable memory in asynchronous copies too, but then the call blocks, which nobody means who writes Async.
void copy_pageable(const Copy& copy, cudaStream_t stream) {
  if (!settings().staged_copies)
    fatal("an asynchronous copy of pageable host memory blocks: use cudaMallocHost, or set pageable=staged");
  if (copy.to_device()) {
    const auto* const first = static_cast<const char*>(copy.from);
    auto staged = std::make_shared<std::vector<char>>(first, first + copy.source.extent());
    enqueue(stream, [copy, staged] { copy_rows(copy.to, copy.target, staged->data(), copy.source); });
  } else {
    enqueue_copy(copy, stream);
    wait_for_stream(stream);
  }
}

cudaError_t copy_asynchronously(Copy copy, cudaStream_t stream) {
  return api_call(Call::copy, cudaErrorInvalidValue, [&] {
    if (copy.target.width > copy.target.pitch || copy.source.width > copy.source.pitch)
      return cudaErrorInvalidPitchValue;
    check(copy, device_of_stream(stream));
    if (copy.target.extent() == 0) return cudaSuccess;
    const bool pinned = (copy.to_device() || is_pinned(copy.to, copy.target.extent())) &&
                        (copy.from_device() || is_pinned(copy.from, copy.source.extent()));
    if (pinned)
      enqueue_copy(copy, stream);
    else
      copy_pageable(copy, stream);
    return cudaSuccess;
  });
}

}  // namespace
}  // namespace kvreplay::emulation

using namespace kvreplay::emulation;

extern "C" {

cudaError_t cudaMalloc(void** memory, std::size_t n_bytes) {
  return api_call(Call::allocation, cudaErrorMemoryAllocation, [&] {
    *memory = nullptr;
    if (n_bytes == 0) return cudaSuccess;
    *memory = allocate_on_device(n_bytes, current_device());
    return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaFree(void* memory) {
  return api_call([&] {
    if (memory == nullptr) return cudaSuccess;
    wait_for_device(current_device());
    free_on_device(memory);
    return cudaSuccess;
  });
}

// The memory belongs to the stream: a use that is not ordered after the allocation, or before the freeing, is a race.
cudaError_t cudaMallocAsync(void** memory, std::size_t n_bytes, cudaStream_t stream) {
  return api_call(Call::allocation, cudaErrorMemoryAllocation, [&] {
    *memory = nullptr;
    if (n_bytes == 0) return cudaSuccess;
    *memory = allocate_on_device(n_bytes, device_of_stream(stream));
    if (*memory == nullptr) return cudaErrorMemoryAllocation;
    enqueue(stream, [allocated = *memory] { clear_on_device(allocated); });
    return cudaSuccess;
  });
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  return api_call([&] {
    if (memory == nullptr) return cudaSuccess;
    enqueue(stream, [memory] {
      clear_on_device(memory);
      free_on_device(memory);
    });
    return cudaSuccess;
  });
}

// Pools: there is one, which keeps nothing.
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  return api_call([&] {
    static char the_pool;
    *pool = reinterpret_cast<cudaMemPool_t>(&the_pool);
    return cudaSuccess;
  });
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  return api_call([] { return cudaSuccess; });
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) {
  return api_call([] { return cudaSuccess; });
}

cudaError_t cudaMallocHost(void** memory, std::size_t n_bytes) {
  return api_call(Call::allocation, cudaErrorMemoryAllocation, [&] {
    *memory = n_bytes == 0 ? nullptr : allocate_pinned(n_bytes);
    return n_bytes > 0 && *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaHostAlloc(void** memory, std::size_t n_bytes, unsigned) { return cudaMallocHost(memory, n_bytes); }

cudaError_t cudaFreeHost(void* memory) {
  return api_call([&] {
    if (memory != nullptr) free_pinned(memory);
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t n_bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Rows one{n_bytes, n_bytes, 1};
  return copy_asynchronously({to, one, from, one, kind}, stream);
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy_asynchronously({to, {width, to_pitch, height}, from, {width, from_pitch, height}, kind}, stream);
}

// Waits for its own copy only: what non-blocking streams do at the time is in no order with it.
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t n_bytes, cudaMemcpyKind kind) {
  return api_call(Call::copy, cudaErrorInvalidValue, [&] {
    const Rows one{n_bytes, n_bytes, 1};
    Copy copy{to, one, from, one, kind};
    check(copy, current_device());
    enqueue_copy(copy, own_stream(current_device()));
    wait_for_stream(own_stream(current_device()));
    return cudaSuccess;
  });
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t n_bytes, cudaStream_t stream) {
  return api_call(Call::copy, cudaErrorInvalidValue, [&] {
    require_on_device(memory, n_bytes, device_of_stream(stream), "cudaMemsetAsync: the target");
    enqueue(stream, [=] { std::memset(memory, value, n_bytes); });
    return cudaSuccess;
  });
}

}  // extern "C"
