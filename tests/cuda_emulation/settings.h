#pragma once
// How an emulated run goes, from the environment: KVREPLAY_EMULATION="schedule=rand,streams=lazy,seed=7".

#include <cstddef>
#include <cstdint>

namespace kvreplay::emulation {

/// In which order the threads of a block, and the blocks of a grid, come to run.
enum class Schedule { forward, reverse, random };

/// When work that was enqueued runs: at the call, only when something waits for it, or at random moments in between.
enum class Streams { eager, lazy, random };

/// Keys of the variable are the names here; README.md has the list with its values. An unknown one ends the program.
struct Settings {
  Schedule schedule = Schedule::forward;
  Streams streams = Streams::eager;
  std::uint32_t seed = 1;                     ///< of everything random; 0: from the clock. Printed when used.
  int devices = 1;                            ///< how many GPUs there are
  std::size_t memory = std::size_t{1} << 30;  ///< bytes of each GPU
  std::size_t shared = 99 << 10;              ///< most shared memory of a block, in bytes, opted in
  bool guard = true;                          ///< device memory is closed to the host
  bool unordered_blocks = true;               ///< ThreadSanitizer: blocks of a grid are concurrent
  bool early_exit = true;                     ///< a thread may exit while others wait at __syncthreads
  bool staged_copies = false;                 ///< asynchronous copies of pageable memory block; false: fatal
};

/// Tests may change what no work in flight depends on.
Settings& settings();

/// The next number of the run's random sequence. Not of the standard library: its templates are shared with
/// instrumented code.
std::uint32_t random_bits();

/// A number below n.
std::size_t random_below(std::size_t n);

}  // namespace kvreplay::emulation
