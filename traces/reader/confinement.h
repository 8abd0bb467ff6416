#pragma once
// Gives up, for good, all that a reader of files does not need.

#include <cstddef>

#include "traces/input/confinement.h"

namespace kvreplay::hdf5 {

/// What a confined process may use. Beyond it, it is killed, or told that there is no more memory.
struct ReaderLimits {
  std::size_t memory = 0;  ///< bytes of address space
  std::size_t cpu_seconds = 0;
};

/// After this the process can allocate memory, write to open descriptors, and end. All other system calls kill it
/// (seccomp) or are refused where a library tries them without harm; no file can be named (Landlock); and it dies with
/// its parent. Says how much of that the system grants: limits always.
Confinement confine(const ReaderLimits& limits);

}  // namespace kvreplay::hdf5
