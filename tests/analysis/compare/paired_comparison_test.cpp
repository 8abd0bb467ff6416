#include "analysis/compare/paired_comparison.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "analysis/compare/comparison.h"
#include "analysis/compare/comparison_json.h"
#include "analysis/compare/comparison_text.h"
#include "analysis/compare/paired_text.h"
#include "core/base/error.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

using Values = std::vector<double>;

/// Two samples of one layer and head, with denominators 10 and 30. Budgets 0.25, 0.5, 1.
Dataset two_samples() {
  ResultsFixture fixture;
  fixture.layers = {0};
  fixture.n_q_heads = 1;
  fixture.policies = {"snapkv", "h2o"};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  static const std::vector<std::vector<Values>> numerators{{{4, 2, 0}, {2, 1, 0}}, {{6, 3, 0}, {9, 6, 0}}};
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [](const Place& at) { return numerators[at.c][at.p][at.b]; },
      [](const Place& at) { return at.c == 0 ? 10.0 : 30.0; });
  return data;
}

Comparison against(const Dataset& data, const std::string& policy) {
  ComparisonOptions options;
  options.against = policy;
  return compare({{"r.h5", data}}, options);
}

}  // namespace

TEST_CASE("an equivalent budget is where the curve first reaches a value") {
  const Curve curve = make_curve(Values{0.25, 0.5, 1}, Values{0.4, 0.2, 0});
  const std::vector<Crossing> crossings = equivalent_budgets(curve, Values{0.5, 0.3, 0.1, 0}, Better::lower);
  CHECK(crossings[0].kept == 0.25);
  CHECK(crossings[0].at_smallest);
  CHECK(crossings[1].kept == doctest::Approx(0.375).epsilon(1e-5));  // halfway from 0.4 at 0.25 to 0.2 at 0.5
  CHECK(!crossings[1].at_smallest);
  CHECK(crossings[2].kept == doctest::Approx(0.75).epsilon(1e-5));
  CHECK(crossings[3].kept == 1);
  CHECK(
      std::isnan(equivalent_budgets(make_curve(Values{0.5, 1}, Values{0.4, 0.2}), Values{0.1}, Better::lower)[0].kept));
  // 0.9 falls to 0.5 and rises again: the first crossing counts.
  const Curve wavy = make_curve(Values{0.1, 0.2, 0.4, 1}, Values{0.5, 0.9, 0.5, 1});
  CHECK(equivalent_budgets(wavy, Values{0.7}, Better::higher)[0].kept == doctest::Approx(0.15).epsilon(1e-5));
}

TEST_CASE("rounding does not keep a full cache from being as good as a full cache") {
  const Curve curve = make_curve(Values{0.5, 1}, Values{0.8, 1 - 1e-12});
  CHECK(equivalent_budgets(curve, Values{1.0}, Better::higher)[0].kept == doctest::Approx(1).epsilon(1e-5));
}

TEST_CASE("areas are compared sample by sample, and samples are drawn by their sums") {
  const Comparison comparison = against(two_samples(), "snapkv");
  const PairedPolicy& h2o = comparison.against->metrics[1].policies[1];
  // Pooled snapkv: 10/40 5/40 0, area (0.1875 * 0.25 + 0.0625 * 0.5) / 0.75 = 0.1041667;
  // h2o: 11/40 7/40 0, area (0.225 * 0.25 + 0.0875 * 0.5) / 0.75 = 0.1333333.
  CHECK(h2o.area_difference.value == doctest::Approx(0.0291667).epsilon(1e-5));
  // Draws: a a with 1/6 - 1/12 the other way round: -0.0833333, b b with 0.15 - 0.0833333 = 0.0666667, each in a
  // quarter of the draws. (Mean of ratios: -0.008333 for a b.)
  CHECK(h2o.area_difference.low == doctest::Approx(-0.0833333).epsilon(1e-5));
  CHECK(h2o.area_difference.high == doctest::Approx(0.0666667).epsilon(1e-5));
  CHECK(h2o.area_difference.n_samples == 2);
  CHECK(h2o.score == Score{.wins = 1, .ties = 0, .losses = 1});
  const PairedPolicy& itself = comparison.against->metrics[1].policies[0];
  CHECK(itself.area_difference.value == 0);
  CHECK(itself.score == Score{.wins = 0, .ties = 2, .losses = 0});
}

