#pragma once
// The threads of the block that runs. Blocks run one after another, each thread on a fiber of its own.

#include <cstddef>
#include <functional>
#include <vector>

#include "tests/cuda_emulation/block_functions.h"
#include "tests/cuda_emulation/call_site.h"
#include "tests/cuda_emulation/fiber.h"
#include "tests/cuda_emulation/thread_index.h"
#include "tests/cuda_emulation/warp_functions.h"

namespace kvreplay::emulation {

/// Most shared memory of a block on any GPU, in bytes.
inline constexpr std::size_t kMaxSharedBytes = 227 << 10;

enum class ThreadState { runnable, at_barrier, in_warp_operation, exited };

struct Thread {
  Fiber* fiber = nullptr;
  unsigned rank = 0;  ///< in the block
  uint3 index{};
  ThreadState state = ThreadState::runnable;
  CallSite site;                    ///< where it waits
  WarpRequest request;              ///< of the warp operation it is in
  std::size_t shared_used = 0;      ///< bytes of shared memory taken
  std::size_t shared_position = 0;  ///< where the next array begins, gaps counted
};

/// Addresses that ThreadSanitizer orders threads by. There are two of each kind, used in turn: a thread may come to the
/// next barrier before another has left this one, and must not be ordered by it.
struct SyncTokens {
  char start = 0;
  char barrier[2] = {};
  char warps[32][2] = {};
};

struct Block {
  std::size_t number = 0;       ///< of all blocks that ran, from 1
  std::vector<Thread> threads;  ///< as many as the largest block had
  unsigned n_threads = 0;
  unsigned n_live = 0;
  std::vector<unsigned> runnable;  ///< ranks, in the order in which they woke
  unsigned n_at_barrier = 0;
  int n_true = 0;  ///< predicates at the barrier
  BarrierResult barrier_result;
  unsigned n_barriers = 0;    ///< passed so far
  unsigned n_syncs[32] = {};  ///< of each warp
  std::size_t shared_bytes = 0;
  SyncTokens* tokens = nullptr;
};

Block& block();

/// Only while in_kernel().
Thread& current_thread();

/// Whether the caller is a thread of a kernel.
bool in_kernel();

/// Lets a waiting thread go on.
void wake(Thread& thread);

/// Runs a kernel from its first to its last thread.
/// \param body  what each thread does
void run_grid(dim3 grid, dim3 threads, std::size_t shared_bytes, const std::function<void()>& body);

}  // namespace kvreplay::emulation
