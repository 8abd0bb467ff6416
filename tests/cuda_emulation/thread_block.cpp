#include "tests/cuda_emulation/thread_block.h"

#include <cstdio>
#include <memory>
#include <utility>

#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/sanitizers.h"
#include "tests/cuda_emulation/settings.h"
#include "tests/cuda_emulation/shared_memory.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace kvreplay::emulation {
namespace {

Block the_block;
Thread* current = nullptr;
const std::function<void()>* kernel_body = nullptr;

// ThreadSanitizer's tokens of the grid that runs. Those of another are elsewhere: it may run on another stream, with
// which there is no order.
struct GridTokens {
  char fence = 0;
  char exit = 0;
};
GridTokens* grid_tokens = nullptr;

// Fibers are reused in rotation. The same thread index of two blocks is then rarely the same line of execution in
// ThreadSanitizer's eyes, so that races between blocks show.
std::vector<std::unique_ptr<Fiber>> fibers;
std::size_t first_fiber = 0;
constexpr std::size_t kSpareFibers = 13;
constexpr std::size_t kFiberStep = 7;

std::vector<unsigned> round;  // ranks that go on before any of those that they wake

void put_in_order(std::vector<unsigned>& ranks) {
  const std::size_t n = ranks.size();
  if (settings().schedule == Schedule::reverse)
    for (std::size_t i = 0; i < n / 2; ++i) std::swap(ranks[i], ranks[n - 1 - i]);
  if (settings().schedule == Schedule::random)
    for (std::size_t i = n; i > 1; --i) std::swap(ranks[i - 1], ranks[random_below(i)]);
}

void open_barrier() {
  Block& b = the_block;
  b.barrier_result = {b.n_true, b.n_true == static_cast<int>(b.n_at_barrier), b.n_true != 0};
  b.n_true = 0;
  const CallSite* first = nullptr;
  for (unsigned rank = 0; rank < b.n_threads; ++rank) {
    Thread& thread = b.threads[rank];
    if (thread.state != ThreadState::at_barrier) continue;
    if (first == nullptr) first = &thread.site;
    if (first->line != thread.site.line)
      fatal("threads of one block wait at different barriers: lines " + std::to_string(first->line) + " and " +
                std::to_string(thread.site.line),
            &thread.site);
    wake(thread);
  }
  b.n_at_barrier = 0;
  ++b.n_barriers;
}

void run_thread() {
  acquire(&the_block.tokens->start);
  (*kernel_body)();
  release(&grid_tokens->exit);
  current->state = ThreadState::exited;
}

void thread_exited(const Thread& thread) {
  Block& b = the_block;
  --b.n_live;
  if (b.n_at_barrier == 0) return;
  if (!settings().early_exit) fatal("a thread exited while others wait at __syncthreads", &thread.site);
  if (b.n_at_barrier == b.n_live) open_barrier();
}

[[noreturn]] void report_deadlock() {
  for (unsigned rank = 0; rank < the_block.n_threads; ++rank) {
    const Thread& thread = the_block.threads[rank];
    if (thread.state != ThreadState::exited)
      std::fprintf(stderr, "  thread %u waits in %s at line %u\n", rank,
                   thread.state == ThreadState::at_barrier ? "__syncthreads" : "a warp operation", thread.site.line);
  }
  fatal("deadlock: not all threads come to the same barrier or warp operation");
}

// Grids of all streams use the same fibers and tables.
void make_room(unsigned n_threads) {
  const Unseen unseen;
  Block& b = the_block;
  b.n_threads = n_threads;
  if (b.threads.size() < n_threads) b.threads.resize(n_threads);
  while (fibers.size() < n_threads + kSpareFibers) fibers.push_back(std::make_unique<Fiber>());
  // Threads wake others from their fibers, where ThreadSanitizer would see memory change hands.
  b.runnable.reserve(n_threads);
  round.reserve(n_threads);
}

void start_threads() {
  Block& b = the_block;
  ++b.number;
  b.n_live = b.n_threads;
  b.n_at_barrier = 0;
  b.n_true = 0;
  b.runnable.clear();
  first_fiber += kFiberStep;
  for (unsigned rank = 0; rank < b.n_threads; ++rank) {
    Thread& thread = b.threads[rank];
    thread = Thread{};
    thread.fiber = fibers[(rank + first_fiber) % fibers.size()].get();
    thread.rank = rank;
    thread.index = {rank % blockDim.x, rank / blockDim.x % blockDim.y, rank / (blockDim.x * blockDim.y)};
    thread.fiber->start(run_thread);
    b.runnable.push_back(rank);
  }
}

void run_block() {
  Block& b = the_block;
  b.tokens = begin_shared_memory();
  start_threads();
  release(&b.tokens->start);
  while (b.n_live > 0) {
    if (b.runnable.empty()) report_deadlock();
    round.swap(b.runnable);
    b.runnable.clear();
    put_in_order(round);
    for (const unsigned rank : round) {
      current = &b.threads[rank];
      threadIdx = current->index;
      current->fiber->resume();
      Thread& thread = *std::exchange(current, nullptr);
      if (thread.state == ThreadState::exited) thread_exited(thread);
    }
  }
  end_shared_memory();
  if (!settings().unordered_blocks) acquire(&grid_tokens->exit);
}

}  // namespace

Block& block() { return the_block; }
Thread& current_thread() { return *current; }
bool in_kernel() { return current != nullptr; }
unsigned lane() { return current->rank % 32; }

void wake(Thread& thread) {
  thread.state = ThreadState::runnable;
  the_block.runnable.push_back(thread.rank);
}

BarrierResult wait_at_barrier(bool predicate, const CallSite& site) {
  Block& b = the_block;
  current->site = site;
  current->state = ThreadState::at_barrier;
  b.n_true += predicate;
  char* const token = &b.tokens->barrier[b.n_barriers % 2];
  release(token);
  if (++b.n_at_barrier == b.n_live) open_barrier();
  Fiber::leave();
  acquire(token);
  return b.barrier_result;
}

void fence() {
  acquire(&grid_tokens->fence);
  release(&grid_tokens->fence);
}

void trap(const CallSite& site) { fatal("__trap", &site); }

void run_grid(dim3 grid, dim3 threads, std::size_t shared_bytes, const std::function<void()>& body) {
  make_room(threads.x * threads.y * threads.z);
  the_block.shared_bytes = shared_bytes;
  blockDim = threads;
  gridDim = grid;
  kernel_body = &body;
  const auto tokens = std::make_unique<GridTokens>();
  grid_tokens = tokens.get();

  std::vector<unsigned> order(static_cast<std::size_t>(grid.x) * grid.y * grid.z);
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<unsigned>(i);
  put_in_order(order);
  for (const unsigned i : order) {
    blockIdx = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    run_block();
  }
  acquire(&tokens->exit);
}

}  // namespace kvreplay::emulation
