#include "tools/cli/results_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/data/results.h"
#include "traces/results/dataset_file.h"

namespace kvreplay {
namespace {

bool is_metric(const Attributes& attributes) { return attributes.contains("numerator"); }

/// docs/formats/results.md: the sums of metrics end so.
bool is_sum(const std::string& name) { return name.ends_with("_numerator") || name.ends_with("_denominator"); }

}  // namespace

InputFile open_results(const std::string& path) {
  InputFile file(path);
  if (const FileFormat format = file.format(); format.name != results::kFormat)
    throw InputError(fmt::format("{}: expected {}, found {}", path, results::kFormat, format.name));
  return file;
}

FileReportSource::FileReportSource(const std::vector<std::string>& paths) {
  const auto note_metric = [&](const std::string& name, const Attributes& attributes) {
    if (!is_metric(attributes)) return false;
    if (std::ranges::find(metrics_, name) == metrics_.end()) metrics_.push_back(name);
    if (!text_attribute(attributes, "of_layers").empty()) of_layers_.push_back(name);
    for (const char* sum : {"numerator", "denominator"}) sums_[name].push_back(text_attribute(attributes, sum));
    return false;
  };
  for (const std::string& path : paths) {
    const Dataset frame = read_dataset(inputs_.emplace_back(open_results(path)), DatasetPart::described, note_metric);
    options_.push_back(text_attribute(frame.attributes, "options"));
  }
  const JoinedResults found = joined(of_layers_);
  std::erase_if(metrics_, [&](const std::string& metric) {
    return std::ranges::find(of_layers_, metric) != of_layers_.end() && !found.data.has_variable(metric);
  });
}

std::vector<ResultsFile> FileReportSource::files(const VariableFilter& wanted) const {
  std::vector<ResultsFile> files;
  for (const InputFile& file : inputs_)
    files.push_back({.name = file.path().string(), .data = read_dataset(file, DatasetPart::described, wanted)});
  return files;
}

JoinedResults FileReportSource::joined(std::span<const std::string> metrics) const {
  std::set<std::string> names(metrics.begin(), metrics.end());
  for (const std::string& metric : metrics)
    if (const auto sums = sums_.find(metric); sums != sums_.end())
      names.insert(sums->second.begin(), sums->second.end());
  return join_results(files([&](const std::string& name, const Attributes& attributes) {
    const bool is_frame = !is_metric(attributes) && !is_sum(name);
    return is_frame || names.contains(name);
  }));
}

Results FileReportSource::read(std::span<const std::string> metrics) const {
  JoinedResults found = joined(metrics);
  return in_common(read_results(std::move(found.data)), found.notes);
}

JoinFindings FileReportSource::findings() const {
  JoinedResults found = joined(of_layers_);
  in_common(read_results(std::move(found.data)), found.notes);
  return {.budgets_differ = found.budgets_differ, .notes = std::move(found.notes)};
}

}  // namespace kvreplay
