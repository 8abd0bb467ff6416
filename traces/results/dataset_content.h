#pragma once
// A Dataset as what an HDF5 group holds. Private to traces/.

#include "core/data/dataset.h"
#include "traces/hdf5/hdf5.h"
#include "traces/input/stored_file.h"

namespace kvreplay {

/// The group of a dataset's carried arrays, where it has some.
inline constexpr const char* kCarriedGroup = "carried";

/// \param group  empty, and keeps the order of its links
/// Throws Failure; std::logic_error for a dataset that contradicts itself.
void write_dataset_content(const hdf5::Group& group, const Dataset& dataset);

/// \param wanted  of the variables; empty: all
/// Throws Violation.
Dataset read_dataset_content(const hdf5::StoredGroup& group, DatasetPart part = DatasetPart::whole,
                             const VariableFilter& wanted = {});

}  // namespace kvreplay
