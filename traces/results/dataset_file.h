#pragma once
// Stores a Dataset as HDF5 with netCDF-4 dimension scales: `xarray.open_dataset(file, engine="h5netcdf")` opens it.

#include <filesystem>
#include <memory>

#include "core/data/dataset.h"
#include "traces/hdf5/new_file.h"
#include "traces/input/input_file.h"

namespace kvreplay {

/// Writes `path`.tmp, syncs it, renames it to `path`: the file is whole or absent. The same dataset gives the same
/// bytes: no time stamps. Labels become coordinate variables, so that xarray selects by them.
/// Throws SystemError (disk full, no permission) and leaves nothing behind.
void write_dataset(const std::filesystem::path& path, const Dataset& dataset);

/// The same up to the last step: the file is whole and synced under its temporary name, and commit() makes it appear.
std::unique_ptr<NewFile> write_dataset_aside(const std::filesystem::path& path, const Dataset& dataset);

/// Reads what write_dataset() wrote. Throws InputError when it is something else, truncated or absurd.
/// \param wanted  of the variables, where the arrays of all are too much at a time; empty: all
Dataset read_dataset(const InputFile& file, DatasetPart part = DatasetPart::whole, const VariableFilter& wanted = {});

}  // namespace kvreplay
