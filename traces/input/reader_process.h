#pragma once
// Asks kvreplay-reader (traces/reader/) what is in files: a process of its own that can do nothing but answer.

#include <span>
#include <string>
#include <vector>

#include "traces/input/confinement.h"
#include "traces/input/file_bytes.h"
#include "traces/input/file_index.h"

namespace kvreplay::hdf5 {

/// What the reader says of one file.
struct Described {
  FileIndex index;
  Confinement confinement;    ///< of whoever read it
  std::uint64_t n_bytes = 0;  ///< of the answer that it came in
  std::string complaint;      ///< why there is none; "": there is
};

/// Describes files that are trusted or distrusted together, in one process: a crafted one among them could speak for
/// the others. From the first on, up to the first with a complaint. Whatever the reader does, what comes back obeys
/// parse_index(). Throws SystemError when it cannot be started, or is killed from outside, and InputError where the
/// system has no confinement and input is not trusted.
std::vector<Described> describe_files(std::span<const FileBytes* const> files, const MemberRange& members = {});

}  // namespace kvreplay::hdf5
