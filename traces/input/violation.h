#pragma once
// What is wrong inside a file, before anybody says in which. Private to traces/: naming_file.h adds the path.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>
#include <string>

namespace kvreplay::hdf5 {

/// HDF5 or the disk failed. The message names the object.
class Failure : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A file, or what is to be written, breaks its format: the message has the object, what was expected and found.
class Violation : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// "[2, 100, 64]"
template <typename Dims>
std::string shape_text(const Dims& dims) {
  return fmt::format("[{}]", fmt::join(dims, ", "));
}

}  // namespace kvreplay::hdf5
