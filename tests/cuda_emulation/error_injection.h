#pragma once
// Calls that fail when a test wants them to.

#include <cstddef>
#include <string>

namespace kvreplay::emulation {

/// Kinds of calls, and what an injected error returns.
enum class Call {
  allocation,  ///< device or pinned memory: cudaErrorMemoryAllocation
  launch,      ///< a kernel: cudaErrorLaunchOutOfResources; it is not enqueued
  copy,        ///< memcpy, memset: cudaErrorInvalidValue; nothing is enqueued
  stream,      ///< creating a stream or an event: cudaErrorMemoryAllocation
  wait,     ///< waiting for a stream, event or device: cudaErrorIllegalAddress, as when a kernel failed; from then on
            ///< every call of the runtime returns it and does nothing
  library,  ///< cuBLAS, cuSOLVER: ..._STATUS_EXECUTION_FAILED, when a handle is created ..._ALLOC_FAILED
};

/// The n-th call of a kind from now on fails, counted from 1.
void inject_error(Call call, std::size_t n);

/// The same from text: "copy:3".
void inject_errors(const std::string& text);

/// Nothing fails any more, also after a failed wait.
void clear_injected_errors();

/// How many calls of a kind there have been.
std::size_t n_calls(Call call);

/// Counts a call, and tells whether it fails.
bool fails(Call call);

}  // namespace kvreplay::emulation
