#include "analysis/compare/verdict.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "analysis/compare/comparison_json.h"
#include "tests/analysis/compare/verdict_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

std::vector<std::string> names_of(const Comparison& comparison, const VerdictRanking& ranking) {
  std::vector<std::string> names;
  for (const VerdictRow& row : ranking.rows) names.push_back(comparison.policies[row.policy].name);
  return names;
}

}  // namespace

TEST_CASE("a verdict ranks contestants by area, references follow without a rank") {
  const Comparison comparison = verdict_of(verdict_results());
  REQUIRE(comparison.verdict->rankings.size() == 1);
  const VerdictRanking& ranking = comparison.verdict->rankings.front();
  CHECK(names_of(comparison, ranking) == std::vector<std::string>{"snapkv", "knorm", "random", "oracle"});
  CHECK(ranking.rows[0].rank == 1);
  CHECK(ranking.rows[2].rank == 3);
  CHECK(ranking.rows[3].rank == 0);
  // snapkv: 0.2 * 0.05 + 0.15 * 0.15 + 0.05 * 0.75 = 0.07 over a range of 0.95;
  // knorm: 0.25 * 0.05 + 0.15 * 0.15 + 0.1 * 0.75 = 0.11.
  CHECK(ranking.rows[0].score == doctest::Approx(0.07 / 0.95));
  CHECK(ranking.rows[1].score == doctest::Approx(0.11 / 0.95));
}

TEST_CASE("a height is the way from random to the oracle on a log scale") {
  const VerdictRanking ranking = verdict_of(verdict_results()).verdict->rankings.front();
  CHECK(ranking.scale == VerdictScale::oracle);
  // Random loses 16 times as much as the oracle. snapkv loses a quarter of random's: ln 4 / ln 16 = 0.5; knorm a half,
  // an eighth, a half: 0.25, 0.75, 0.25. At the full cache nobody loses anything: there is no scale.
  for (std::size_t b = 0; b < 3; ++b) CHECK(ranking.rows[0].heights[b] == doctest::Approx(0.5));
  CHECK(ranking.rows[1].heights[0] == doctest::Approx(0.25));
  CHECK(ranking.rows[1].heights[1] == doctest::Approx(0.75));
  CHECK(ranking.rows[2].heights[0] == 0);
  CHECK(ranking.rows[3].heights[0] == 1);
  CHECK(std::isnan(ranking.rows[0].heights[3]));
}

TEST_CASE("without an oracle or random a height is the logarithm of the loss") {
  ComparisonOptions options;
  options.policies = {"knorm", "snapkv"};
  const VerdictRanking ranking = verdict_of(verdict_results(), options).verdict->rankings.front();
  CHECK(ranking.scale == VerdictScale::loss);
  // From 0.1 (0) to 0.4 (1): 0.2 lies in the middle, and nothing lost is the least.
  CHECK(ranking.rows[0].heights[0] == doctest::Approx(0.5));
  CHECK(ranking.rows[0].heights[2] == doctest::Approx(0));
  CHECK(ranking.rows[1].heights[0] == doctest::Approx(1));
  CHECK(ranking.rows[1].heights[3] == 0);
}

TEST_CASE("columns are the budgets near 5, 10 and 25 %, each of them once") {
  const auto columns = [](std::vector<double> budgets) {
    ResultsFixture fixture;
    fixture.budgets = budgets;
    Dataset data = fixture.build();
    add_metric(data, "output_error", "q_head", "ratio", "lower", always(1), always(1));
    const Comparison comparison = verdict_of(data);
    std::vector<double> chosen;
    for (const std::size_t b : comparison.verdict->rankings.front().columns) chosen.push_back(budgets[b]);
    return chosen;
  };
  using Budgets = std::vector<double>;
  CHECK(columns({0.02, 0.06, 0.09, 0.3, 0.6, 1}) == Budgets{0.06, 0.09, 0.3});
  CHECK(columns({1, 0.3, 0.06, 0.6, 0.09}) == Budgets{0.06, 0.09, 0.3});
  CHECK(columns({0.5, 0.6, 0.7, 0.8, 1}) == Budgets{0.5, 0.6, 0.7});  // each of them once
  CHECK(columns({0.3, 1}) == Budgets{0.3});
  CHECK(columns({1}) == Budgets{1});
}

TEST_CASE("leads are runs of budgets, and nobody leads where all are equal") {
  const Comparison comparison = verdict_of(verdict_results());
  const std::vector<Lead>& leads = comparison.verdict->rankings.front().leads;
  REQUIRE(leads.size() == 3);
  CHECK(comparison.policies[leads[0].policy].name == "snapkv");
  CHECK(comparison.policies[leads[1].policy].name == "knorm");
  CHECK(leads[1].from == 1);
  CHECK(leads[1].to == 1);
  CHECK(leads[2].to == 2);  // not 3, the full cache
}

