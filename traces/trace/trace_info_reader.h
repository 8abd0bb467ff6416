#pragma once
// Reads what a trace says about itself. Private to traces/.

#include "core/data/trace_info.h"
#include "traces/input/stored_file.h"

namespace kvreplay {

/// Checks the whole structure of an open trace, with the shape, dtype and storage of every tensor, and reads everything
/// but the tensors. Throws hdf5::Violation naming object, expected and found.
TraceInfo read_trace_info(const hdf5::StoredFile& file);

}  // namespace kvreplay
