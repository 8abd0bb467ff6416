#pragma once
// Types, shapes and elements, as the HDF5 library reads them.

#include <functional>

#include "traces/hdf5/hdf5.h"
#include "traces/input/file_index.h"

namespace kvreplay::hdf5 {

IndexedType describe_type(const Type& type);
IndexedShape shape_of(const Space& space);

/// All elements of an attribute or array, or why there are none.
/// \param read  reads them as the memory type says
IndexedValues read_values(const Type& type, const Space& space, const std::function<herr_t(hid_t memory, void*)>& read);

}  // namespace kvreplay::hdf5
