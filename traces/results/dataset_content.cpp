#include "traces/results/dataset_content.h"

#include <fmt/format.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <set>

#include "core/base/error.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/input/read_allowance.h"
#include "traces/input/stored_values.h"

namespace kvreplay {
namespace {

constexpr std::size_t kContiguousBytes = 64 << 10;  // up to here a variable is neither chunked nor compressed
constexpr std::size_t kChunkElements = 32 << 10;
constexpr unsigned kDeflateLevel = 1;

/// Attributes that dimension scales and netCDF-4 need for themselves. `coordinates` of the root tells xarray which
/// variables are labels: the text variables.
constexpr const char* kCoordinates = "coordinates";
constexpr std::array<std::string_view, 7> kReserved = {
    "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_FillValue", kCoordinates};

bool is_reserved(std::string_view name) {
  return std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end();
}

/// A dataset that contradicts itself is a mistake of the program.
[[noreturn]] void refuse(const std::string& message) {
  throw std::logic_error("cannot write this dataset: " + message);
}

void check_attributes(const std::string& owner, const Attributes& attributes) {
  for (const auto& [name, value] : attributes)
    if (name.empty() || is_reserved(name)) refuse(fmt::format("{} has an attribute named {:?}", owner, name));
}

void check_dataset(const Dataset& dataset) {
  std::set<std::string_view> names;
  const auto check_name = [&](const std::string& name) {
    if (name.empty() || name.find_first_of("/ ") != name.npos || !names.insert(name).second)
      refuse(fmt::format("{:?} is not a name of its own", name));
  };
  check_attributes("it", dataset.attributes);
  for (const Dimension& dimension : dataset.dimensions) {
    check_name(dimension.name);
    check_attributes(dimension.name, dimension.attributes);
  }
  for (const Variable& variable : dataset.variables) {
    check_name(variable.name);
    check_attributes(variable.name, variable.attributes);
    if (variable.dimensions.size() > H5S_MAX_RANK)
      refuse(fmt::format("{} has {} dimensions", variable.name, variable.dimensions.size()));
    if (const std::size_t volume = dataset.volume(variable.dimensions); variable.values.size() != volume)
      refuse(fmt::format("{} has {} values, its dimensions have room for {}", variable.name, variable.values.size(),
                         volume));
  }
  for (const TextVariable& text : dataset.texts) {
    check_name(text.name);
    if (text.values.size() != dataset.dimension(text.dimension).size())
      refuse(fmt::format("{} has {} values along {}", text.name, text.values.size(), text.dimension));
  }
  names.clear();
  for (const CarriedArray& array : dataset.carried)
    if (array.name.empty() || array.name.find('/') != array.name.npos || !names.insert(array.name).second)
      refuse(fmt::format("{:?} is not a name of its own", array.name));
}

void write_carried(const hdf5::Group& root, const std::vector<CarriedArray>& arrays) {
  if (arrays.empty()) return;
  const hdf5::Group group = hdf5::create_group(root, kCarriedGroup, true);
  for (const CarriedArray& array : arrays) {
    hdf5::Dataset dataset =
        hdf5::create_dataset(group, array.name, H5T_IEEE_F32LE,
                             hdf5::new_space(std::array<hsize_t, 1>{array.values.size()}), hdf5::dataset_creation());
    if (!array.values.empty())
      hdf5::check("write", dataset, "", [&] {
        return H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, array.values.data());
      });
    dataset.close();
  }
}

std::vector<CarriedArray> read_carried(const hdf5::StoredGroup& root) {
  std::vector<CarriedArray> arrays;
  if (!hdf5::has_link(root, kCarriedGroup)) return arrays;
  hdf5::ReadAllowance allowance(*root.file);
  const hdf5::StoredGroup group = hdf5::open_group(root, kCarriedGroup);
  for (const std::string& name : hdf5::link_names(group)) {
    const hdf5::StoredArray stored = hdf5::open_array(group, name, {std::nullopt});
    allowance.spend(stored);
    if (hdf5::kind_of(stored) != hdf5::ValueKind::real)
      throw hdf5::Violation(fmt::format("{}: expected real numbers, found another type", stored.path));
    const std::vector<double> values = hdf5::read_reals(stored);
    arrays.push_back({name, {values.begin(), values.end()}});
  }
  return arrays;
}

void write_attributes(hid_t object, const Attributes& attributes) {
  for (const auto& [name, value] : attributes)
    std::visit([&, &key = name](const auto& v) { hdf5::write_attribute(object, key, v); }, value);
}

hdf5::Dataset write_labels(hid_t root, const std::string& name, const Labels& labels) {
  if (const auto* strings = std::get_if<std::vector<std::string>>(&labels))
    return hdf5::write_strings(root, name, *strings);
  if (const auto* reals = std::get_if<std::vector<double>>(&labels)) return hdf5::write_reals(root, name, *reals);
  const auto& integers = std::get<std::vector<std::int64_t>>(labels);
  return hdf5::write_integers(root, name, H5T_STD_I64LE, std::array<hsize_t, 1>{integers.size()}, integers);
}

/// Chunks hold whole trailing dimensions, as many as fit.
std::vector<hsize_t> chunk_of(std::vector<hsize_t> dims) {
  std::size_t room = kChunkElements;
  for (std::size_t i = dims.size(); i-- > 0;) {
    dims[i] = std::clamp<hsize_t>(room, 1, dims[i]);
    room /= dims[i];
  }
  return dims;
}

hdf5::Dataset write_values(hid_t root, const Variable& variable, const std::vector<hsize_t>& dims) {
  const hdf5::PropertyList creation = hdf5::dataset_creation();
  const double missing = std::numeric_limits<double>::quiet_NaN();
  hdf5::check("set up", -1, "fill value", [&] { return H5Pset_fill_value(creation, H5T_NATIVE_DOUBLE, &missing); });
  if (variable.values.size() * sizeof(double) > kContiguousBytes) {
    const std::vector<hsize_t> chunk = chunk_of(dims);
    hdf5::check("set up", -1, "chunks",
                [&] { return H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data()); });
    hdf5::compress(creation, kDeflateLevel);
  }
  hdf5::Dataset dataset = hdf5::create_dataset(root, variable.name, H5T_IEEE_F64LE, hdf5::new_space(dims), creation);
  if (!variable.values.empty())
    hdf5::check("write", dataset, "", [&] {
      return H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, variable.values.data());
    });
  return dataset;
}

