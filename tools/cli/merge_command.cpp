// kvreplay merge: the shards of a replay to its results.

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/printable.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/trust_option.h"
#include "tools/replay/output_files.h"
#include "tools/replay/shard_file.h"
#include "tools/replay/unit_journal.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

std::string options_of(const ShardFile& shard) {
  return std::get<std::string>(shard.frame().dataset.attributes.at("options"));
}

// Names of the options in which two shards differ.
std::vector<std::string> differences(const ShardFile& a, const ShardFile& b) {
  std::vector<std::string> names;
  const Json left = Json::parse(options_of(a)), right = Json::parse(options_of(b));
  for (const auto& [name, value] : left.items())
    if (!right.contains(name) || right[name] != value) names.push_back(name);
  for (const auto& [name, value] : right.items())
    if (!left.contains(name)) names.push_back(name);
  if (a.kept().retained != b.kept().retained) names.emplace_back("--save-retained");
  if (a.kept().outputs != b.kept().outputs) names.emplace_back("--save-outputs");
  return names;
}

// All of one replay, each once, in their order.
void check_shards(const std::vector<ShardFile>& shards) {
  const ShardFile& first = shards.front();
  for (const ShardFile& shard : shards)
    if (const std::vector<std::string> names = differences(first, shard); !names.empty())
      throw UsageError(fmt::format("{} and {} are shards of different replays: they differ in {}", first.path(),
                                   shard.path(), fmt::join(names, ", ")));
  for (const ShardFile& shard : shards)
    if (shard.shard().count != first.shard().count)
      throw UsageError(fmt::format("{} is shard {}, {} is shard {}: one replay is split one way", first.path(),
                                   shard_text(first.shard()), shard.path(), shard_text(shard.shard())));
  for (std::size_t s = 1; s < shards.size(); ++s)
    if (shards[s].shard() == shards[s - 1].shard())
      throw UsageError(fmt::format("shard {} is given twice: {} and {}", shard_text(shards[s].shard()),
                                   shards[s - 1].path(), shards[s].path()));
}

// "needle@prompt (layers 0, 9), ..." of missing units.
std::string units_text(const ResultsFrame& frame, const std::vector<std::size_t>& units) {
  constexpr std::size_t kMostCases = 8;
  const auto& cases = std::get<std::vector<std::string>>(frame.dataset.dimension("case").labels);
  const auto& layers = std::get<std::vector<std::int64_t>>(frame.dataset.dimension("layer").labels);
  std::map<std::size_t, std::vector<std::int64_t>> missing;
  for (const std::size_t unit : units) missing[unit / layers.size()].push_back(layers[unit % layers.size()]);
  std::vector<std::string> texts;
  for (const auto& [case_index, of_case] : missing) {
    if (texts.size() == kMostCases) {
      texts.push_back(fmt::format("and {} more cases", missing.size() - kMostCases));
      break;
    }
    texts.push_back(of_case.size() == layers.size()
                        ? fmt::format("{} (all layers)", cases[case_index])
                        : fmt::format("{} (layers {})", cases[case_index], fmt::join(of_case, ", ")));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

// The shard that holds each unit. Throws IncompleteError where there is none.
std::vector<const ShardFile*> holders_of_units(const std::vector<ShardFile>& shards) {
  const ResultsFrame& frame = shards.front().frame();
  std::vector<const ShardFile*> holders(frame.n_units(), nullptr);
  for (const ShardFile& shard : shards)
    for (const std::size_t unit : shard.units()) {
      if (holders[unit] != nullptr)
        throw InputError(fmt::format("{} and {} hold the same unit, {}", holders[unit]->path(), shard.path(),
                                     units_text(frame, {unit})));
      holders[unit] = &shard;
    }
  std::vector<std::size_t> missing;
  for (std::size_t unit = 0; unit < holders.size(); ++unit)
    if (holders[unit] == nullptr) missing.push_back(unit);
  std::vector<std::string> absent;
  const std::size_t count = shards.front().shard().count;
  for (std::size_t index = 1, s = 0; index <= count && absent.size() < shards.size() + 16; ++index) {
    if (s < shards.size() && shards[s].shard().index == index)
      ++s;
    else
      absent.push_back(shard_text({index, count}));
  }
  // A shard that had nothing to do is not missed.
  if (missing.empty()) return holders;
  throw IncompleteError(fmt::format("{} of {} units are missing{}{}: {}", missing.size(), holders.size(),
                                    absent.empty() ? "" : "; not given: shard ", fmt::join(absent, ", "),
                                    units_text(frame, missing)));
}

void check_extras(const OutputFiles& files, KeptExtras kept) {
  const auto check = [](const std::string& path, bool is_kept, const char* option) {
    if (!path.empty() && !is_kept)
      throw UsageError(fmt::format("--{}: the shards hold none; replay them with --{} too", option, option));
  };
  check(files.retained, kept.retained, "save-retained");
  check(files.outputs, kept.outputs, "save-outputs");
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  std::vector<std::string> paths;
  OutputFiles files;
  bool quiet = false;
  Options options(
      "merge [OPTIONS] SHARD... --output FILE",
      "Puts the shards of a replay together (kvreplay replay --shard): the same bytes as one replay without "
      "shards. The shards are all it needs; no trace has to be there.");
  options.positional("SHARD", paths, 1);
  options.group("Output");
  options.value("output,o", files.results, "FILE", "the results; required");
  options.value("save-retained", files.retained, "FILE", "also write every retained set, if the shards hold them");
  options.value("save-outputs", files.outputs, "FILE", "also write the full-cache attention outputs, if the shards do");
  options.flag("force", files.force, "overwrite outputs");
  options.flag("quiet,q", quiet, "say nothing but errors");
  declare_trust(options);
  options.example("kvreplay merge results.shard-*-of-4.h5 -o results.h5");
  options.example("kvreplay merge results.shard-*.h5 --save-retained sets.h5 -o results.h5");
  if (!options.parse(args, out)) return 0;
  if (files.results.empty()) throw UsageError("merge needs --output FILE");
  const std::vector<std::filesystem::path> inputs(paths.begin(), paths.end());
  check_output_files(files, inputs);

  std::vector<ShardFile> shards;
  for (const std::string& path : paths) shards.push_back(ShardFile::open(path));
  std::ranges::stable_sort(shards, {}, [](const ShardFile& shard) { return shard.shard().index; });
  check_shards(shards);
  const ShardFile& first = shards.front();
  check_extras(files, first.kept());
  const std::vector<const ShardFile*> holders = holders_of_units(shards);

  // Its folder keeps others away from the output, and remembers which files are ours. No unit ever lies in it: after a
  // failure there is nothing to go on with, unlike after a replay (UnitJournal::complete()), but for the files that
  // were in place already, which the same command must know again.
  UnitJournal journal(files.results, journal_options(options_of(first), first.kept()), files.force);
  try {
    if (!published_all(files)) {
      check_output_files(files, inputs);
      write_output_files(
          files, first.kept(), first.frame(),
          [&](std::size_t unit, DatasetPart part) { return holders[unit]->read(unit, part); }, journal);
    }
  } catch (...) {
    if (journal.empty() && !published_any(files)) journal.remove();
    throw;
  }
  journal.remove();
  if (!quiet)
    fmt::print(err, "wrote {} ({} units of {} shards)\n", printable(files.results), holders.size(),
               first.shard().count);
  return 0;
}

}  // namespace

Command merge_command() { return {.name = "merge", .summary = "put the shards of a replay together", .run = run}; }

}  // namespace kvreplay
