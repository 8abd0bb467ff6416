#include "tests/cuda_emulation/live_resources.h"

#include "tests/cuda_emulation/device_heap.h"
#include "tests/cuda_emulation/library_call.h"
#include "tests/cuda_emulation/pinned_heap.h"
#include "tests/cuda_emulation/stream_queue.h"

namespace kvreplay::emulation {

LiveResources live_resources() {
  const Turn turn;
  return {n_device_allocations(), n_pinned_allocations(), n_streams(), n_events(), n_library_handles()};
}

}  // namespace kvreplay::emulation
