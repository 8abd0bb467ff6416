#include "analysis/compare/results.h"

#include <doctest/doctest.h>

#include <cmath>

#include "analysis/compare/results_join.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Cases a, b; layers 0, 1, 5; policies snapkv, random, knorm; a metric of heads whose sums are their places:
// numerator 10000 c + 1000 l + 100 h + 10 p + b, denominator 10 c + l (+ h / 10).
Dataset places() {
  ResultsFixture fixture;
  fixture.layers = {0, 1, 5};
  fixture.policies = {"snapkv", "random", "knorm"};
  fixture.oracles = {0, 0, 1};
  Dataset data = fixture.build();
  add_metric(
      data, "recall", "q_head", "ratio", "higher",
      [](const Place& at) { return static_cast<double>(10000 * at.c + 1000 * at.l + 100 * at.h + 10 * at.p + at.b); },
      [](const Place& at) { return static_cast<double>(10 * at.c + at.l) + static_cast<double>(at.h) / 10; });
  return data;
}

}  // namespace

TEST_CASE("results are read once into types") {
  Dataset data = places();
  data.attributes["model_layers"] = std::int64_t{30};
  const Results results = read_results(data);
  CHECK(results.model_id == "hand-made");
  CHECK(results.model_layers == std::size_t{30});
  CHECK(results.case_labels() == std::vector<std::string>{"a@prompt", "b@prompt"});
  CHECK(results.cases[1].sample == "b");
  CHECK(results.cases[1].point == "prompt");
  CHECK(results.cases[1].n_queries == 10);
  CHECK(std::isnan(results.cases[1].sensitivity_range));
  CHECK(!results.has_sensitivity_ranges);
  CHECK(results.layers == std::vector<std::int64_t>{0, 1, 5});
  CHECK(results.policies[2].name == "knorm");
  CHECK(results.policies[2].oracle);
  CHECK(results.metric_names() == std::vector<std::string>{"recall"});
  CHECK(results.find("output_error") == nullptr);
  const ResultsMetric& recall = *results.find("recall");
  CHECK((recall.better == Better::higher));
  CHECK((recall.axis == MetricAxis::q_head));
  CHECK((recall.parts == MetricParts::none));
  CHECK(recall.monotone);
  CHECK(recall.contest);
  CHECK(results.head_labels(recall) == std::vector<std::string>{"0", "1"});
  CHECK(recall.numerator.at({1, 2, 1, 2, 1, 0}) == 12121);
  CHECK(recall.denominator.at({1, 2, 1, 2, 1, 0}) == doctest::Approx(12.1));  // whatever policy and budget are
}

TEST_CASE("sums that two metrics share are one array") {
  Dataset data = places();
  Variable mean = data.variable("recall");
  mean.name = "mean";
  mean.attributes["denominator"] = std::string("n_queries");
  data.variables.push_back(mean);
  const Results results = read_results(data);
  CHECK(results.find("mean")->numerator.values == results.find("recall")->numerator.values);
  CHECK(results.find("mean")->denominator.at({1, 2, 1, 0, 0, 0}) == 10);
}

TEST_CASE("some cases, layers and policies are taken in the order wanted, with all that lies along them") {
  const std::vector<std::size_t> swapped{1, 0}, last{2}, ends{2, 0};
  Results some = taken(read_results(places()), ResultsAxis::cases, swapped);
  some = taken(std::move(some), ResultsAxis::layers, last);
  some = taken(std::move(some), ResultsAxis::policies, ends);
  CHECK(some.case_labels() == std::vector<std::string>{"b@prompt", "a@prompt"});
  CHECK(some.layers == std::vector<std::int64_t>{5});
  CHECK(some.policy_names() == std::vector<std::string>{"knorm", "snapkv"});
  CHECK(some.n_candidates.size() == 2);
  CHECK(some.replayed.size() == 4);
  const ResultsMetric& recall = *some.find("recall");
  CHECK(recall.size(ResultsAxis::layers) == 1);
  CHECK(recall.size(ResultsAxis::policies) == 2);
  CHECK(recall.numerator.at({0, 0, 1, 0, 2, 0}) == 12122);  // case b, layer 5, head 1, knorm
  CHECK(recall.numerator.at({1, 0, 0, 1, 1, 0}) == 2001);   // case a, layer 5, head 0, snapkv
  CHECK(recall.denominator.at({0, 0, 1, 0, 0, 0}) == doctest::Approx(12.1));
}

TEST_CASE("results before 1.1 do not say what is monotone or a contest, and metrics are both") {
  Dataset data = places();
  for (Variable& variable : data.variables)
    if (variable.name == "recall") {
      variable.attributes["monotone"] = std::int64_t{0};
      variable.attributes["contest"] = std::int64_t{0};
    }
  const Results results = read_results(data);
  CHECK(!results.find("recall")->monotone);
  CHECK(!results.find("recall")->contest);
}
