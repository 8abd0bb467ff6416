#pragma once
// Attributes and small arrays of HDF5 files: strings, integers, reals, of any stored type that holds them.
// Throws hdf5::Violation when something is missing, of another type or out of range. Private to traces/.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "traces/input/stored_array.h"

namespace kvreplay::hdf5 {

/// What goes to a terminal, or names things. Throws Violation for control characters.
/// \param lines  whether it may have line breaks and tabs
void require_printable(std::string_view text, const std::string& place, bool lines = false);

bool has_attribute(const StoredObject& object, std::string_view name);

std::string read_string_attribute(const StoredObject& object, std::string_view name);
/// The same, and without control characters.
std::string read_name_attribute(const StoredObject& object, std::string_view name);
double read_real_attribute(const StoredObject& object, std::string_view name);
/// \param low, high  smallest and largest allowed value
std::int64_t read_integer_attribute(const StoredObject& object, std::string_view name, std::int64_t low,
                                    std::int64_t high);
/// One-dimensional. Does not look at the values.
std::vector<std::int64_t> read_integers_attribute(const StoredObject& object, std::string_view name);

/// The addresses in a list of lists of references to objects; none where the attribute is missing.
std::vector<std::vector<std::uint64_t>> read_references_attribute(const StoredObject& object, std::string_view name);

enum class ValueKind { string, integer, real, other };
ValueKind kind_of(const StoredArray& array);
std::vector<std::string> attribute_names(const StoredObject& object);
/// Kind of a scalar attribute; `other` when it is an array.
ValueKind kind_of_attribute(const StoredObject& object, std::string_view name);

// All elements of an array in row-major order.
std::vector<std::string> read_strings(const StoredArray& array);
/// The same, and without control characters.
std::vector<std::string> read_names(const StoredArray& array);
std::vector<std::int64_t> read_integers(const StoredArray& array);
std::vector<double> read_reals(const StoredArray& array);
/// Not negative.
std::vector<std::uint64_t> read_unsigned(const StoredArray& array);

/// Throws Violation when the elements are not integers of one byte with a sign.
void require_int8(const StoredArray& array);
/// Those integers, into out [number of elements].
void read_int8(const StoredArray& array, std::span<std::int8_t> out);

}  // namespace kvreplay::hdf5
