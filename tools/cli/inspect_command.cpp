// kvreplay inspect: what is in a trace, a results file or a learned policy. Opening a trace checks its whole structure
// on the way.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "analysis/compare/results_check.h"
#include "core/base/error.h"
#include "core/data/results.h"
#include "tools/cli/commands.h"
#include "tools/cli/learned_description.h"
#include "tools/cli/options.h"
#include "tools/cli/results_description.h"
#include "tools/cli/trace_description.h"
#include "traces/hdf5/file_format.h"
#include "traces/learned/learned_policy_file.h"
#include "traces/results/dataset_file.h"
#include "traces/trace/trace_reader.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

/// Describes one file as text and as JSON.
struct Description {
  std::string text;
  Json json;
};

Description inspect(const std::string& path) {
  const FileFormat format = file_format(path);
  const std::uintmax_t bytes = std::filesystem::file_size(path);
  if (format.name == results::kFormat) {
    Dataset results = read_dataset(path);
    check_results(path, results);
    Json json = results_json(path, bytes, results);
    return {.text = describe_results(path, bytes, read_results(std::move(results))), .json = std::move(json)};
  }
  if (format.name == "kvreplay-trace") {
    const TraceReader reader(path);
    const TraceFileFacts facts{
        .path = path, .format_version = format.version, .fingerprint = reader.fingerprint(), .bytes = bytes};
    return {.text = describe_trace(facts, reader.info()), .json = trace_json(facts, reader.info())};
  }
  if (format.name == "kvlkv-1") {
    const LearnedPolicy policy = read_learned_policy_file(path);
    return {.text = describe_learned(path, bytes, policy), .json = learned_json(path, bytes, policy)};
  }
  throw InputError(fmt::format("{}: neither a trace nor results of kvreplay: its format is '{}'", path, format.name));
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream&) {
  std::vector<std::string> files;
  bool json = false;
  Options options("inspect [OPTIONS] FILE...",
                  "Says what is in traces, results files and learned policies, and checks on the way that they are "
                  "what their format promises.");
  options.positional("FILE", files, 1);
  options.flag("json", json, "write one JSON object: {\"files\": [...]}");
  options.example("kvreplay inspect trace.h5 results.h5");
  if (!options.parse(args, out)) return 0;

  Json all = Json::object({{"files", Json::array()}});
  for (std::size_t f = 0; f < files.size(); ++f) {
    Description description = inspect(files[f]);
    if (json) {
      all["files"].push_back(std::move(description.json));
    } else {
      out << (f == 0 ? "" : "\n") << description.text;
    }
  }
  // Names may hold anything; invalid UTF-8 is replaced instead of thrown at.
  if (json) out << all.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
  return 0;
}

}  // namespace

Command inspect_command() {
  return {.name = "inspect", .summary = "describe traces, results files and learned policies", .run = run};
}

}  // namespace kvreplay
