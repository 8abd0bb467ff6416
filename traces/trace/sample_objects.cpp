#include "traces/trace/sample_objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "traces/hdf5/hdf5_values.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay::trace_schema {

using namespace hdf5;

namespace {

// The tensors: traces/trace/layer_arrays.h. Their shapes are checked when all that they are made of is known.
const SampleObject kLayers{
    .name = "layers",
    .recorded = nullptr,
    .read = [](const SampleSource&, SampleInfo&) {},
    .write = [](const SampleTarget& target) { target.create_arrays(target.group, ArrayOwner::sample, {}); },
    .check = [](const std::string&, const SampleInfo&) {}};

}  // namespace

std::span<const SampleObject> sample_objects() {
  static const std::array all{kTokenIds, kTokenTexts, kQueryRanges, kSpans,        kCompressionPoints,
                              kLayers,   kProbes,     kSensitivity, kForwardBegins};
  return all;
}

StoredArray SampleSource::open(const StoredGroup& location, const std::string& name,
                               std::optional<std::uint64_t> n) const {
  StoredArray array = open_array(location, name, {n});
  allowance.spend(array);
  return array;
}

std::vector<std::size_t> SampleSource::read_table(const StoredGroup& location, const std::string& name,
                                                  std::uint64_t width) const {
  const StoredArray array = open_array(location, name, {std::nullopt, width});
  allowance.spend(array);
  std::vector<std::size_t> numbers;
  for (const std::int64_t value : read_integers(array)) numbers.push_back(as_size(value, array.path));
  return numbers;
}

std::size_t check_point_name(const std::string& path, const SampleInfo& sample, const std::string& name,
                             std::set<std::string_view>& names) {
  const auto point = std::ranges::find(sample.compression_points, name, &CompressionPoint::name);
  if (point == sample.compression_points.end())
    violate("{}: expected names of compression points, found {:?}", path, name);
  if (!names.insert(name).second) violate("{}: expected names that differ, found {:?} twice", path, name);
  return point->position;
}

void write_numbers(const Group& group, const char* name, hid_t type, const std::vector<std::int64_t>& values) {
  write_integers(group, name, type, std::array<hsize_t, 1>{values.size()}, values);
}

void write_table(const Group& group, const char* name, hsize_t width, const std::vector<std::size_t>& values) {
  write_integers(group, name, H5T_STD_I64LE, std::array<hsize_t, 2>{values.size() / width, width},
                 {values.begin(), values.end()});
}

}  // namespace kvreplay::trace_schema
