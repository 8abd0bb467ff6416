#pragma once
// What all functions of cuBLAS and cuSOLVER have in common.

#include <driver_types.h>

#include <functional>
#include <utility>

#include "tests/cuda_emulation/api_call.h"
#include "tests/cuda_emulation/stream_queue.h"

namespace kvreplay::emulation {

/// What a handle remembers.
struct LibraryHandle {
  int device = current_device();
  cudaStream_t stream = nullptr;
};

/// Ends the program unless the handle's stream can take its work.
inline void enqueue_for(const LibraryHandle& handle, std::function<void()> operation) {
  if (handle.stream == nullptr) fatal("a library call on the default stream: the handle was given none");
  if (device_of_stream(handle.stream) != handle.device) fatal("a library's handle works on a stream of another device");
  enqueue(handle.stream, std::move(operation));
}

/// The body of a function: one host thread at a time, on the host only.
/// \param failure  the status of an injected error, and after a lasting error
template <typename Status, typename Body>
Status library_call(Status failure, const Body& body) {
  const Turn turn;
  const Unseen unseen;
  if (in_kernel()) fatal("a kernel calls a library");
  if (fails(Call::library) || lasting_error() != cudaSuccess) return failure;
  return body();
}

/// Handles of both libraries that exist.
std::size_t& n_library_handles();

}  // namespace kvreplay::emulation
