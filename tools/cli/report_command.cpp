// kvreplay report: results as one page that people open, read from top to bottom and send to each other.

#include <fmt/format.h>
#include <fmt/ostream.h>

#include "analysis/compare/comparison.h"
#include "analysis/report/report_page.h"
#include "core/base/error.h"
#include "core/base/printable.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/results_source.h"
#include "tools/cli/trace_description.h"
#include "tools/cli/trust_option.h"
#include "tools/replay/file_roles.h"
#include "tools/replay/output_file.h"

namespace kvreplay {
namespace {

struct ReportOptions {
  std::vector<std::string> results;
  std::string output, title;
  bool force = false, quiet = false;
};

std::vector<ReportFile> described(const std::vector<InputFile>& inputs) {
  std::vector<ReportFile> files;
  for (const InputFile& input : inputs)
    files.push_back({.name = printable(input.path().filename().string()),
                     .bytes = input.bytes().size(),
                     .fingerprint = input.bytes().fingerprint()});
  return files;
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  ReportOptions given;
  Options options("report [OPTIONS] RESULTS... --output FILE",
                  "Writes a page (HTML) about results that needs nothing else: who wins at which budget, curves and "
                  "ranking, where a policy fails, which tokens it keeps, whether cheap measures tell the truth, and "
                  "where the figures come from. It asks nothing of any network. Several files are joined by case, "
                  "layer and policy.");
  options.positional("RESULTS", given.results, 1);
  options.value("output,o", given.output, "FILE", "the page; required");
  options.value("title", given.title, "TEXT", "what stands at its top; by default the model and the first samples");
  options.flag("force", given.force, "overwrite it");
  options.flag("quiet,q", given.quiet, "say nothing but errors");
  declare_trust(options);
  options.example("kvreplay report results.h5 -o report.html");
  if (!options.parse(args, out)) return 0;
  if (given.output.empty()) throw UsageError("report needs --output FILE");
  const OutputRole role{"--output", given.output};
  const std::vector<std::filesystem::path> inputs(given.results.begin(), given.results.end());
  check_file_roles(inputs, {&role, 1});
  OutputFile file(given.output, given.force);

  const FileReportSource source(given.results);
  const Comparison comparison = compare(source.files(), {});
  const std::string page = report_page(report_data(source, comparison, described(source.inputs()), given.title));
  file.stream() << page;
  file.commit();
  if (!given.quiet) fmt::print(err, "wrote {} ({})\n", printable(given.output), bytes_text(page.size()));
  return 0;
}

}  // namespace

Command report_command() {
  return {.name = "report", .summary = "write a page about results, to look at and to send", .run = run};
}

}  // namespace kvreplay
