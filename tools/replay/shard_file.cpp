#include "tools/replay/shard_file.h"

#include <fmt/format.h>

#include <charconv>

#include "core/base/error.h"
#include "tools/replay/unit_extras.h"

namespace kvreplay {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "kvreplay-shard";
constexpr const char* kFormatVersion = "1.1";
constexpr std::string_view kUnit = "unit-";
constexpr const char* kOwnAttributes[] = {"format", "format_version", "shard", "retained", "outputs"};

std::string creator() { return std::string("kvreplay ") + KVREPLAY_VERSION; }

// Opens what is a shard of this version.
DatasetCollection open_shard(const InputFile& file) {
  const fs::path& path = file.path();
  const FileFormat format = file.format();
  if (format.name != kFormat)
    throw InputError(fmt::format("{}: expected a shard ({}), found '{}'", path.string(), kFormat, format.name));
  if (format.version != kFormatVersion)
    throw InputError(
        fmt::format("{}: expected format_version {}, found '{}'", path.string(), kFormatVersion, format.version));
  return DatasetCollection(file);
}

template <typename T>
const T& attribute(const fs::path& path, const Dataset& dataset, const char* name) {
  const auto found = dataset.attributes.find(name);
  const T* const value = found == dataset.attributes.end() ? nullptr : std::get_if<T>(&found->second);
  if (value == nullptr) throw InputError(fmt::format("{}: the attribute {} is missing", path.string(), name));
  return *value;
}

ResultsFrame frame_of(const fs::path& path, Dataset dataset) try {
  for (const char* name : kOwnAttributes) dataset.attributes.erase(name);
  return results_frame(std::move(dataset));
} catch (const Error& error) {
  throw InputError(fmt::format("{}: {}", path.string(), error.what()));
}

Shard shard_of(const fs::path& path, const std::string& text) try {
  return parse_shard(text);
} catch (const UsageError&) {
  throw InputError(fmt::format("{}: attribute shard: expected I/N, found '{}'", path.string(), text));
}

std::string unit_name(std::size_t unit) { return fmt::format("{}{:06}", kUnit, unit); }

std::size_t unit_of(const fs::path& path, const std::string& name, std::size_t n_units) {
  std::size_t unit = n_units;
  if (name.starts_with(kUnit)) std::from_chars(name.data() + kUnit.size(), name.data() + name.size(), unit);
  if (unit >= n_units || unit_name(unit) != name)
    throw InputError(fmt::format("{}: expected units from {} to {}, found '{}'", path.string(), 0, n_units - 1, name));
  return unit;
}

}  // namespace

std::unique_ptr<NewFile> write_shard_file(const fs::path& path, const ResultsFrame& frame, const Shard& shard,
                                          KeptExtras kept, std::span<const std::size_t> units,
                                          const UnitReader& read_unit) {
  Dataset own = frame.dataset;
  own.attributes["format"] = std::string(kFormat);
  own.attributes["format_version"] = std::string(kFormatVersion);
  own.attributes["shard"] = shard_text(shard);
  own.attributes["retained"] = std::int64_t{kept.retained};
  own.attributes["outputs"] = std::int64_t{kept.outputs};
  NewDatasetCollection file(path, own);
  for (const std::size_t unit : units) file.add(unit_name(unit), read_unit(unit, DatasetPart::whole));
  return file.finish();
}

ShardFile ShardFile::open(const fs::path& path) {
  if (fs::is_directory(path) && path.extension() == ".units")
    throw InputError(fmt::format(
        "{}: expected the file of a shard, found the folder of an interrupted replay; its command goes on from there",
        path.string()));
  return ShardFile(InputFile(path));
}

ShardFile::ShardFile(const InputFile& input) : file_(open_shard(input)) {
  const fs::path& path = input.path();
  const Dataset& own = file_.own();
  if (const std::string& found = attribute<std::string>(path, own, "creator"); found != creator())
    throw InputError(fmt::format("{}: expected a shard of {}, found one of {}", path.string(), creator(), found));
  shard_ = shard_of(path, attribute<std::string>(path, own, "shard"));
  kept_ = {.retained = attribute<std::int64_t>(path, own, "retained") != 0,
           .outputs = attribute<std::int64_t>(path, own, "outputs") != 0};
  frame_ = frame_of(path, own);
  for (const std::string& name : file_.names()) units_.push_back(unit_of(path, name, frame_.n_units()));
}

Dataset ShardFile::read(std::size_t unit, DatasetPart part) const {
  Dataset dataset = file_.read(unit_name(unit), part);
  if (part == DatasetPart::carried) return dataset;
  try {
    check_unit(frame_, dataset);
    check_extras(frame_, dataset, kept_);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}: {}", path(), unit_name(unit), error.what()));
  }
  return dataset;
}

}  // namespace kvreplay
