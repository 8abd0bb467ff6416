#include "tools/cli/results_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/data/results.h"
#include "traces/results/dataset_file.h"

namespace kvreplay {
namespace {

bool is_metric(const Attributes& attributes) { return attributes.contains("numerator"); }

/// docs/formats/results.md: the sums of metrics end so.
bool is_sum(const std::string& name) { return name.ends_with("_numerator") || name.ends_with("_denominator"); }

}  // namespace

FileReportSource::FileReportSource(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    const InputFile& file = inputs_.emplace_back(path);
    if (const FileFormat format = file.format(); format.name != results::kFormat)
      throw InputError(fmt::format("{}: expected {}, found {}", path, results::kFormat, format.name));
    read_dataset(file, DatasetPart::described, [&](const std::string& name, const Attributes& attributes) {
      if (is_metric(attributes) && std::ranges::find(metrics_, name) == metrics_.end()) metrics_.push_back(name);
      return !is_metric(attributes) && !is_sum(name);
    });
  }
}

std::vector<ResultsFile> FileReportSource::files(const VariableFilter& wanted) const {
  std::vector<ResultsFile> files;
  for (const InputFile& file : inputs_)
    files.push_back({.name = file.path().string(), .data = read_dataset(file, DatasetPart::described, wanted)});
  return files;
}

Results FileReportSource::read(std::span<const std::string> metrics) const {
  // The sums that a metric is made of may be called after another one.
  std::vector<std::string> names(metrics.begin(), metrics.end());
  for (const InputFile& file : inputs_)
    read_dataset(file, DatasetPart::described, [&](const std::string& name, const Attributes& attributes) {
      if (std::ranges::find(metrics, name) != metrics.end())
        for (const char* sum : {"numerator", "denominator"}) names.push_back(text_attribute(attributes, sum));
      return false;
    });
  JoinedResults joined = join_results(files([&](const std::string& name, const Attributes& attributes) {
    const bool is_frame = !is_metric(attributes) && !is_sum(name);
    return is_frame || std::ranges::find(names, name) != names.end();
  }));
  return in_common(read_results(std::move(joined.data)), joined.notes);
}

}  // namespace kvreplay
