#pragma once
// Device functions that concern a whole block: barriers, fences, dynamic shared memory.

#include <cstddef>

#include "tests/cuda_emulation/call_site.h"

namespace kvreplay::emulation {

/// What __syncthreads_count, _and and _or return.
struct BarrierResult {
  int n_true = 0;
  bool all = false;
  bool any = false;
};

/// Waits for all threads of the block that have not exited. All must stand at the same line.
BarrierResult wait_at_barrier(bool predicate, const CallSite& site);

/// Orders the memory accesses before any fence of the grid with those after any later one. The hardware orders less:
/// only threads that tell each other of it (by an atomic, say).
void fence();

/// The next array of the block's dynamic shared memory; SharedArena of core/cuda/device.cuh is its user.
void* take_shared(std::size_t n_bytes, std::size_t alignment);

[[noreturn]] void trap(const CallSite& site);

}  // namespace kvreplay::emulation

inline void __syncthreads(kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  kvreplay::emulation::wait_at_barrier(true, site);
}
inline int __syncthreads_count(int predicate,
                               kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::wait_at_barrier(predicate != 0, site).n_true;
}
inline int __syncthreads_and(int predicate,
                             kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::wait_at_barrier(predicate != 0, site).all;
}
inline int __syncthreads_or(int predicate, kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::wait_at_barrier(predicate != 0, site).any;
}

inline void __threadfence() { kvreplay::emulation::fence(); }
inline void __threadfence_block() { kvreplay::emulation::fence(); }

[[noreturn]] inline void __trap(kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  kvreplay::emulation::trap(site);
}
