// kvreplay inspect: what is in a file of kvreplay. Opening a trace checks its whole structure on the way; its values
// are read too, unless that is not wanted.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "analysis/compare/results_check.h"
#include "core/base/error.h"
#include "core/base/printable.h"
#include "core/data/results.h"
#include "tools/cli/array_description.h"
#include "tools/cli/commands.h"
#include "tools/cli/learned_description.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"
#include "tools/cli/results_description.h"
#include "tools/cli/trace_description.h"
#include "tools/cli/trust_option.h"
#include "tools/cli/two_columns.h"
#include "tools/replay/shard_file.h"
#include "traces/input/input_file.h"
#include "traces/learned/learned_policy_file.h"
#include "traces/results/dataset_file.h"
#include "traces/results/retained_file.h"
#include "traces/trace/trace_reader.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

/// Describes one file as text and as JSON.
struct Description {
  std::string text;
  Json json;
};

// Reads every tensor: NaN and infinity are refused, with their place.
void check_values(const TraceReader& trace, std::uintmax_t bytes, std::ostream& err) {
  const TraceInfo& info = trace.info();
  const double n_units = static_cast<double>(info.samples.size() * info.layers.size());
  Progress progress(err, progress_form(err, false), "reading", n_units, bytes_text(bytes));
  LayerData used;
  for (std::size_t s = 0; s < info.samples.size(); ++s)
    for (std::size_t l = 0; l < info.layers.size(); ++l) {
      used = trace.read_layer(s, l, {}, std::move(used));
      for (const CompressionPoint& point : info.samples[s].compression_points) {
        trace.read_probes(s, l, point.name);
        trace.read_sensitivity(s, l, point.name);
      }
      progress.advance(1);
    }
}

Description describe_shard(const InputFile& file, const std::string& version) {
  const std::string path = file.path();
  const std::uintmax_t bytes = file.bytes().size();
  const ShardFile shard(file);
  const ResultsFrame& frame = shard.frame();
  const Dataset& results = frame.dataset;
  std::vector<TwoColumnRow> rows;
  const auto add = [&](const char* left, std::string right) { rows.push_back({"", left, std::move(right)}); };
  add("written by", text_attribute(results.attributes, "creator"));
  add("model", text_attribute(results.attributes, "model_id"));
  add("shard", fmt::format("{}: {} of {} units", shard_text(shard.shard()), shard.units().size(), frame.n_units()));
  for (const char* name : {"case", "layer", "policy", "budget"})
    add(name, fmt::format("{}", fmt::join(texts_of(results.dimension(name).labels), ", ")));
  if (shard.kept().retained) add("holds", "retained sets");
  if (shard.kept().outputs) add("holds", "full-cache outputs");
  Json json = Json::object({{"file", path},
                            {"format", "kvreplay-shard"},
                            {"format_version", version},
                            {"bytes", bytes},
                            {"shard", shard_text(shard.shard())},
                            {"units", shard.units()},
                            {"n_units", frame.n_units()}});
  return {.text = fmt::format("{}: a shard of a replay, format {}, {}\n{}", printable(path), version, bytes_text(bytes),
                              two_columns(rows)),
          .json = std::move(json)};
}

Description describe_array_file(const InputFile& file, const std::string& what, const FileFormat& format) {
  const std::string path = file.path();
  const std::uintmax_t bytes = file.bytes().size();
  const std::vector<ListedArray> arrays = list_arrays(file);
  Json json = Json::object({{"file", path}, {"bytes", bytes}, {"arrays", arrays_json(arrays)}});
  if (!format.name.empty()) json["format"] = format.name;
  if (!format.version.empty()) json["format_version"] = format.version;
  const std::string version = format.version.empty() ? "" : fmt::format(", format {}", format.version);
  return {
      .text = describe_arrays(fmt::format("{}: {}{}, {}", printable(path), what, version, bytes_text(bytes)), arrays),
      .json = std::move(json)};
}

// Files of scores are made by others, and have no format attribute.
bool holds_scores(const InputFile& file) {
  return std::ranges::any_of(list_arrays(file), [](const ListedArray& array) {
    return array.path.starts_with("samples/") && array.path.ends_with("/scores");
  });
}

Description describe(const InputFile& file, bool quick, std::ostream& err) {
  FileFormat format;
  try {
    format = file.format();
  } catch (const InputError&) {
    if (!holds_scores(file)) throw;
    return describe_array_file(file, "scores", {});
  }
  const std::string path = file.path();
  const std::uintmax_t bytes = file.bytes().size();
  if (format.name == "kvreplay-shard") return describe_shard(file, format.version);
  if (format.name == kRetainedFormat) return describe_array_file(file, "retained sets", format);
  if (format.name == "kvreplay-outputs") return describe_array_file(file, "full-cache outputs", format);
  if (format.name == results::kFormat) {
    Dataset results = read_dataset(file);
    check_results(path, results);
    Json json = results_json(path, bytes, results);
    return {.text = describe_results(path, bytes, read_results(std::move(results))), .json = std::move(json)};
  }
  if (format.name == "kvreplay-trace") {
    const TraceReader reader(file);
    if (!quick) check_values(reader, bytes, err);
    const TraceFileFacts facts{
        .path = path, .format_version = format.version, .fingerprint = reader.fingerprint(), .bytes = bytes};
    return {.text = describe_trace(facts, reader.info()), .json = trace_json(facts, reader.info())};
  }
  if (format.name == "kvlkv-1") {
    const LearnedPolicy policy = read_learned_policy_file(file);
    return {.text = describe_learned(path, bytes, policy), .json = learned_json(path, bytes, policy)};
  }
  throw InputError(fmt::format("{}: not a file of kvreplay: its format is '{}'", path, format.name));
}

/// Texts may hold anything: what is no UTF-8 is replaced, and what does something to a terminal is escaped.
std::string json_text(const Json& json) {
  constexpr auto kReplace = Json::error_handler_t::replace;
  const std::string text = json.dump(1, ' ', false, kReplace);
  std::string characters = text;
  std::erase(characters, '\n');
  return is_printable(characters) ? text : json.dump(1, ' ', true, kReplace);
}

Description inspect(const std::string& path, bool quick, std::ostream& err) {
  const InputFile file(path);
  Description description = describe(file, quick, err);
  description.text += fmt::format("\nstructure read {}\n", file.confinement());
  description.json["reader"] = file.confinement();
  return description;
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  std::vector<std::string> files;
  bool json = false, quick = false;
  Options options("inspect [OPTIONS] FILE...",
                  "Says what is in traces, results, shards, retained sets, outputs, scores and learned policies, and "
                  "checks on the way that they are what their format promises; of traces every value.");
  options.positional("FILE", files, 1);
  options.flag("json", json, "write one JSON object: {\"files\": [...]}");
  options.flag("quick", quick, "do not read the values of traces");
  declare_trust(options);
  options.example("kvreplay inspect trace.h5 results.h5");
  if (!options.parse(args, out)) return 0;

  Json all = Json::object({{"files", Json::array()}});
  for (std::size_t f = 0; f < files.size(); ++f) {
    Description description = inspect(files[f], quick, err);
    if (json) {
      all["files"].push_back(std::move(description.json));
    } else {
      out << (f == 0 ? "" : "\n") << description.text;
    }
  }
  if (json) out << json_text(all) << '\n';
  return 0;
}

}  // namespace

Command inspect_command() {
  return {.name = "inspect", .summary = "describe traces, results and other files, and check them", .run = run};
}

}  // namespace kvreplay
