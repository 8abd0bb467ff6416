#pragma once
// Reads tensors as float32: several threads at once. Private to traces/.

#include <functional>

#include "core/data/trace_info.h"
#include "traces/input/stored_array.h"

namespace kvreplay::hdf5 {

/// Reads `rows` of every slab of an array [slabs, rows, cols] or [rows, cols] of float16, bfloat16 or float32 into
/// `out`, in the loops of core/base/parallel.h. Throws Violation when stored bytes are missing or do not decode, and
/// when a value is NaN or infinite: then it names the first in `out`.
/// \param place  names the element at these indices: "head 2, token 17, channel 3"
void read_tensor(const StoredArray& array, Range rows, std::span<float> out,
                 const std::function<std::string(std::span<const std::uint64_t>)>& place);

/// Asks the system to fetch what read_tensor() would read from the disk; does not wait.
void prefetch_tensor(const StoredArray& array, Range rows);

}  // namespace kvreplay::hdf5
