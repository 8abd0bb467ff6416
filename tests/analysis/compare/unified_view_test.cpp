#include "analysis/compare/unified_view.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Two samples, one layer, one head; budgets 0.25, 0.5, 1; errors over denominators 10 and 30.
Dataset two_samples() {
  ResultsFixture fixture;
  fixture.layers = {0};
  fixture.n_q_heads = 1;
  fixture.policies = {"snapkv", "capkv-greedy:tau=5", "oracle"};
  fixture.oracles = {0, 0, 1};
  fixture.other_policies = fixture.policies;
  Dataset data = fixture.build();
  add_kept_fraction(data);
  static const std::vector<std::vector<std::vector<double>>> errors{{{4, 2, 0}, {2, 1, 0}, {2, 1, 0}},
                                                                    {{6, 3, 0}, {9, 6, 0}, {3, 3, 0}}};
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [](const Place& at) { return errors[at.c][at.p][at.b]; },
      [](const Place& at) { return at.c == 0 ? 10.0 : 30.0; });
  return data;
}

void add_view_metrics(Dataset& data) {
  // Overlap of 0.2 at 0.25, 0.6 at 0.5, 1 at the full cache; of a policy with itself 1.
  add_metric(
      data, "overlap", "", "ratio", "higher",
      [](const Place& at) {
        return at.p == at.s ? 1 : std::vector<double>{0.2, 0.6, 1}[at.b];
      },
      always(1), "other_policy");
  add_metric(
      data, "capacity_rank_correlation", "", "ratio", "higher",
      [](const Place& at) { return at.b == 2 ? 9 : 0.1 * static_cast<double>(at.p + 1); }, always(1));
}

UnifiedView view_of(const Dataset& data, std::size_t budget) {
  const Results results = read_results(data);
  return unified_view(results, describe_policies(results), budget);
}

}  // namespace

TEST_CASE("rank correlation and overlap are means over the budgets at which something is evicted") {
  Dataset data = two_samples();
  add_view_metrics(data);
  const UnifiedView view = view_of(data, 1);
  CHECK(view.n_budgets == 2);
  CHECK(view.rows[1].rank_correlation == doctest::Approx(0.2));
  CHECK(view.landmarks == std::vector<std::string>{"capkv-greedy:tau=5", "oracle"});
  CHECK(view.rows[0].jaccard[0] == doctest::Approx(0.4));  // (0.2 + 0.6) / 2
  CHECK(view.rows[1].jaccard[0] == 1);
  CHECK(view.matrix[0] == std::vector<double>{1, 0.6, 0.6});
  CHECK(view.missing == "error-greedy, error-backward (replay with -p error-greedy,error-backward)");
  // A choice of policies does not unmake what overlap was measured with.
  const std::vector<std::size_t> first{0};
  const Results chosen = taken(read_results(data), ResultsAxis::policies, first);
  CHECK(unified_view(chosen, describe_policies(chosen), 1).missing == view.missing);
}

TEST_CASE("regret is the error beyond that of the oracle at equal budgets, pooled and resampled by sums") {
  const Dataset data = two_samples();
  const UnifiedView view = view_of(data, 0);
  CHECK(view.oracles == std::vector<std::string>{"oracle"});
  // Pooled: snapkv 10/40 5/40, oracle 5/40 4/40: (0.125 + 0.025) / 2 = 0.075.
  CHECK(view.rows[0].regret.value == doctest::Approx(0.075));
  // Sample a alone: (0.2 + 0.1) / 2 = 0.15; b alone: (0.1 + 0) / 2 = 0.05.
  CHECK(view.rows[0].regret.low == doctest::Approx(0.05));
  CHECK(view.rows[0].regret.high == doctest::Approx(0.15));
  CHECK(view.rows[0].score == Score{.wins = 0, .ties = 0, .losses = 2});
  // capkv-greedy ties the oracle in a; in b: (0.2 + 0.1) / 2 = 0.15.
  CHECK(view.rows[1].score == Score{.wins = 0, .ties = 1, .losses = 1});
  CHECK(std::isnan(view.rows[2].regret.value));
}

TEST_CASE("of several oracles the best at each budget is what regret is measured against") {
  Dataset data = two_samples();
  for (Variable& variable : data.variables) {
    if (variable.name == "policy_is_oracle") variable.values = {1, 1, 0};
    if (variable.name != "output_error_numerator") continue;
    for (std::size_t c = 0; c < 2; ++c) variable.values[(c * 3 + 1) * 3 + 1] = 0;  // the second policy at 0.5
  }
  const UnifiedView view = view_of(data, 0);
  CHECK(view.oracles.size() == 2);
  // Pooled: the first 10/40 5/40, the second 11/40 0, the third 5/40 4/40. The best oracle: 10/40 and 0, mean 0.125.
  CHECK(view.rows[0].regret.value == doctest::Approx((0.25 + 0.125) / 2 - 0.125));
  CHECK(view.rows[1].regret.value == doctest::Approx(0.275 / 2 - 0.125));
  CHECK(view.rows[2].regret.value == doctest::Approx(0.225 / 2 - 0.125));
}

TEST_CASE("what a view lacks is said with how to replay it") {
  ResultsFixture fixture;
  Dataset data = fixture.build();
  const UnifiedView view = view_of(data, 0);
  CHECK(view.oracles.empty());
  CHECK(view.others.empty());
  CHECK(std::isnan(view.rows[0].rank_correlation));
  CHECK(view.missing ==
        "overlap, capacity_rank_correlation (replay with --metric default,overlap,capacity_rank_correlation); "
        "capkv-greedy, oracle, error-greedy, error-backward (replay with -p "
        "capkv-greedy,oracle,error-greedy,error-backward)");
}
