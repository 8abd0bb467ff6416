#include "tests/cuda_emulation/api_call.h"

#include <sched.h>

#include <atomic>

namespace kvreplay::emulation {
namespace {

std::atomic<bool> taken = false;
thread_local int depth = 0;

}  // namespace

Turn::Turn() {
  if (depth++ > 0) return;
  while (taken.exchange(true, std::memory_order_acquire)) sched_yield();
}

Turn::~Turn() {
  if (--depth == 0) taken.store(false, std::memory_order_release);
}

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

cudaError_t& lasting_error() {
  static cudaError_t error = cudaSuccess;
  return error;
}

void clear_lasting_error() { lasting_error() = cudaSuccess; }

int& current_device() {
  thread_local int device = 0;
  return device;
}

}  // namespace kvreplay::emulation
