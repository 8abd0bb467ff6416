#pragma once
// How the process that reads files (traces/reader/) is kept from doing anything else.

namespace kvreplay::hdf5 {

struct Confinement {
  bool system_calls = false;  ///< seccomp
  bool files = false;         ///< Landlock
};

}  // namespace kvreplay::hdf5
