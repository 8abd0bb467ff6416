#include "traces/results/retained_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "core/base/error.h"
#include "traces/input/naming_file.h"
#include "traces/input/read_allowance.h"
#include "traces/input/stored_values.h"

namespace kvreplay {
namespace {

using hdf5::StoredArray;
using hdf5::StoredGroup;
using hdf5::Violation;

constexpr std::int64_t kMostTokens = 1 << 27;  // as traces have

std::size_t parse_digits(std::string_view text, const std::string& place) {
  std::size_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size() || number > std::size_t{kMostTokens})
    throw Violation(fmt::format("{}: expected a number of at most {} in digits, found {:?}", place, kMostTokens, text));
  return number;
}

std::size_t digits_attribute(const hdf5::StoredObject& object, std::string_view name) {
  return parse_digits(hdf5::read_string_attribute(object, name), fmt::format("attribute {} of {}", name, object.path));
}

template <typename Read>
auto read_list(const StoredGroup& group, const char* name, hdf5::ReadAllowance& allowance, Read read,
               std::optional<std::uint64_t> length = std::nullopt) {
  const StoredArray array = hdf5::open_array(group, name, {length});
  allowance.spend(array);
  return read(array);
}

std::vector<Span> read_spans(const StoredGroup& group, hdf5::ReadAllowance& allowance) {
  const std::vector<std::string> names = read_list(group, "name", allowance, hdf5::read_names);
  const auto begins = read_list(group, "begin", allowance, hdf5::read_integers, names.size());
  const auto ends = read_list(group, "end", allowance, hdf5::read_integers, names.size());
  std::vector<Span> spans;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (begins[i] < 0 || ends[i] < begins[i] || ends[i] > kMostTokens)
      throw Violation(fmt::format("{}: expected 0 <= begin <= end <= {}, found {} and {} of {:?}", group.path,
                                  kMostTokens, begins[i], ends[i], names[i]));
    spans.push_back({names[i], {static_cast<std::size_t>(begins[i]), static_cast<std::size_t>(ends[i])}});
  }
  return spans;
}

std::vector<RetainedSample> read_samples(const StoredGroup& root, hdf5::ReadAllowance& allowance) {
  std::vector<RetainedSample> samples;
  if (!hdf5::has_link(root, "prompts")) return samples;
  const StoredGroup prompts = hdf5::open_group(root, "prompts");
  for (const std::string& link : hdf5::link_names(prompts)) {
    const StoredGroup group = hdf5::open_group(prompts, link);
    RetainedSample sample{.index = parse_digits(link, prompts.path),
                          .name = hdf5::read_name_attribute(group, "name"),
                          .decode_start = digits_attribute(group, "decode_start"),
                          .token_texts = {},
                          .spans = {}};
    if (hdf5::has_link(group, "token_texts"))
      sample.token_texts = read_list(group, "token_texts", allowance, hdf5::read_strings);
    if (hdf5::has_link(group, "spans")) sample.spans = read_spans(hdf5::open_group(group, "spans"), allowance);
    samples.push_back(std::move(sample));
  }
  return samples;
}

std::string path_of(const RetainedPlace& place) {
  return fmt::format("samples/{:04}/{}/layers/{:02}/retained/{}", place.sample, place.point, place.layer, place.policy);
}

std::optional<StoredArray> find_sets(const InputFile& file, const RetainedPlace& place) {
  const StoredGroup root = hdf5::root_of(file.stored());
  const std::string path = path_of(place);
  if (!hdf5::has_link(root, path)) return std::nullopt;
  return hdf5::open_array(root, path, {std::nullopt, std::nullopt, std::nullopt});
}

SavedSetsShape shape_of(const StoredArray& array) {
  if (array.dims()[0] == 0 || array.dims()[1] == 0)
    throw Violation(
        fmt::format("{}: expected budgets and heads, found {}", array.path, hdf5::shape_text(array.dims())));
  return {.n_budgets = array.dims()[0],
          .n_heads = array.dims()[1],
          .n_candidates = array.dims()[2],
          .first_position = digits_attribute(array, "first_position")};
}

}  // namespace

RetainedFile::RetainedFile(InputFile file) : file_(std::move(file)) {
  if (const FileFormat format = file_.format(); format.name != kRetainedFormat || !format.version.starts_with("1."))
    throw InputError(
        fmt::format("{}: expected {} 1.x, found {} {}", path().string(), kRetainedFormat, format.name, format.version));
  naming_file<InputError>(path(), [&] {
    const StoredGroup root = hdf5::root_of(file_.stored());
    options_ = hdf5::read_string_attribute(root, "options");
    hdf5::ReadAllowance allowance(file_.stored());
    samples_ = read_samples(root, allowance);
  });
}

std::optional<SavedSetsShape> RetainedFile::shape(const RetainedPlace& place) const {
  return naming_file<InputError>(path(), [&]() -> std::optional<SavedSetsShape> {
    const std::optional<StoredArray> array = find_sets(file_, place);
    return array ? std::optional(shape_of(*array)) : std::nullopt;
  });
}

std::optional<SavedSets> RetainedFile::read(const RetainedPlace& place) const {
  return naming_file<InputError>(path(), [&]() -> std::optional<SavedSets> {
    const std::optional<StoredArray> array = find_sets(file_, place);
    if (!array) return std::nullopt;
    hdf5::ReadAllowance(file_.stored()).spend(*array);
    SavedSets sets{{shape_of(*array)}, {}};
    const std::vector<std::uint64_t> values = hdf5::read_unsigned(*array);
    sets.kept.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] > 1)
        throw Violation(fmt::format("{}: expected 0 or 1, found {} at budget {}, head {}, candidate {}", array->path,
                                    values[i], i / (sets.n_heads * sets.n_candidates),
                                    i / sets.n_candidates % sets.n_heads, i % sets.n_candidates));
      sets.kept[i] = static_cast<std::uint8_t>(values[i]);
    }
    return sets;
  });
}

}  // namespace kvreplay
