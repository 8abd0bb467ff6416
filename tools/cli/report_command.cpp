// kvreplay report: results as one page that people open, read from top to bottom and send to each other.

#include <fmt/format.h>
#include <fmt/ostream.h>

#include "core/base/error.h"
#include "core/base/printable.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/report_files.h"
#include "tools/cli/trace_description.h"
#include "tools/cli/trust_option.h"
#include "tools/replay/file_roles.h"
#include "tools/replay/memory_size.h"
#include "tools/replay/output_file.h"

namespace kvreplay {
namespace {

struct ReportOptions {
  ReportInputs inputs;
  std::string output, token_bytes;
  bool force = false, quiet = false;
};

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  ReportOptions given;
  Options options("report [OPTIONS] RESULTS... --output FILE",
                  "Writes a page (HTML) about results that needs nothing else: who wins at which budget, curves and "
                  "ranking, where a policy fails, which tokens it keeps, whether cheap measures tell the truth, and "
                  "where the figures come from. It asks nothing of any network. Several files are joined by case, "
                  "layer and policy.");
  options.positional("RESULTS", given.inputs.results, 1);
  options.value("output,o", given.output, "FILE", "the page; required");
  options.values("retained", given.inputs.retained, "FILE",
                 "retained sets that the same replay saved (--save-retained): shows which tokens are kept; several");
  options.values("trace", given.inputs.traces, "FILE",
                 "the trace that they are of; sets from before version 1.1 need it for names and texts");
  options.value("token-bytes", given.token_bytes, "SIZE",
                "how much of the sets goes into the page, before compression; 6MB by default");
  options.value("title", given.inputs.title, "TEXT",
                "what stands at its top; by default the model and the first samples");
  options.flag("force", given.force, "overwrite it");
  options.flag("quiet,q", given.quiet, "say nothing but errors");
  declare_trust(options);
  options.example("kvreplay report results.h5 -o report.html");
  options.example("kvreplay report results.h5 --retained sets.h5 -o report.html");
  if (!options.parse(args, out)) return 0;
  if (given.output.empty()) throw UsageError("report needs --output FILE");
  if (given.inputs.retained.empty() && !(given.inputs.traces.empty() && given.token_bytes.empty()))
    throw UsageError("--trace and --token-bytes say something of --retained FILE, which is missing");
  if (!given.token_bytes.empty()) given.inputs.token_bytes = parse_memory("token-bytes", given.token_bytes);
  const OutputRole role{"--output", given.output};
  check_file_roles(given.inputs.paths(), {&role, 1});
  OutputFile file(given.output, given.force);
  const std::string page = make_report(given.inputs);
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
