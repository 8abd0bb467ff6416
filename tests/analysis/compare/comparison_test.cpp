#include "analysis/compare/comparison.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analysis/compare/comparison_text.h"
#include "core/base/error.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// One case, one layer, one head: values are what they are set to, [policy][budget].
using Values = std::vector<std::vector<double>>;

ResultsFixture single_unit(std::vector<std::string> policies) {
  ResultsFixture fixture;
  fixture.samples = {"a"};
  fixture.layers = {0};
  fixture.n_q_heads = 1;
  fixture.oracles.assign(policies.size(), 0);
  fixture.policies = std::move(policies);
  return fixture;
}

void add_values(Dataset& data, const std::string& metric, const std::string& better, const Values& values) {
  add_metric(
      data, metric, "q_head", "ratio", better, [values](const Place& at) { return values[at.p][at.b]; },
      [](const Place&) { return 1.0; });
}

std::vector<std::string> notes_of(const Dataset& data) {
  std::vector<std::string> texts;
  for (const Note& note : compare({{"r.h5", data}}, {}).notes) texts.push_back(note.metric + ": " + note.text);
  return texts;
}

}  // namespace

TEST_CASE("areas and smallest budgets are read off the curve over the kept fraction") {
  Dataset data = single_unit({"snapkv", "knorm"}).build();  // budgets 0.25 0.5 1
  add_kept_fraction(data);
  add_values(data, "output_error", "lower", {{0.4, 0.1, 0}, {0.8, 0.8, 0}});
  const Comparison comparison = compare({{"r.h5", data}}, {});
  const ComparedMetric& error = comparison.metrics[1];
  CHECK(error.pooled.metric == "output_error");
  CHECK(error.figures.range.from == 0.25);
  CHECK(error.figures.range.to == 1);
  // snapkv: (0.4 + 0.1) / 2 * 0.25 + (0.1 + 0) / 2 * 0.5 = 0.0625 + 0.025 = 0.0875; / 0.75 = 0.11667
  CHECK(error.figures.areas[0] == doctest::Approx(0.0875 / 0.75));
  // knorm: 0.8 * 0.25 + 0.4 * 0.5 = 0.4; / 0.75
  CHECK(error.figures.areas[1] == doctest::Approx(0.4 / 0.75));
  REQUIRE(error.figures.bounds.size() == 3);
  CHECK(error.figures.bounds[2].value == 0.2);
  CHECK(error.figures.bounds[2].crossings[0].kept ==
        doctest::Approx(0.25 + 0.25 * 2 / 3));                                 // (0.4 - 0.2) / (0.4 - 0.1) of the way
  CHECK(error.figures.bounds[2].crossings[1].kept == doctest::Approx(0.875));  // 0.5 + 0.5 * (0.8 - 0.2) / 0.8
}

TEST_CASE("curves are drawn against what was really kept") {
  Dataset data = single_unit({"snapkv"}).build();
  add_metric(
      data, "kept_fraction", "kv_head", "ratio", "lower",
      [](const Place& at) { return at.b == 0 ? 40.0 : 50.0 * static_cast<double>(at.b); },
      [](const Place&) { return 100.0; });
  add_values(data, "output_error", "lower", {{0.4, 0.2, 0}});
  const Comparison comparison = compare({{"r.h5", data}}, {});
  CHECK(comparison.metrics[1].figures.range.from == doctest::Approx(0.4));
  CHECK(comparison.metrics[1].figures.bounds[2].crossings[0].kept == doctest::Approx(0.5));
}

TEST_CASE("metrics of budgets have no contest, policies that keep everything are references") {
  ResultsFixture fixture = single_unit({"snapkv", "full", "oracle"});
  fixture.oracles = {0, 0, 1};
  Dataset data = fixture.build();
  add_metric(
      data, "kept_fraction", "kv_head", "ratio", "lower",
      [](const Place& at) {
        return at.p == 1 ? 100.0 : std::vector<double>{25, 50, 100}[at.b];
      },
      [](const Place&) { return 100.0; });
  add_values(data, "output_error", "lower", {{0.4, 0.1, 0}, {0, 0, 0}, {0.2, 0.1, 0}});
  const Comparison comparison = compare({{"r.h5", data}}, {});
  CHECK(!comparison.policies[0].is_reference());
  CHECK(comparison.policies[1].keeps_all);
  CHECK(comparison.policies[2].oracle);
  CHECK(!comparison.metrics[0].pooled.is_contest());
  CHECK(comparison.metrics[1].pooled.is_contest());
  CHECK(comparison.metrics[1].figures.range.from == 0.25);  // `full` is a point and does not narrow the range
  CHECK(std::isnan(comparison.metrics[1].figures.areas[1]));
  CHECK(comparison.notes.empty());
}