TEST_CASE("two compression points of one prompt are one sample: no interval") {
  Dataset data = two_samples();
  for (TextVariable& text : data.texts) {
    if (text.name == "case_sample") text.values = {"a", "a"};
  }
  const Comparison comparison = against(data, "snapkv");
  const PairedPolicy& h2o = comparison.against->metrics[1].policies[1];
  CHECK(h2o.area_difference.value == doctest::Approx(0.0291667).epsilon(1e-5));
  CHECK(!h2o.area_difference.has_interval());
  CHECK(h2o.score == Score{.wins = 0, .ties = 0, .losses = 1});
  CHECK(comparison_text(comparison, {"output_error"}).find("one sample: no interval") != std::string::npos);
}

TEST_CASE("the text says where the others are as good, and by how much areas differ") {
  const std::string text = comparison_text(against(two_samples(), "snapkv"), {"output_error"});
  // h2o has 0.275 0.175 0 at 0.25 0.5 1. snapkv's 0.25 is a quarter of the way to 0.5; its 0.125 is (0.175 - 0.125) /
  // 0.175 of the way from 0.5 to 1.
  CHECK(text.find("output_error against snapkv: share of the cache at which each policy has what snapkv has at each "
                  "budget") != std::string::npos);
  CHECK(text.find("snapkv at   0.25    0.5  1\n"
                  "h2o        0.312  0.643  1\n"
                  "snapkv at 0.25 equals h2o at 0.312\n") != std::string::npos);
  CHECK(text.find("policy  area difference      95 % interval  wins  ties  losses\n"
                  "h2o              0.0292  -0.0833 to 0.0667     1     0       1\n") != std::string::npos);
  CHECK(text.find("95 % bootstrap interval, rough with so few samples, and wins over 2 samples") != std::string::npos);
}

TEST_CASE("what is never reached is said, references are left out of the sentence") {
  ResultsFixture fixture;
  fixture.samples = {"a"};
  fixture.layers = {0};
  fixture.n_q_heads = 1;
  fixture.policies = {"snapkv", "h2o", "knorm", "oracle"};
  fixture.oracles = {0, 0, 0, 1};
  fixture.budgets = {0.2, 0.5};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_metric(
      data, "attention_recall", "q_head", "ratio", "higher",
      [](const Place& at) {
        return std::vector<Values>{{0.6, 0.8}, {0.4, 0.7}, {0.1, 0.2}, {0.9, 1}}[at.p][at.b];
      },
      [](const Place&) { return 1.0; });
  const Comparison comparison = against(data, "snapkv");
  const PairedMetric& recall = comparison.against->metrics[1];
  CHECK(equivalence_sentence(comparison, recall) == "snapkv at 0.2 equals h2o at 0.400; never reached by knorm");
  CHECK(comparison_text(comparison, {}).find("oracle     <=0.2  <=0.2\n") != std::string::npos);
}

TEST_CASE("JSON has the equivalent budgets and the differences, null for the policy itself") {
  const auto json = nlohmann::json::parse(comparison_json(against(two_samples(), "h2o")));
  CHECK(json["against"] == "h2o");
  const auto& error = json["metrics"][1];
  CHECK(error["equivalent_budgets"][1].is_null());
  // snapkv has 0.25 at 0.25, less than h2o's 0.275.
  CHECK(error["equivalent_budgets"][0][0]["at_smallest"] == true);
  CHECK(error["area_differences"][0]["value"].get<double>() == doctest::Approx(-0.0291667).epsilon(1e-5));
  CHECK(error["area_differences"][0]["score"]["wins"] == 1);
  CHECK(json["metrics"][0]["equivalent_budgets"].empty());  // the kept fraction is no contest
}

TEST_CASE("a policy alone has nothing to be compared with") {
  ResultsFixture fixture;
  fixture.policies = {"snapkv"};
  fixture.oracles = {0};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  CHECK_THROWS_WITH_AS(against(data, "snapkv"), "--against snapkv: there is no other policy to compare with it",
                       InputError);
}

TEST_CASE("an unknown policy to compare with is answered with the nearest") {
  CHECK_THROWS_WITH_AS(against(two_samples(), "snapkw"), doctest::Contains("did you mean 'snapkv'?"), UsageError);
}
