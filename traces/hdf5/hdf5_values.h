#pragma once
// Writes attributes and small arrays of HDF5 files. Throws hdf5::Violation for text with a NUL, and Failure.

#include <cstdint>

#include "traces/hdf5/hdf5.h"

namespace kvreplay::hdf5 {

void write_attribute(hid_t object, const std::string& name, const std::string& value);
void write_attribute(hid_t object, const std::string& name, double value);
void write_attribute(hid_t object, const std::string& name, std::int64_t value);
void write_attribute(hid_t object, const std::string& name, const std::vector<std::int64_t>& values);

// New contiguous datasets; `values` has as many elements as `dims` says.
Dataset write_strings(hid_t location, const std::string& name, const std::vector<std::string>& values);
Dataset write_integers(hid_t location, const std::string& name, hid_t file_type, std::span<const hsize_t> dims,
                       const std::vector<std::int64_t>& values);
Dataset write_unsigned(hid_t location, const std::string& name, const std::vector<std::uint64_t>& values);
Dataset write_floats(hid_t location, const std::string& name, const std::vector<float>& values);
Dataset write_reals(hid_t location, const std::string& name, const std::vector<double>& values);

}  // namespace kvreplay::hdf5
