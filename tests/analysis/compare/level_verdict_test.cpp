#include "analysis/compare/level_verdict.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/analysis/compare/verdict_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// knorm loses more in layer 1, snapkv in layer 0; at the full cache nobody loses anything.
Dataset layered_results() {
  ResultsFixture fixture;
  fixture.policies = {"knorm", "snapkv", "oracle"};
  fixture.oracles = {0, 0, 1};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  const std::vector<std::vector<double>> losses{{2, 6}, {3, 1}, {1, 1}};  // [policy][layer]
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [losses](const Place& at) {
        return losses[at.p][at.l] * std::vector<double>{2, 1, 0}[at.b];
      },
      always(10));
  add_metric(data, "projected_error", "", "ratio", "lower", always(1), always(10));
  return data;
}

LevelTable table_of(const Dataset& data, Level level, ComparisonOptions options = {}) {
  options.level = level;
  options.budget = 0.5;
  const Comparison comparison = verdict_of(data, options);
  REQUIRE(!comparison.verdict->levels.empty());
  return comparison.verdict->levels.front();
}

}  // namespace

TEST_CASE("a table by layer has everything together first, ranks by it, and marks the best of each layer") {
  const LevelTable table = table_of(layered_results(), Level::by_layer);
  CHECK(table.groups == std::vector<std::string>{"0", "1"});
  CHECK(table.all == "all");
  REQUIRE(table.rows.size() == 3);
  // snapkv: (3 + 1) / 20, knorm: (2 + 6) / 20.
  CHECK(table.rows[0].policy == 1);
  CHECK(table.rows[0].cells[0].value == doctest::Approx(0.2));
  CHECK(table.rows[0].cells[1].value == doctest::Approx(0.3));
  CHECK(table.rows[1].cells[2].value == doctest::Approx(0.6));
  CHECK(table.rows[0].cells[0].best);
  CHECK(!table.rows[0].cells[1].best);
  CHECK(table.rows[1].cells[1].best);
  CHECK(table.rows[2].rank == 0);
  CHECK(!table.rows[2].cells[0].best);
  // The best policy does worst in layer 0.
  CHECK(table.by_worth == std::vector<std::size_t>{0, 1});
}

TEST_CASE("heads have the measure that tells them apart, or layers where another one was asked for") {
  CHECK(table_of(layered_results(), Level::by_head).groups == std::vector<std::string>{"0.0", "0.1", "1.0", "1.1"});
  ComparisonOptions options;
  options.metrics = {"projected_error"};
  const LevelTable table = table_of(layered_results(), Level::by_head, options);
  CHECK(table.level == Level::by_layer);
  CHECK(table.groups == std::vector<std::string>{"0", "1"});
}

TEST_CASE("a bound that was given has a table of its own by layer") {
  ComparisonOptions options;
  options.level = Level::by_layer;
  options.at_most = {{.metric = "output_error", .value = 0.1}};
  const Comparison comparison = verdict_of(layered_results(), options);
  REQUIRE(comparison.verdict->levels.size() == 2);
  const LevelTable& table = comparison.verdict->levels[1];
  CHECK(table.bound == 0.1);
  // snapkv in layer 1: 0.2 at 0.25, 0.1 at 0.5; all together 0.2 at 0.5 and 0 at 1: half of the way.
  CHECK(table.rows[0].policy == 1);
  CHECK(table.rows[0].cells[2].value == doctest::Approx(0.5));
  CHECK(table.rows[0].cells[0].value == doctest::Approx(0.75));
}

TEST_CASE("cases of several points stand side by side, ranked by the last point's") {
  ResultsFixture fixture;
  fixture.samples = {"a", "a"};
  Dataset data = fixture.build();
  set_points(data, {"context", "prompt"});
  // snapkv is far better at the end of the context, random a little at the end of the prompt.
  const std::vector<std::vector<double>> losses{{1, 4}, {9, 3}};  // [policy][case]
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [losses](const Place& at) { return losses[at.p][at.c]; },
      always(10));
  const LevelTable table = table_of(data, Level::by_case);
  CHECK(table.all == "@prompt");
  CHECK(table.groups == std::vector<std::string>{"a@context", "a@prompt"});
  CHECK(table.rows[0].policy == 1);
  CHECK(table.rows[0].cells[0].value == doctest::Approx(0.3));
  CHECK(table.rows[0].cells[1].value == doctest::Approx(0.9));
}
