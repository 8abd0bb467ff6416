#pragma once
// Small traces, replays of them, and reading what they left.

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tests/tools/cli/program_run.h"
#include "traces/results/dataset_file.h"
#include "traces/synthetic/synthetic_trace.h"

namespace kvreplay::testing {

/// Compression points `context` at 224 and `prompt` at 256, 272 tokens; 4 query heads on 2 KV heads, 2 layers; a
/// needle.
inline SyntheticTraceOptions small_trace() {
  SyntheticTraceOptions options;
  options.n_layers = 2;
  options.n_q_heads = 4;
  options.n_kv_heads = 2;
  options.head_dim = options.value_dim = 16;
  options.n_prompt = 256;
  options.n_question = 32;
  options.n_decode = 16;
  options.n_needles = 1;
  return options;
}

inline constexpr std::size_t kContext = 224, kPrompt = 256;

inline std::string write_trace(const TemporaryFolder& folder, const std::string& name = "t.h5",
                               const SyntheticTraceOptions& options = small_trace()) {
  write_synthetic_trace(folder.file(name), options, true);
  return folder.file(name);
}

inline ProgramRun replay(std::vector<std::string> args) {
  args.insert(args.begin(), "replay");
  return run(args);
}

/// A replay that must succeed, and its results.
inline Dataset replayed(const TemporaryFolder& folder, std::vector<std::string> args) {
  const std::string results = folder.file("replayed.h5");
  args.insert(args.end(), {"-o", results, "--force"});
  const ProgramRun done = replay(args);
  CHECK_MESSAGE(done.exit_code == 0, done.err);
  CHECK(done.out.empty());
  REQUIRE(std::filesystem::exists(results));
  CHECK(!std::filesystem::exists(results + ".units"));
  return read_dataset(results);
}

/// How many units a replay that is under way, or was killed, has finished.
inline std::size_t n_finished_units(const std::string& results) {
  std::error_code error;
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(results + ".units", error))
    n += entry.path().filename().string().starts_with("unit-") && entry.path().extension() == ".h5";
  return n;
}

/// A replay that must be refused with this exit code, in one line, leaving no results behind. Returns the line.
inline std::string refused(const TemporaryFolder& folder, int exit_code, std::vector<std::string> args) {
  const std::string results = folder.file("refused.h5");
  args.insert(args.end(), {"-o", results});
  const ProgramRun done = replay(args);
  CHECK_MESSAGE(done.exit_code == exit_code, done.err);
  CHECK(done.out.empty());
  CHECK_MESSAGE(std::count(done.err.begin(), done.err.end(), '\n') == 1, done.err);
  CHECK(done.err.starts_with("kvreplay: "));
  for (const char* suffix : {"", ".tmp", ".units"}) {
    CHECK(!std::filesystem::exists(results + suffix));
    std::filesystem::remove_all(results + suffix);  // no trouble for the next one
  }
  return done.err;
}

template <typename Label>
std::vector<Label> labels(const Dataset& dataset, const std::string& dimension) {
  return std::get<std::vector<Label>>(dataset.dimension(dimension).labels);
}

inline std::size_t index_of(const Dataset& dataset, const std::string& dimension, const std::string& label) {
  const std::vector<std::string> all = labels<std::string>(dataset, dimension);
  const auto found = std::ranges::find(all, label);
  REQUIRE_MESSAGE(found != all.end(), label);
  return static_cast<std::size_t>(found - all.begin());
}

/// Where a value stands: an index for each dimension; more dimensions than a variable has do no harm.
using Index = std::map<std::string, std::size_t>;

inline double value_at(const Dataset& dataset, const std::string& name, const Index& at) {
  const Variable& variable = dataset.variable(name);
  std::size_t flat = 0;
  for (const std::string& dimension : variable.dimensions)
    flat = flat * dataset.dimension(dimension).size() + at.at(dimension);
  return variable.values.at(flat);
}

/// Calls body(index, value) for every value of a variable.
template <typename Body>
void for_each_value(const Dataset& dataset, const std::string& name, Body&& body) {
  const Variable& variable = dataset.variable(name);
  for (std::size_t flat = 0; flat < variable.values.size(); ++flat) {
    Index at;
    std::size_t rest = flat;
    for (auto dimension = variable.dimensions.rbegin(); dimension != variable.dimensions.rend(); ++dimension) {
      const std::size_t size = dataset.dimension(*dimension).size();
      at[*dimension] = rest % size;
      rest /= size;
    }
    body(at, variable.values[flat]);
  }
}

/// The variables that are metrics: those that say how they follow from sums.
inline std::vector<std::string> metric_names(const Dataset& dataset) {
  std::vector<std::string> names;
  for (const Variable& variable : dataset.variables)
    if (variable.attributes.contains("formula")) names.push_back(variable.name);
  return names;
}

}  // namespace kvreplay::testing