TEST_CASE("what keeps far more than the budget asks is a reference, and does not narrow the range of the others") {
  ResultsFixture fixture = single_unit({"snapkv", "duo"});
  fixture.oracles = {0, 0};
  Dataset data = fixture.build();
  // Budgets 0.25, 0.5, 1: snapkv keeps 27, 50 and 100 of 100 tokens, duo 60, 80 and 100. 0.27 is within a quarter of
  // 0.25; 0.6 is not.
  add_metric(
      data, "kept_fraction", "kv_head", "ratio", "lower",
      [](const Place& at) {
        return (at.p == 0 ? std::vector<double>{27, 50, 100} : std::vector<double>{60, 80, 100})[at.b];
      },
      [](const Place&) { return 100.0; });
  add_values(data, "output_error", "lower", {{0.4, 0.2, 0}, {0.1, 0.05, 0}});
  const Comparison comparison = compare({{"r.h5", data}}, {});
  CHECK(!comparison.policies[0].is_reference());
  CHECK(comparison.policies[1].overspends);
  CHECK(comparison.policies[1].is_reference());
  CHECK(comparison.metrics[1].figures.range.from == doctest::Approx(0.27));
  CHECK(std::isnan(comparison.metrics[1].figures.areas[1]));
}

TEST_CASE("the comparison counts what stands behind it and can be narrowed") {
  ResultsFixture fixture;
  Dataset data = fixture.build();
  add_kept_fraction(data);
  Comparison comparison = compare({{"r.h5", data}}, {});
  CHECK(comparison.cases.size() == 2);
  CHECK(comparison.n_samples == 2);
  CHECK(comparison.n_queries == 20);
  CHECK(comparison.n_q_heads == 2);
  CHECK(comparison.compression_ratios == std::vector<double>{0.75, 0.5, 0});

  ComparisonOptions options;
  options.cases = {"b"};
  options.policies = {"random"};
  options.layers = {1};
  comparison = compare({{"r.h5", data}}, options);
  CHECK(comparison.cases == std::vector<std::string>{"b@prompt"});
  CHECK(comparison.policies.size() == 1);
  CHECK(comparison.policies[0].name == "random");
  CHECK(comparison.layers == std::vector<std::int64_t>{1});
  CHECK(comparison.n_queries == 10);
  options.cases = {"b", "@prompt", "b@prompt"};
  CHECK(compare({{"r.h5", data}}, options).cases.size() == 2);
}

TEST_CASE("unknown names are answered with the nearest") {
  Dataset data = ResultsFixture().build();
  add_kept_fraction(data);
  const auto compare_with = [&](auto change) {
    ComparisonOptions options;
    change(options);
    compare({{"r.h5", data}}, options);
  };
  CHECK_THROWS_WITH_AS(compare_with([](auto& o) { o.metrics = {"kept"}; }),
                       doctest::Contains("did you mean 'kept_fraction'?"), UsageError);
  CHECK_THROWS_WITH_AS(compare_with([](auto& o) { o.policies = {"snapvk"}; }),
                       doctest::Contains("did you mean 'snapkv'?"), UsageError);
  CHECK_THROWS_WITH_AS(compare_with([](auto& o) { o.cases = {"x"}; }), doctest::Contains("known: a@prompt, b@prompt"),
                       UsageError);
  CHECK_THROWS_WITH_AS(compare_with([](auto& o) { o.layers = {7}; }), doctest::Contains("unknown layer '7'"),
                       UsageError);
  CHECK_THROWS_WITH_AS(compare_with([](auto& o) {
                         o.at_least = {{"kept_fraction", 0.5}};
                       }),
                       doctest::Contains("lower is better"), UsageError);
}