TEST_CASE("the smallest caches are those that bounds ask for, by default 5 and 1 % of error") {
  const VerdictRanking ranking = verdict_of(verdict_results()).verdict->rankings.front();
  REQUIRE(ranking.bounds.size() == 2);
  // snapkv falls from 0.1 at 0.25 to 0 at 1: 0.05 half of the way, 0.01 nine tenths of it.
  CHECK(ranking.rows[0].smallest[0]->kept == doctest::Approx(0.25 + 0.75 * 0.5));
  CHECK(ranking.rows[0].smallest[1]->kept == doctest::Approx(0.25 + 0.75 * 0.9));
  CHECK(ranking.rows[3].smallest[0]->at_smallest);
  ComparisonOptions options;
  options.at_most = {{.metric = "output_error", .value = 0.2}};
  const VerdictRanking given = verdict_of(verdict_results(), options).verdict->rankings.front();
  REQUIRE(given.bounds.size() == 1);
  CHECK(given.bounds[0].value == 0.2);
  // knorm: a third of the way from 0.4 at 0.05 to 0.1 at 0.1 is not enough: two thirds.
  CHECK(given.rows[1].smallest[0]->kept == doctest::Approx(0.05 + 0.05 * 2 / 3));
}

TEST_CASE("a verdict is of the last point alone, and names the others") {
  ResultsFixture fixture;
  fixture.samples = {"a", "a", "b", "b"};
  Dataset data = fixture.build();
  set_points(data, {"context", "prompt", "context", "prompt"});
  add_kept_fraction(data);
  // At the end of the context random is the best, at the end of the prompt snapkv.
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) {
        return at.b == 2 ? 0 : at.c % 2 == 0 ? 2.0 - static_cast<double>(at.p) : 1.0 + static_cast<double>(at.p);
      },
      always(10));
  const Comparison comparison = verdict_of(data);
  CHECK(comparison.points == std::vector<std::string>{"prompt"});
  CHECK(comparison.other_points == std::vector<std::string>{"context"});
  CHECK(comparison.n_samples == 2);
  const VerdictRanking& ranking = comparison.verdict->rankings.front();
  CHECK(names_of(comparison, ranking) == std::vector<std::string>{"snapkv", "random"});
  CHECK(ranking.rows[0].values[0].value == doctest::Approx(0.1));
  // Everything is as if that point had been chosen.
  ComparisonOptions chosen;
  chosen.cases = {"@prompt"};
  CHECK(comparison_json(comparison) == comparison_json(compare({{.name = "r.h5", .data = data}}, chosen)));
}

TEST_CASE("who cannot be told from the best by the paired bootstrap is tied with it") {
  ResultsFixture fixture;
  fixture.samples = {"a", "b", "c"};
  fixture.layers = {0};
  fixture.n_q_heads = 1;
  fixture.policies = {"best", "near", "far"};
  fixture.oracles = {0, 0, 0};
  fixture.budgets = {0.1, 0.5};
  Dataset data = fixture.build();
  // near loses less in sample b alone. A draw of b three times has a share of 1 / 27 = 3.7 %, more than the tail of
  // 2.5 %: near is tied. far loses more in every sample.
  const std::vector<std::vector<double>> losses{{1, 1, 1}, {1.2, 0.9, 1.4}, {1.2, 1.3, 1.4}};
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [losses](const Place& at) { return losses[at.p][at.c]; },
      always(10));
  const Comparison comparison = verdict_of(data);
  const VerdictRanking& ranking = comparison.verdict->rankings.front();
  CHECK(names_of(comparison, ranking) == std::vector<std::string>{"best", "near", "far"});
  for (std::size_t c = 0; c < ranking.columns.size(); ++c) {
    CHECK(ranking.rows[0].values[c].best);
    CHECK(!ranking.rows[0].values[c].tied);
    CHECK(ranking.rows[1].values[c].tied);
    CHECK(!ranking.rows[2].values[c].tied);
  }
}

TEST_CASE("metrics that are asked for are ranked each, in their own direction") {
  Dataset data = verdict_results();
  add_metric(
      data, "attention_recall", "q_head", "ratio", "higher",
      [](const Place& at) { return at.b == 3 ? 10.0 : 2.0 + static_cast<double>(at.p); }, always(10));
  ComparisonOptions options;
  options.metrics = {"attention_recall", "output_error", "kept_fraction"};
  const Comparison comparison = verdict_of(data, options);
  REQUIRE(comparison.verdict->rankings.size() == 2);
  const VerdictRanking& recall = comparison.verdict->rankings[0];
  CHECK(comparison.metrics[recall.metric].pooled.metric == "attention_recall");
  CHECK(names_of(comparison, recall) == std::vector<std::string>{"snapkv", "knorm", "random", "oracle"});
  // Of recall the missing part is the loss: random 0.8, the oracle 0.5, knorm 0.7.
  CHECK(recall.rows[1].heights[0] == doctest::Approx(std::log(0.8 / 0.7) / std::log(0.8 / 0.5)));
  CHECK(recall.rows[0].values[0].best);
  REQUIRE(recall.bounds.size() == 2);
  CHECK(recall.bounds[0].value == 0.9);
  REQUIRE(comparison.verdict->not_ranked.size() == 1);
  CHECK(comparison.verdict->not_ranked[0].starts_with("kept_fraction "));
}

