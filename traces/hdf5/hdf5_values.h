#pragma once
// Attributes and small arrays of HDF5 files: strings, integers, reals, of any stored type that holds them.
// Throws hdf5::Violation when something is missing, of another type or out of range.

#include <cstdint>
#include <limits>

#include "traces/hdf5/hdf5.h"

namespace kvreplay::hdf5 {

bool has_attribute(hid_t object, const std::string& name);

std::string read_string_attribute(hid_t object, const std::string& name);
double read_real_attribute(hid_t object, const std::string& name);
/// \param low, high  smallest and largest allowed value
std::int64_t read_integer_attribute(hid_t object, const std::string& name, std::int64_t low, std::int64_t high);
/// One-dimensional. Does not look at the values.
std::vector<std::int64_t> read_integers_attribute(hid_t object, const std::string& name);

void write_attribute(hid_t object, const std::string& name, const std::string& value);
void write_attribute(hid_t object, const std::string& name, double value);
void write_attribute(hid_t object, const std::string& name, std::int64_t value);
void write_attribute(hid_t object, const std::string& name, const std::vector<std::int64_t>& values);

enum class ValueKind { string, integer, real, other };
ValueKind kind_of_type(hid_t type);
std::vector<std::string> attribute_names(hid_t object);
/// Kind of a scalar attribute; `other` when it is an array.
ValueKind kind_of_attribute(hid_t object, const std::string& name);

// All elements of a dataset in row-major order. The caller has checked its shape and storage (tensor_storage.h).
std::vector<std::string> read_strings(const Dataset& dataset);
std::vector<std::int64_t> read_integers(const Dataset& dataset);
std::vector<double> read_reals(const Dataset& dataset);
/// Integers of 8 bytes at most, not negative.
std::vector<std::uint64_t> read_unsigned(const Dataset& dataset);
/// Integers of one byte with a sign, into out [number of elements]. Throws Violation when they are of another type.
void read_bytes(const Dataset& dataset, std::span<std::int8_t> out);

// New contiguous datasets; `values` has as many elements as `dims` says.
Dataset write_strings(hid_t location, const std::string& name, const std::vector<std::string>& values);
Dataset write_integers(hid_t location, const std::string& name, hid_t file_type, std::span<const hsize_t> dims,
                       const std::vector<std::int64_t>& values);
Dataset write_unsigned(hid_t location, const std::string& name, const std::vector<std::uint64_t>& values);
Dataset write_floats(hid_t location, const std::string& name, const std::vector<float>& values);
Dataset write_reals(hid_t location, const std::string& name, const std::vector<double>& values);

}  // namespace kvreplay::hdf5