TEST_CASE("tables by level show the budget nearest to a quarter, or to the one asked for") {
  Dataset data = ResultsFixture().build();
  add_kept_fraction(data);
  ComparisonOptions options;
  options.level = Level::by_layer;
  CHECK(compare({{"r.h5", data}}, options).level_budget == 0);
  options.budget = 0.6;
  CHECK(compare({{"r.h5", data}}, options).level_budget == 1);
  CHECK(compare({{"r.h5", data}}, options).by_level.front().pooled.groups.size() == 2);
}

TEST_CASE("an error that rises with the budget is noted with its largest step") {
  ResultsFixture fixture = single_unit({"knorm"});
  fixture.budgets = {0.1, 0.2, 0.4, 0.8};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_values(data, "output_error", "lower", {{0.3, 0.4, 0.2, 0.5}});
  CHECK(notes_of(data) ==
        std::vector<std::string>{
            "output_error: knorm rises with a larger budget in 2 steps, most by 0.3 from 0.2 at 0.4 to 0.5 at 0.8"});
}

TEST_CASE("an oracle beaten on attention recall is noted, on other metrics it may be") {
  ResultsFixture fixture = single_unit({"ada-snapkv", "oracle"});
  fixture.oracles = {0, 1};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_values(data, "attention_recall", "higher", {{0.9, 0.95, 1}, {0.8, 0.95, 1}});
  add_values(data, "output_error", "lower", {{0.1, 0.05, 0}, {0.2, 0.1, 0}});
  CHECK(notes_of(data) == std::vector<std::string>{"attention_recall: ada-snapkv is better than the oracle 'oracle' at "
                                                   "1 of 3 budgets, most at 0.25: 0.9 against 0.8"});
}

TEST_CASE("random winning is noted, for all losers in one line") {
  Dataset data = single_unit({"knorm", "random:draw=1", "h2o"}).build();
  add_kept_fraction(data);
  add_values(data, "output_error", "lower", {{0.5, 0.4, 0}, {0.4, 0.2, 0}, {0.45, 0.1, 0}});
  CHECK(notes_of(data) ==
        std::vector<std::string>{
            "output_error: random:draw=1 is better than knorm (at 2 of 3 budgets, most at 0.5: 0.2 against 0.4); "
            "h2o (at 1 of 3 budgets, most at 0.25: 0.4 against 0.45)"});
}

TEST_CASE("to have more of what is not monotone is no win: nothing is noted and no best is marked") {
  Dataset data = single_unit({"knorm", "random"}).build();
  add_kept_fraction(data);
  add_values(data, "jacobian_information", "higher", {{0.5, 0.6, 1}, {0.7, 0.8, 1}});
  const auto text = [&] { return comparison_text(compare({{"r.h5", data}}, {}), {"jacobian_information"}); };
  CHECK(notes_of(data).size() == 1);  // random is better than knorm
  CHECK(text().find("*0.7") != std::string::npos);
  for (Variable& variable : data.variables)
    if (variable.name == "jacobian_information") variable.attributes["monotone"] = std::int64_t{0};
  CHECK(notes_of(data).empty());
  CHECK(text().find('*') == std::string::npos);
  CHECK(text().find("(more than the full cache has is no gain)") != std::string::npos);
}

TEST_CASE("keeping more than asked for is noted, rounding to tokens is not") {
  Dataset data = single_unit({"rounds", "exceeds"}).build();
  add_metric(
      data, "kept_fraction", "kv_head", "ratio", "lower",
      [](const Place& at) {
        return std::vector<double>{25, 50, 100}[at.b] + (at.b == 0 ? (at.p == 0 ? 1.0 : 5.0) : 0.0);
      },
      [](const Place&) { return 100.0; });
  CHECK(notes_of(data) == std::vector<std::string>{"kept_fraction: exceeds does not keep what the budget asks for at 1 "
                                                   "of 3 budgets, most at 0.25: 0.3 against 0.25"});
}

TEST_CASE("pooling several compression points is noted, one point is not") {
  Dataset data = ResultsFixture().build();
  add_kept_fraction(data);
  CHECK(notes_of(data).empty());
  for (TextVariable& text : data.texts) {
    if (text.name == "case_point") text.values = {"context", "prompt"};
  }
  CHECK(notes_of(data) == std::vector<std::string>{": figures pool the compression points context, prompt, which are "
                                                   "different tasks; --case @context shows one"});
  ComparisonOptions options;
  options.cases = {"@prompt"};
  CHECK(compare({{"r.h5", data}}, options).notes.empty());
}

