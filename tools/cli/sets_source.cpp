#include "tools/cli/sets_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/printable.h"

namespace kvreplay {
namespace {

using Json = nlohmann::json;

/// What decides, beside the policies, which tokens are kept.
constexpr const char* kSameInBoth[] = {"seed", "evict_sliding", "rounding", "scores", "budget_kind"};

Json parsed(const std::string& options) {
  Json json = Json::parse(options, nullptr, false);
  return json.is_object() ? json : Json::object();
}

/// Policies by name, with all their parameters.
std::vector<std::pair<std::string, std::string>> policies_of(const Json& options) {
  std::vector<std::pair<std::string, std::string>> policies;
  for (const Json& each : options.value("policies", Json::array()))
    if (each.is_array() && each.size() == 2 && each[0].is_string() && each[1].is_string())
      policies.emplace_back(each[0], each[1]);
  return policies;
}

/// "": the same replay may have made both. Otherwise what differs.
std::string difference(const Json& sets, const Json& results) {
  const Json traces = results.value("traces", Json::array());
  const Json of_sets = sets.value("traces", Json::array());
  if (of_sets.empty() || std::ranges::find(traces, of_sets.front()) == traces.end())
    return fmt::format("the recording is {} in the results and {} in the sets", printable(traces.dump()),
                       printable(of_sets.dump()));
  for (const char* name : kSameInBoth) {
    const Json of_results = results.value(name, Json()), other = sets.value(name, Json());
    if (of_results != other)
      return fmt::format("{} is {} in the results and {} in the sets", name, printable(of_results.dump()),
                         printable(other.dump()));
  }
  const auto known = policies_of(results);
  for (const auto& [name, parameters] : policies_of(sets))
    for (const auto& [same, others] : known)
      if (same == name && others != parameters)
        return fmt::format("policy {} is {} in the results and {} in the sets", printable(name), printable(others),
                           printable(parameters));
  return "";
}

void check_same_replay(const RetainedFile& sets, const std::vector<std::string>& results) {
  const Json of_sets = parsed(sets.options());
  std::string first;
  for (const std::string& options : results) {
    const std::string differs = difference(of_sets, parsed(options));
    if (differs.empty()) return;
    if (first.empty()) first = differs;
  }
  throw InputError(fmt::format("{}: not saved by the replay that made the results: {}", sets.path().string(), first));
}

std::vector<double> budgets_of(const RetainedFile& sets) {
  std::vector<double> budgets;
  for (const Json& each : parsed(sets.options()).value("budgets", Json::array()))
    if (each.is_number()) budgets.push_back(each);
  return budgets;
}

}  // namespace

FileTokenSource::FileTokenSource(const std::vector<std::string>& sets, const std::vector<std::string>& traces,
                                 const std::vector<std::string>& results) {
  std::vector<TraceReader> recordings;
  for (const std::string& path : traces) recordings.emplace_back(InputFile(path));
  for (const std::string& path : sets) {
    SetsFile file{.file = RetainedFile(InputFile(path)), .fingerprint = {}, .samples = {}};
    check_same_replay(file.file, results);
    const Json options = parsed(file.file.options());
    file.fingerprint = options.at("traces").front().is_string() ? options["traces"].front() : "";
    for (const RetainedSample& each : file.file.samples())
      file.samples.push_back({each.index, each.name, {each.token_texts, each.spans, each.decode_start}});
    if (file.samples.empty()) {
      const auto recording = std::ranges::find(recordings, file.fingerprint, &TraceReader::fingerprint);
      if (recording == recordings.end())
        throw InputError(
            fmt::format("{}: files before version 1.1 do not name their samples: add --trace FILE, the "
                        "recording {}",
                        path, file.fingerprint));
      const std::vector<SampleInfo>& infos = recording->info().samples;
      for (std::size_t s = 0; s < infos.size(); ++s)
        file.samples.push_back({s, infos[s].name, {infos[s].token_texts, infos[s].spans, infos[s].decode_start}});
    }
    const std::vector<double> budgets = budgets_of(file.file);
    if (files_.empty()) budgets_ = budgets;
    if (budgets != budgets_)
      throw InputError(fmt::format("{}: its budgets are {}, those of {} {}", path, fmt::join(budgets, ","),
                                   sets.front(), fmt::join(budgets_, ",")));
    files_.push_back(std::move(file));
  }
}

const FileTokenSource::Sample* FileTokenSource::sample_of(const SetsFile& sets, const ResultsCase& at) {
  if (sets.fingerprint != at.fingerprint) return nullptr;
  const auto sample = std::ranges::find(sets.samples, at.sample, &Sample::name);
  return sample == sets.samples.end() ? nullptr : &*sample;
}

template <typename Found, typename Find>
std::optional<Found> FileTokenSource::first_of(const ResultsCase& at, Find find) const {
  for (const SetsFile& sets : files_)
    if (const Sample* const sample = sample_of(sets, at))
      if (std::optional<Found> found = find(sets.file, sample->index)) return found;
  return std::nullopt;
}

const TokenPrompt* FileTokenSource::prompt(const ResultsCase& at) const {
  for (const SetsFile& sets : files_)
    if (const Sample* const sample = sample_of(sets, at)) return &sample->prompt;
  return nullptr;
}

std::optional<SavedSetsShape> FileTokenSource::shape(const ResultsCase& at, std::int64_t layer,
                                                     const std::string& policy) const {
  return first_of<SavedSetsShape>(at, [&](const RetainedFile& file, std::size_t sample) {
    return file.shape({sample, at.point, static_cast<std::size_t>(layer), policy});
  });
}

std::optional<SavedSets> FileTokenSource::read(const ResultsCase& at, std::int64_t layer,
                                               const std::string& policy) const {
  return first_of<SavedSets>(at, [&](const RetainedFile& file, std::size_t sample) {
    return file.read({sample, at.point, static_cast<std::size_t>(layer), policy});
  });
}

}  // namespace kvreplay