TEST_CASE("one budget ranks by its values, and missing values have no rank") {
  ResultsFixture fixture;
  fixture.budgets = {0.5};
  fixture.policies = {"knorm", "absent", "snapkv"};
  fixture.oracles = {0, 0, 0};
  Dataset data = fixture.build();
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) { return at.p == 1 ? std::nan("") : 3.0 - static_cast<double>(at.p); }, always(10));
  const Comparison comparison = verdict_of(data);
  const VerdictRanking& ranking = comparison.verdict->rankings.front();
  CHECK(!ranking.by_area);
  CHECK(names_of(comparison, ranking) == std::vector<std::string>{"snapkv", "knorm", "absent"});
  CHECK(ranking.rows[0].score == doctest::Approx(0.1));
  CHECK(ranking.rows[2].rank == 0);
  CHECK(!ranking.rows[2].smallest[0]);
}

TEST_CASE("a short list has the best, snapkv and random wherever they stand, and the oracle") {
  Comparison comparison;
  for (const char* name : {"a", "b", "c", "random:seed=2", "snapkv+ada", "snapkv:window=16", "full", "oracle"})
    comparison.policies.push_back({.name = name, .parameters = ""});
  comparison.policies[6].keeps_all = true;
  comparison.policies[7].oracle = true;
  const std::vector<std::size_t> order{0, 1, 2, 3, 4, 5, 6, 7};
  CHECK(short_list(comparison, order, 2) == std::vector<std::size_t>{0, 1, 3, 5, 7});
  CHECK(short_list(comparison, order, 6) == std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 7});
  CHECK(short_list(comparison, order, std::nullopt) == order);
}

TEST_CASE("warnings are of samples, layers, other amounts and beaten oracles") {
  ResultsFixture fixture;
  fixture.policies = {"chunkkv", "snapkv", "oracle"};
  fixture.oracles = {0, 0, 1};
  Dataset data = fixture.build();
  data.attributes["model_layers"] = std::int64_t{30};
  // chunkkv keeps 20 of 100 tokens where 25 are asked for; the tolerance is one token of each unit.
  add_metric(
      data, "kept_fraction", "kv_head", "ratio", "lower",
      [](const Place& at) {
        return at.p == 0 && at.b == 0 ? 20 : 100 * std::vector<double>{0.25, 0.5, 1}[at.b];
      },
      always(100));
  add_metric(data, "output_error", "q_head", "ratio", "lower", always(1), always(10));
  add_metric(
      data, "attention_recall", "q_head", "ratio", "higher",
      [](const Place& at) { return at.b == 2   ? 10
                                   : at.p == 1 ? 9.0
                                               : 8.0; }, always(10));
  CHECK(verdict_of(data).verdict->warnings ==
        std::vector<std::string>{"2 samples: what can be told apart is rough", "2 of 30 layers",
                                 "chunkkv keeps less than asked for", "snapkv beats an oracle of attention"});
  fixture.samples = {"a"};
  Dataset one = fixture.build();
  add_metric(one, "output_error", "q_head", "ratio", "lower", always(1), always(10));
  CHECK(verdict_of(one).verdict->warnings ==
        std::vector<std::string>{"one sample: no intervals, another prompt may order them otherwise"});
}

TEST_CASE("spans name the winner, who keeps most, and snapkv") {
  ResultsFixture fixture;
  fixture.policies = {"winner", "keeper", "second", "snapkv"};
  fixture.oracles = {0, 0, 0, 0};
  fixture.budgets = {0.1, 0.5};
  fixture.spans = {"context", "needle"};
  Dataset data = fixture.build();
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [](const Place& at) { return 1.0 + static_cast<double>(at.p); },
      always(10));
  add_metric(
      data, "needle_recall", "kv_head", "ratio", "higher",
      [](const Place& at) {
        return std::vector<double>{1, 9, 8, 2}[at.p] + static_cast<double>(at.s);
      },
      always(10), "span");
  const Comparison comparison = verdict_of(data);
  REQUIRE(comparison.verdict->spans.size() == 1);  // the needle alone, where there is one
  const VerdictSpan& span = comparison.verdict->spans.front();
  CHECK(span.part == "needle");
  CHECK(span.budget == 0);
  std::vector<std::size_t> policies;
  for (const VerdictSpan::Share& share : span.shares) policies.push_back(share.policy);
  CHECK(policies == std::vector<std::size_t>{0, 1, 2, 3});
  CHECK(span.shares[0].kept == doctest::Approx(0.2));
}

TEST_CASE("results without a measure to rank by have a verdict without a ranking") {
  ResultsFixture fixture;
  Dataset data = fixture.build();
  add_kept_fraction(data);
  const Comparison comparison = verdict_of(data);
  CHECK(comparison.verdict->rankings.empty());
  CHECK(comparison.verdict->spans.empty());
}
