#include <doctest/doctest.h>

#include <cmath>

#include "core/base/error.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Four tokens before the compression point. The query at 2 sees three of them, the one at 3 all four.
LayerData four_tokens(const std::vector<double>& weights, const std::vector<double>& powers = {1}) {
  return weighted_layer({weights}, powers);
}

double preference(const LayerData& data, const std::string& parameters = "") {
  const ScorerRun run(data, 4);
  const Policy policy("knorm+cake:window=2" + parameters);
  return policy.survey(run.view(), token_budgets({2}, 4))[0].preferences.at(0);
}

double entropy_term(double a) { return -a * std::log(a); }

}  // namespace

TEST_CASE("a layer is worth the entropy of what the window pays to older tokens times how much it shifts") {
  // The query at 2 pays 4/7 and 2/7 to tokens 0 and 1, the one at 3 pays 4/8 and 2/8. Of two numbers that are d apart
  // the unbiased variance is d^2 / 2: d = 1/14 and 1/28.
  const LayerData data = four_tokens({4, 2, 1, 1, 1});
  const double entropy = entropy_term(4.0 / 7) + entropy_term(2.0 / 7) + entropy_term(0.5) + entropy_term(0.25);
  const double variance = 1.0 / (14 * 14 * 2) + 1.0 / (28 * 28 * 2);
  CHECK(preference(data) == doctest::Approx(entropy * variance).epsilon(1e-4));
  CHECK(preference(data, ",tau1=2") == doctest::Approx(std::sqrt(entropy) * variance).epsilon(1e-4));
  CHECK(preference(data, ",tau2=0.5") == doctest::Approx(entropy * variance * variance).epsilon(1e-4));
}

TEST_CASE("sums, not means, run over the heads of a layer") {
  const double one = preference(four_tokens({4, 2, 1, 1, 1}));
  CHECK(preference(four_tokens({4, 2, 1, 1, 1}, {1, 1})) == doctest::Approx(4 * one).epsilon(1e-4));
}

TEST_CASE("attention that does not shift makes a layer worth nothing beside others") {
  // Tokens 2 and 3 weigh next to nothing, so that both queries pay the same to 0 and 1.
  const LayerData still = four_tokens({4, 2, 1e-30, 1e-30, 1});
  CHECK(preference(still) < 1e-10);
  const auto counts = [](std::vector<LayerData> layers, std::size_t budget) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      layers[l].layer.index = l;
      layers[l].model.n_layers = layers.size();
    }
    return CaseRun(std::move(layers), 4)
        .counts(Policy("knorm+cake:window=2"), BudgetKind::tokens, static_cast<double>(budget));
  };
  const auto pair = [&] {
    std::vector<LayerData> layers;
    layers.push_back(copy_of(still));
    layers.push_back(four_tokens({4, 2, 1, 1, 1}));
    return layers;
  };
  CHECK(counts(pair(), 1) == HeadCounts{{0}, {2}});
  CHECK(counts(pair(), 3) == HeadCounts{{2}, {4}});  // all that the second one has
  CHECK(counts(pair(), 4) == HeadCounts{{4}, {4}});
  CHECK(counts(pair(), 0) == HeadCounts{{0}, {0}});
}

TEST_CASE("layers share in proportion to their worth, above the tokens that the scorer protects") {
  // The same head, twice in layer 0: twice the entropy and twice the variance, 4 : 1.
  std::vector<double> weights(41, 1.0);
  weights[0] = 30;
  std::vector<LayerData> layers;
  layers.push_back(weighted_layer({weights}, {1, 1}));
  layers.push_back(weighted_layer({weights}));
  layers[1].layer.index = 1;
  for (LayerData& layer : layers) layer.model.n_layers = 2;
  const CaseRun run(std::move(layers), 40);
  const auto at = [&](const char* policy, double budget) {
    return run.counts(Policy(policy), BudgetKind::tokens, budget);
  };
  CHECK(at("knorm+cake:window=8", 10) == HeadCounts{{16}, {4}});
  // 2 * (20 - 8) = 24 by 19.2 and 4.8.
  CHECK(at("snapkv:window=8+cake:window=8", 20) == HeadCounts{{27}, {13}});
  CHECK(at("snapkv:window=8+cake:window=8", 5) == HeadCounts{{5}, {5}});
}

TEST_CASE("a window that is the whole prompt sees nothing older, and a longer one is refused") {
  const LayerData data = four_tokens({4, 2, 1, 1, 1});
  const ScorerRun run(data, 4);
  CHECK(run.retained("knorm+cake:window=4", 0, 2).size() == 2);  // no layer is worth anything: equal parts
  CHECK_THROWS_WITH_AS(run.retained("knorm+cake:window=5", 0, 2),
                       "its observation window of 5 queries is longer than the 4 tokens up for eviction", InputError);
}
