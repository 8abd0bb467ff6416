#include "tools/replay/output_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/base/error.h"
#include "tools/replay/output_file.h"
#include "tools/replay/unit_extras.h"
#include "traces/results/dataset_file.h"

namespace kvreplay {
namespace {

std::vector<std::string> wanted(const OutputFiles& files) {
  std::vector<std::string> paths{files.results};
  for (const std::string& path : {files.retained, files.outputs})
    if (!path.empty()) paths.push_back(path);
  return paths;
}

}  // namespace

void check_output_files(const OutputFiles& files) {
  std::vector<std::filesystem::path> seen;
  for (const std::string& path : wanted(files)) {
    check_output(path, files.force || UnitJournal::published(files.results, path));
    const auto whole = std::filesystem::absolute(path).lexically_normal();
    if (std::ranges::find(seen, whole) != seen.end())
      throw UsageError(fmt::format("{} is given for two outputs", path));
    seen.push_back(whole);
  }
}

bool published_all(const OutputFiles& files) {
  return std::ranges::all_of(wanted(files),
                             [&](const std::string& path) { return UnitJournal::published(files.results, path); });
}

void write_output_files(const OutputFiles& files, const ResultsFrame& frame, const UnitReader& read_unit,
                        const UnitJournal& journal) {
  std::vector<std::unique_ptr<NewFile>> written;
  if (!files.retained.empty()) written.push_back(write_retained_file(files.retained, frame, read_unit));
  if (!files.outputs.empty()) written.push_back(write_outputs_file(files.outputs, frame, read_unit));
  written.push_back(write_dataset_aside(files.results, assemble_results(frame, read_unit)));
  journal.publish(written);
}

}  // namespace kvreplay
