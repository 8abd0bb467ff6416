#pragma once
// Gives errors from inside a file the name of that file. Private to traces/.

#include <filesystem>

#include "core/base/error.h"
#include "traces/input/violation.h"

namespace kvreplay {

/// Runs `body`. A broken format becomes an InputError, a failure of HDF5 a FailureError; both begin with the path.
template <typename FailureError, typename Body>
auto naming_file(const std::filesystem::path& path, Body&& body) {
  try {
    return body();
  } catch (const hdf5::Violation& violation) {
    throw InputError(path.string() + ": " + violation.what());
  } catch (const hdf5::Failure& failure) {
    throw FailureError(path.string() + ": " + failure.what());
  }
}

}  // namespace kvreplay
