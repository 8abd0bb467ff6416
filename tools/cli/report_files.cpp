#include "tools/cli/report_files.h"

#include <optional>

#include "analysis/report/report_page.h"
#include "core/base/printable.h"
#include "tools/cli/results_source.h"
#include "tools/cli/sets_source.h"

namespace kvreplay {

std::vector<std::filesystem::path> ReportInputs::paths() const {
  std::vector<std::filesystem::path> paths;
  for (const auto* files : {&results, &retained, &traces}) paths.insert(paths.end(), files->begin(), files->end());
  return paths;
}

std::string make_report(const ReportInputs& inputs) {
  const FileReportSource source(inputs.results);
  ReportParts parts{.files = {}, .title = inputs.title, .tokens = nullptr, .token_bytes = inputs.token_bytes};
  for (const InputFile& file : source.inputs())
    parts.files.push_back({.name = printable(inputs.name.empty() ? file.path().filename().string() : inputs.name),
                           .bytes = file.bytes().size(),
                           .fingerprint = file.bytes().fingerprint()});
  std::optional<FileTokenSource> tokens;
  if (!inputs.retained.empty()) parts.tokens = &tokens.emplace(inputs.retained, inputs.traces, source.options());
  return report_page(report_data(source, parts));
}

}  // namespace kvreplay
