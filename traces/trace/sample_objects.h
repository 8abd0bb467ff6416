#pragma once
// What a sample's group holds besides attributes, an object a row: its name, how it is read and written, and the rules
// that it obeys. A new object is a row here and a file beside this one. Private to traces/.

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/trace_info.h"
#include "traces/hdf5/hdf5.h"
#include "traces/input/read_allowance.h"
#include "traces/input/stored_values.h"
#include "traces/trace/layer_arrays.h"

namespace kvreplay::trace_schema {

/// A sample's group that is read.
struct SampleSource {
  const hdf5::StoredGroup& group;
  hdf5::ReadAllowance& allowance;

  /// An array of n elements, of any number without n: compared with the bytes in the file before it is allocated.
  hdf5::StoredArray open(const hdf5::StoredGroup& location, const std::string& name,
                         std::optional<std::uint64_t> n) const;
  /// The elements of an array [any, width] of integers from 0, row by row.
  std::vector<std::size_t> read_table(const hdf5::StoredGroup& location, const std::string& name,
                                      std::uint64_t width) const;
};

/// A sample's group that is written.
struct SampleTarget {
  const hdf5::Group& group;
  const TraceInfo& info;
  std::size_t index;  ///< of the sample
  /// Makes the arrays of an owner in location/layers/LL, without content. The place lacks its layer.
  std::function<void(const hdf5::Group& location, ArrayOwner owner, ArrayPlace place)> create_arrays;

  const SampleInfo& sample() const { return info.samples[index]; }
};

struct SampleObject {
  const char* name;                     ///< link in the sample's group
  bool (*recorded)(const SampleInfo&);  ///< whether there is one; nullptr: always
  void (*read)(const SampleSource&, SampleInfo&);
  void (*write)(const SampleTarget&);
  /// Throws hdf5::Violation naming the object, what is expected and what was found.
  /// \param path  of the sample
  void (*check)(const std::string& path, const SampleInfo&);
};

/// In the order in which they are written.
std::span<const SampleObject> sample_objects();

/// The position of the compression point that an entry of the group `path` belongs to.
/// \param names  those before it
std::size_t check_point_name(const std::string& path, const SampleInfo& sample, const std::string& name,
                             std::set<std::string_view>& names);

/// A one-dimensional array of integers.
void write_numbers(const hdf5::Group& group, const char* name, hid_t type, const std::vector<std::int64_t>& values);
/// [values / width, width]
void write_table(const hdf5::Group& group, const char* name, hsize_t width, const std::vector<std::size_t>& values);

// The rows, each in the file that is named after it.
extern const SampleObject kTokenIds, kTokenTexts;                    // sample_tokens.cpp
extern const SampleObject kQueryRanges, kSpans, kCompressionPoints;  // sample_marks.cpp
extern const SampleObject kProbes;                                   // sample_probes.cpp
extern const SampleObject kSensitivity;                              // sample_sensitivity.cpp
extern const SampleObject kForwardBegins;                            // sample_forward_begins.cpp

}  // namespace kvreplay::trace_schema