void attach_scale(const hdf5::Dataset& dataset, const hdf5::Dataset& scale, std::size_t axis) {
  hdf5::check("attach a dimension to", dataset, "",
              [&] { return H5DSattach_scale(dataset, scale, static_cast<unsigned>(axis)); });
}

Attributes read_attributes(const hdf5::StoredObject& object) {
  constexpr std::size_t kMost = 4096;
  Attributes attributes;
  const std::vector<std::string> names = hdf5::attribute_names(object);
  if (names.size() > kMost)
    throw hdf5::Violation(
        fmt::format("{}: expected at most {} attributes, found {}", object.path, kMost, names.size()));
  for (const std::string& name : names) {
    if (is_reserved(name) || name.starts_with('_')) continue;  // those of netCDF: _FillValue, _Netcdf4Dimid
    hdf5::require_printable(name, "attributes of " + object.path);
    switch (hdf5::kind_of_attribute(object, name)) {
      case hdf5::ValueKind::string:
        attributes[name] = hdf5::read_string_attribute(object, name);
        hdf5::require_printable(std::get<std::string>(attributes[name]),
                                fmt::format("attribute {} of {}", name, object.path), true);
        break;
      case hdf5::ValueKind::real:
        attributes[name] = hdf5::read_real_attribute(object, name);
        break;
      case hdf5::ValueKind::integer:
        attributes[name] = hdf5::read_integer_attribute(object, name, std::numeric_limits<std::int64_t>::min(),
                                                        std::numeric_limits<std::int64_t>::max());
        break;
      case hdf5::ValueKind::other:
        throw hdf5::Violation(fmt::format(
            "attribute {} of {}: expected one string, integer or real number, found another type", name, object.path));
    }
  }
  return attributes;
}

Labels read_labels(const hdf5::StoredArray& array, hdf5::ValueKind kind) {
  switch (kind) {
    case hdf5::ValueKind::string:
      return hdf5::read_names(array);
    case hdf5::ValueKind::integer:
      return hdf5::read_integers(array);
    default:
      return hdf5::read_reals(array);
  }
}

/// The links of a group to its dimension scales, by the address of the scale.
using ScaleNames = std::map<std::uint64_t, std::string>;

/// Names of the dimensions of an array. Throws Violation when one is missing or does not have the array's length.
std::vector<std::string> dimensions_of(const hdf5::StoredArray& array, const ScaleNames& scales,
                                       const Dataset& dataset) {
  const std::vector<std::vector<std::uint64_t>> attached = hdf5::read_references_attribute(array, "DIMENSION_LIST");
  std::vector<std::string> names;
  for (std::size_t i = 0; i < array.dims().size(); ++i) {
    // The first one is enough.
    const bool has_scale = i < attached.size() && !attached[i].empty() && scales.contains(attached[i][0]);
    std::string name = has_scale ? scales.at(attached[i][0]) : "";
    if (!dataset.has_dimension(name))
      throw hdf5::Violation(fmt::format("{}: expected a named dimension {}, found {:?}", array.path, i, name));
    if (const std::size_t size = dataset.dimension(name).size(); size != array.dims()[i])
      throw hdf5::Violation(
          fmt::format("{}: expected {} entries along {}, found {}", array.path, size, name, array.dims()[i]));
    names.push_back(std::move(name));
  }
  return names;
}

