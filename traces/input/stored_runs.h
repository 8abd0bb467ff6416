#pragma once
// All elements of an array, as they lie in the file, piece by piece. Private to traces/.

#include <cstddef>
#include <functional>
#include <span>

#include "traces/input/stored_array.h"

namespace kvreplay::hdf5 {

/// Calls use(i, bytes) for runs of elements that lie side by side, where i is the row-major place of the first: every
/// element once. Throws Violation when they are not there or do not decode.
void for_each_run(const StoredArray& array, const std::function<void(std::size_t, std::span<const std::byte>)>& use);

}  // namespace kvreplay::hdf5
