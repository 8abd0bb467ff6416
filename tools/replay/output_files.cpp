#include "tools/replay/output_files.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "tools/replay/file_roles.h"
#include "tools/replay/output_file.h"
#include "tools/replay/unit_extras.h"
#include "traces/results/dataset_file.h"

namespace kvreplay {
namespace {

std::vector<OutputRole> wanted(const OutputFiles& files) {
  std::vector<OutputRole> roles{{"--output", files.results}};
  if (!files.retained.empty()) roles.push_back({"--save-retained", files.retained});
  if (!files.outputs.empty()) roles.push_back({"--save-outputs", files.outputs});
  if (!files.report.empty()) roles.push_back({"--report", files.report});
  return roles;
}

// Sets that nobody asked for are kept as long as it takes.
std::unique_ptr<NewFile> write_report(const OutputFiles& files, const NewFile& results, const NewFile* retained,
                                      const ResultsFrame& frame, const UnitReader& read_unit, bool has_sets) {
  std::unique_ptr<NewFile> for_report;
  if (retained == nullptr && has_sets) {
    for_report = write_retained_file(files.report + ".sets", frame, read_unit);
    retained = for_report.get();
  }
  OutputFile page(files.report, true);
  page.stream() << files.make_report(results.temporary(), retained ? retained->temporary() : std::filesystem::path());
  return page.finish();
}

}  // namespace

void check_output_files(const OutputFiles& files, std::span<const std::filesystem::path> inputs) {
  const std::vector<OutputRole> roles = wanted(files);
  check_file_roles(inputs, roles);
  for (const OutputRole& role : roles)
    check_output(role.path, files.force || UnitJournal::published(files.results, role.path));
}

bool published_all(const OutputFiles& files) {
  return std::ranges::all_of(wanted(files),
                             [&](const OutputRole& role) { return UnitJournal::published(files.results, role.path); });
}

bool published_any(const OutputFiles& files) {
  return std::ranges::any_of(wanted(files),
                             [&](const OutputRole& role) { return UnitJournal::published(files.results, role.path); });
}

void write_output_files(const OutputFiles& files, KeptExtras kept, const ResultsFrame& frame,
                        const UnitReader& read_unit, const UnitJournal& journal) {
  std::vector<std::unique_ptr<NewFile>> written;
  const NewFile* retained = nullptr;
  if (!files.retained.empty())
    retained = written.emplace_back(write_retained_file(files.retained, frame, read_unit)).get();
  if (!files.outputs.empty()) written.push_back(write_outputs_file(files.outputs, frame, read_unit));
  std::unique_ptr<NewFile> results = write_dataset_aside(files.results, assemble_results(frame, read_unit));
  if (!files.report.empty())
    written.push_back(write_report(files, *results, retained, frame, read_unit, kept.retained));
  written.push_back(std::move(results));
  journal.publish(written);
}

}  // namespace kvreplay