hdf5::ValueKind kind_of(const std::string& name, const hdf5::StoredArray& array) {
  const hdf5::ValueKind kind = hdf5::kind_of(array);
  if (kind == hdf5::ValueKind::other)
    throw hdf5::Violation(fmt::format("/{}: expected strings or numbers, found another type", name));
  return kind;
}

bool is_scale(const hdf5::StoredArray& array) {
  return hdf5::has_attribute(array, "CLASS") && hdf5::read_string_attribute(array, "CLASS") == "DIMENSION_SCALE";
}

void read_scale(const std::string& name, const hdf5::StoredArray& array, Dataset& dataset) {
  if (array.dims().size() != 1)
    throw hdf5::Violation(fmt::format("/{}: expected one axis, found shape {}", name, hdf5::shape_text(array.dims())));
  dataset.dimensions.push_back({name, read_labels(array, kind_of(name, array)), read_attributes(array)});
}

void read_variable(const std::string& name, const hdf5::StoredArray& array, const ScaleNames& scales,
                   Dataset& dataset) {
  using hdf5::ValueKind;
  const ValueKind kind = kind_of(name, array);
  std::vector<std::string> dimensions = dimensions_of(array, scales, dataset);
  if (kind != ValueKind::string) {
    dataset.variables.push_back({name, std::move(dimensions), hdf5::read_reals(array), read_attributes(array)});
    return;
  }
  if (dimensions.size() != 1)
    throw hdf5::Violation(fmt::format("/{}: expected strings along one dimension, found {}", name, dimensions.size()));
  dataset.texts.push_back({name, dimensions[0], hdf5::read_names(array)});
}

}  // namespace

void write_dataset_content(const hdf5::Group& root, const Dataset& dataset) {
  check_dataset(dataset);
  write_attributes(root, dataset.attributes);
  if (!dataset.texts.empty()) {
    std::string names;
    for (const TextVariable& text : dataset.texts) names += (names.empty() ? "" : " ") + text.name;
    hdf5::write_attribute(root, kCoordinates, names);
  }
  std::map<std::string, hdf5::Dataset> scales;
  for (const Dimension& dimension : dataset.dimensions) {
    hdf5::Dataset scale = write_labels(root, dimension.name, dimension.labels);
    hdf5::check("make a dimension of", scale, "", [&] { return H5DSset_scale(scale, dimension.name.c_str()); });
    write_attributes(scale, dimension.attributes);
    scales[dimension.name] = std::move(scale);
  }
  for (const Variable& variable : dataset.variables) {
    std::vector<hsize_t> dims;
    for (const std::string& name : variable.dimensions) dims.push_back(dataset.dimension(name).size());
    hdf5::Dataset written = write_values(root, variable, dims);
    for (std::size_t i = 0; i < dims.size(); ++i) attach_scale(written, scales[variable.dimensions[i]], i);
    write_attributes(written, variable.attributes);
    written.close();
  }
  for (const TextVariable& text : dataset.texts) {
    hdf5::Dataset written = hdf5::write_strings(root, text.name, text.values);
    attach_scale(written, scales[text.dimension], 0);
    written.close();
  }
  for (auto& [name, scale] : scales) scale.close();
  write_carried(root, dataset.carried);
}

Dataset read_dataset_content(const hdf5::StoredGroup& root, DatasetPart part, const VariableFilter& wanted) {
  Dataset dataset;
  if (part != DatasetPart::described) dataset.carried = read_carried(root);
  if (part == DatasetPart::carried) return dataset;
  dataset.attributes = read_attributes(root);
  hdf5::ReadAllowance allowance(*root.file);
  // Dimensions first: what others have saved again lists its links in any order.
  std::vector<std::pair<std::string, hdf5::StoredArray>> variables;
  ScaleNames scales;
  for (const std::string& name : hdf5::link_names(root)) {
    if (name == hdf5::kMembersGroup || name == kCarriedGroup) continue;
    hdf5::require_printable(name, root.path);
    hdf5::StoredArray array = hdf5::open_array(root, name);
    const bool is_number = hdf5::kind_of(array) != hdf5::ValueKind::string;
    if (wanted && is_number && !is_scale(array) && !wanted(name, read_attributes(array))) continue;
    allowance.spend(array);
    if (is_scale(array)) {
      scales[array.object->address] = name;
      read_scale(name, array, dataset);
    } else {
      variables.emplace_back(name, std::move(array));
    }
  }
  for (const auto& [name, array] : variables) read_variable(name, array, scales, dataset);
  return dataset;
}

}  // namespace kvreplay
