#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "core/contracts/policy.h"
#include "tests/tools/cli/program_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("policies lists every scorer, allocator and preset with its summary") {
  const ProgramRun all = run({"policies"});
  CHECK(all.exit_code == 0);
  CHECK(all.err.empty());
  for (const Scorer& scorer : all_scorers()) CHECK(contains(all.out, "\n  " + scorer.name + " "));
  for (const Modifier& modifier : all_modifiers()) CHECK(run({"policies", modifier.name}).exit_code == 0);
  for (const Allocator& allocator : all_allocators()) CHECK(contains(all.out, "\n  " + allocator.name + " "));
  for (const Preset& preset : all_presets()) CHECK(contains(all.out, "\n  " + preset.name + " "));
}

TEST_CASE("policies NAME tells everything on one") {
  const std::string snapkv = run({"policies", "snapkv"}).out;
  for (const ParameterSpec& spec : find_scorer("snapkv")->parameters.parameters) {
    CHECK(contains(snapkv, "\n  " + spec.name + " "));
    CHECK(contains(snapkv, "[default: " + spec.default_value + "]"));
  }
  for (const Dialect& dialect : find_scorer("snapkv")->parameters.dialects)
    CHECK(contains(snapkv, "dialect=" + dialect.name));
  CHECK(contains(snapkv, "arXiv"));
  CHECK(contains(snapkv, "needs"));
  CHECK(contains(run({"policies", "oracle"}).out, "looks at the evaluation queries"));
  CHECK(contains(run({"policies", "ada"}).out, "an allocator"));
  CHECK(contains(run({"policies", "ada-snapkv"}).out, "snapkv:"));
}

TEST_CASE("every name that the list shows can be asked for") {
  for (const Scorer& scorer : all_scorers()) CHECK(run({"policies", scorer.name}).exit_code == 0);
  for (const Modifier& modifier : all_modifiers()) CHECK(run({"policies", modifier.name}).exit_code == 0);
  for (const Allocator& allocator : all_allocators()) CHECK(run({"policies", allocator.name}).exit_code == 0);
  for (const Preset& preset : all_presets()) CHECK(run({"policies", preset.name}).exit_code == 0);
}

TEST_CASE("policies --json is one object with the same content") {
  const auto all = nlohmann::json::parse(run({"policies", "--json"}).out);
  CHECK(all["scorers"].size() == all_scorers().size());
  CHECK(all["allocators"].size() == all_allocators().size());
  CHECK(all["presets"].size() == all_presets().size());
  const auto one = nlohmann::json::parse(run({"policies", "snapkv", "--json"}).out);
  CHECK(one["scorers"][0]["parameters"][0]["name"] == "window");
  CHECK(one["allocators"].empty());
}

TEST_CASE("policies --names is every name once, in alphabetical order, one on a line") {
  std::istringstream lines(run({"policies", "--names"}).out);
  std::vector<std::string> names;
  for (std::string line; std::getline(lines, line);) names.push_back(line);
  CHECK(std::ranges::adjacent_find(names, std::greater_equal<>()) == names.end());
  std::set<std::string> expected;
  for (const Scorer& scorer : all_scorers()) expected.insert(scorer.name);
  for (const Modifier& modifier : all_modifiers()) expected.insert(modifier.name);
  for (const Allocator& allocator : all_allocators()) expected.insert(allocator.name);
  for (const Preset& preset : all_presets()) expected.insert(preset.name);
  CHECK(std::set<std::string>(names.begin(), names.end()) == expected);
  CHECK(run({"policies", "snapkv", "--names"}).out == "snapkv\n");
  CHECK(run({"policies", "--names", "--json"}).exit_code == 2);
}

TEST_CASE("unknown policies are answered with the nearest") {
  const ProgramRun unknown = run({"policies", "snapvk"});
  CHECK(unknown.exit_code == 2);
  CHECK(contains(unknown.err, "did you mean 'snapkv'?"));
}