TEST_CASE("missing values are noted") {
  ResultsFixture fixture = single_unit({"snapkv", "h2o"});
  fixture.layers = {0, 1};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) { return at.p == 1 && at.l == 1 ? kNone : 0.5; }, [](const Place&) { return 1.0; });
  CHECK(notes_of(data) ==
        std::vector<std::string>{"output_error: h2o has no value at 3 of 3 budgets: up to 1 of 2 units are NaN"});
}

TEST_CASE("information that falls with the budget is noted in one line for all policies") {
  ResultsFixture fixture = single_unit({"snapkv", "h2o", "knorm"});
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_values(data, "mutual_information", "higher", {{0.5, 0.4, 1}, {0.9, 0.6, 1}, {0.1, 0.2, 1}});
  mark_nats(data, "mutual_information");
  CHECK(notes_of(data) == std::vector<std::string>{
                              "mutual_information: falls with a larger budget somewhere for 2 of 3 policies, most by "
                              "0.3 from 0.9 at 0.25 to 0.6 at 0.5 (h2o)"});
}

TEST_CASE("overlap with other policies is no contest, and a file without some of them has nothing to note") {
  ResultsFixture fixture = single_unit({"snapkv", "random"});
  fixture.other_policies = {"snapkv", "random", "h2o"};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_metric(
      data, "overlap", "", "ratio", "higher",
      [](const Place& at) { return at.s == 2 && at.p == 0 ? kNone : 1.0 / static_cast<double>(at.b + at.p + 1); },
      [](const Place&) { return 1.0; }, "other_policy");
  CHECK(notes_of(data).empty());
  CHECK(compare({{"r.h5", data}}, {}).metrics.size() == 4);
}

TEST_CASE("areas and smallest budgets are there for every group") {
  ResultsFixture fixture = single_unit({"snapkv"});
  fixture.layers = {3, 5};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  // Layer 3: 0.4 0.2 0; layer 5: 0.8 0.4 0, both of 1: pooled 0.6 0.3 0.
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) {
        return static_cast<double>(at.l + 1) * std::vector<double>{0.4, 0.2, 0}[at.b];
      },
      [](const Place&) { return 1.0; });
  ComparisonOptions options;
  options.level = Level::by_layer;
  options.at_most = {{"output_error", 0.2}};
  const Comparison comparison = compare({{"r.h5", data}}, options);
  CHECK(comparison.bounds_given);
  const LevelMetric& layers = comparison.by_level[1];
  REQUIRE(layers.figures.size() == 2);
  // Layer 5: (0.8 + 0.4) / 2 * 0.25 + 0.4 / 2 * 0.5 = 0.25; / 0.75.
  CHECK(layers.figures[1].areas[0] == doctest::Approx(0.25 / 0.75));
  CHECK(layers.figures[0].bounds[0].crossings[0].kept == doctest::Approx(0.5));
  CHECK(layers.figures[1].bounds[0].crossings[0].kept == doctest::Approx(0.75));
  CHECK(comparison.metrics[1].figures.bounds[0].crossings[0].kept == doctest::Approx(0.5 + 0.5 / 3));
}

TEST_CASE("the default bounds ask for shares of the information, where it was measured") {
  Dataset data = single_unit({"snapkv"}).build();
  add_kept_fraction(data);
  add_values(data, "capacity", "higher", {{0.8, 0.95, 1}});
  const Comparison comparison = compare({{"r.h5", data}}, {});
  const std::vector<ComparedBound>& bounds = comparison.metrics[1].figures.bounds;
  REQUIRE(bounds.size() == 3);
  CHECK(bounds[0].value == 0.9);
  CHECK(bounds[0].crossings[0].kept == doctest::Approx(0.25 + 0.25 * 2 / 3));
  CHECK(bounds[1].crossings[0].kept == doctest::Approx(0.5));
  CHECK(bounds[2].crossings[0].kept == doctest::Approx(0.9));
  CHECK(!comparison.bounds_given);
}
