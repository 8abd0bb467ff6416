#pragma once
// What all functions of the runtime have in common.

#include <driver_types.h>

#include "tests/cuda_emulation/error_injection.h"
#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/sanitizers.h"
#include "tests/cuda_emulation/settings.h"
#include "tests/cuda_emulation/thread_block.h"

namespace kvreplay::emulation {

/// Host threads take turns. A lock that ThreadSanitizer does not know of: the program's threads get no order from it.
/// Holders may take it again.
class Turn {
 public:
  Turn();
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
};

/// The calling host thread's last error, for cudaGetLastError.
cudaError_t& last_error();

/// An error that stays: cudaSuccess, or what a failed wait returned.
cudaError_t& lasting_error();
void clear_lasting_error();

/// The GPU that the calling host thread uses.
int& current_device();

/// The body of a function of the runtime: one host thread at a time, on the host only, nothing after a lasting error.
template <typename Body>
cudaError_t api_call(const Body& body) {
  const Turn turn;
  const Unseen unseen;
  if (in_kernel()) fatal("a kernel calls the runtime");
  cudaError_t result = settings().devices == 0 ? cudaErrorNoDevice : lasting_error();
  if (result == cudaSuccess) result = body();
  if (result != cudaSuccess && result != cudaErrorNotReady) last_error() = result;
  return result;
}

/// The same, of a kind of call that can be made to fail.
template <typename Body>
cudaError_t api_call(Call call, cudaError_t injected, const Body& body) {
  return api_call([&] {
    if (!fails(call)) return body();
    if (call == Call::wait) lasting_error() = injected;
    return injected;
  });
}

}  // namespace kvreplay::emulation
