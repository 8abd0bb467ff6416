#pragma once
// Reads tensors as float32: several threads at once, without the library's lock wherever that is possible.

#include <functional>

#include "core/data/trace_info.h"
#include "traces/hdf5/file_bytes.h"
#include "traces/hdf5/tensor_storage.h"

namespace kvreplay::hdf5 {

/// Reads `rows` of every slab of an array [slabs, rows, cols] or [rows, cols] of float16, bfloat16 or float32 into
/// `out`, in the loops of core/base/parallel.h. Throws Violation when stored bytes are missing or do not decode, and
/// when a value is NaN or infinite: then it names the first in `out`. Not to be called with a Lock held: other threads
/// help.
/// \param bytes  of the file that the array is in
/// \param place  names the element at these indices: "head 2, token 17, channel 3"
void read_tensor(const StoredArray& array, const FileBytes& bytes, Range rows, std::span<float> out,
                 const std::function<std::string(std::span<const hsize_t>)>& place);

/// Asks the system to fetch what read_tensor() would read from the disk; does not wait. It does nothing where only the
/// library knows where that is.
void prefetch_tensor(const StoredArray& array, const FileBytes& bytes, Range rows);

}  // namespace kvreplay::hdf5
