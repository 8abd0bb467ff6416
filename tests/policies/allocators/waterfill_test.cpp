#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/contracts/allocator.h"
#include "tests/reference/policies.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

using Curves = std::vector<std::vector<double>>;  // [n_heads][tokens kept]

/// Tokens of each head when each is a layer of its own, with its loss known at every count.
std::vector<std::size_t> fill(const Curves& curves, std::size_t budget) {
  std::vector<LayerSurvey> layers;
  for (const std::vector<double>& curve : curves) {
    LayerSurvey& layer = layers.emplace_back();
    layer.n_candidates = curve.size() - 1;
    layer.n_heads = 1;
    layer.budgets = {{.tokens = budget}};
    layer.curve_tokens.resize(curve.size());
    std::iota(layer.curve_tokens.begin(), layer.curve_tokens.end(), std::size_t{0});
    layer.curve = {curve};
  }
  const Allocator* waterfill = find_allocator("waterfill");
  std::vector<std::size_t> tokens;
  for (const HeadBudgets& layer : waterfill->split_layers(layers, Parameters(waterfill->parameters, "waterfill", "")))
    tokens.push_back(layer.tokens.at(0).at(0));
  return tokens;
}

double loss(const Curves& curves, const std::vector<std::size_t>& tokens) {
  double sum = 0;
  for (std::size_t h = 0; h < curves.size(); ++h) sum += curves[h].at(tokens[h]);
  return sum;
}

/// The least loss of all ways to give three heads `total` tokens.
double least_loss(const Curves& curves, std::size_t total) {
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t a = 0; a < curves[0].size(); ++a)
    for (std::size_t b = 0; b < curves[1].size(); ++b)
      if (a + b <= total && total - a - b < curves[2].size())
        least = std::min(least, loss(curves, {a, b, total - a - b}));
  return least;
}

using Tokens = std::vector<std::size_t>;

}  // namespace

TEST_CASE("tokens go where they save most") {
  // Gains 5 3 1 0 and 4 2 2 2: four tokens are 5 4 3 2, six 5 4 3 2 2 2.
  const Curves curves = {{9, 4, 1, 0, 0}, {10, 6, 4, 2, 0}};
  CHECK(fill(curves, 1) == Tokens{1, 1});
  CHECK(fill(curves, 2) == Tokens{2, 2});
  CHECK(fill(curves, 3) == Tokens{2, 4});
  CHECK(fill(curves, 4) == Tokens{4, 4});
  CHECK(fill(curves, 0) == Tokens{0, 0});
}

TEST_CASE("a head whose gain comes late is seen over its hull") {
  // Head 0 gains next to nothing until it has three tokens: 3 for each of the three over the hull. Head 1: 2, 1, 0.5,
  // 0.5. Step by step one would give head 1 everything (loss 10 + 0); the hull finds 1 + 2, the least there is.
  const Curves curves = {{10, 9.9, 9.8, 1, 0}, {4, 2, 1, 0.5, 0}};
  CHECK(fill(curves, 2) == Tokens{3, 1});
  CHECK(fill(curves, 3) == Tokens{4, 2});  // 1 and 1
}

TEST_CASE("loss that rises with more tokens is spent on last") {
  const Curves curves = {{5, 1, 3}, {5, 4, 3.5}};
  CHECK(fill(curves, 1) == Tokens{1, 1});
  CHECK(fill(curves, 2) == Tokens{2, 2});
  CHECK(fill({{5, 1, 3, 3}, {5, 4, 3.5, 3.4}}, 2) == Tokens{1, 3});
}

TEST_CASE("of equal gains the lower head is served first") { CHECK(fill({{2, 1, 0}, {2, 1, 0}}, 1) == Tokens{2, 0}); }

TEST_CASE("on convex curves no other split loses less") {
  NormalNumbers numbers(21);
  for (std::size_t round = 0; round < 20; ++round) {
    Curves curves;
    for (std::size_t h = 0; h < 3; ++h) {
      std::vector<double> gains(6);
      for (double& gain : gains) gain = std::exp(numbers.next());
      std::ranges::sort(gains, std::greater{});
      std::vector<double>& curve = curves.emplace_back(7, 0.0);
      for (std::size_t p = 6; p-- > 0;) curve[p] = curve[p + 1] + gains[p];
    }
    for (std::size_t budget = 0; budget <= 6; ++budget) {
      const Tokens tokens = fill(curves, budget);
      CHECK(std::accumulate(tokens.begin(), tokens.end(), std::size_t{0}) == 3 * budget);
      CHECK(loss(curves, tokens) <= least_loss(curves, 3 * budget) + 1e-12);
    }
  }
}

TEST_CASE("on other curves no split loses less where the hulls' pieces end") {
  NormalNumbers numbers(22);
  std::size_t n_ends = 0;
  for (std::size_t round = 0; round < 60; ++round) {
    Curves curves;
    for (std::size_t h = 0; h < 3; ++h) {
      std::vector<double>& curve = curves.emplace_back(7, 0.0);
      for (std::size_t p = 6; p-- > 0;) curve[p] = curve[p + 1] + std::exp(2 * numbers.next());
    }
    for (std::size_t budget = 1; budget <= 5; ++budget) {
      const Tokens tokens = fill(curves, budget);
      // At the end of a piece every head stands on its hull: below all chords over it.
      bool on_hulls = true;
      for (std::size_t h = 0; h < 3; ++h)
        for (std::size_t a = 0; a < tokens[h]; ++a)
          for (std::size_t b = tokens[h] + 1; b < 7; ++b)
            on_hulls &=
                curves[h][tokens[h]] * static_cast<double>(b - a) <=
                curves[h][a] * static_cast<double>(b - tokens[h]) + curves[h][b] * static_cast<double>(tokens[h] - a);
      if (!on_hulls) continue;
      ++n_ends;
      CHECK(loss(curves, tokens) <= least_loss(curves, 3 * budget) * (1 + 1e-12));
    }
  }
  CHECK(n_ends > 30);
}

TEST_CASE("losses are measured at steps equal in logarithm, at nothing and at everything") {
  const LayerData data = random_layer({.hidden_size = 12, .n_tokens = 16});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 10);
  for (const bool projected : {false, true}) {
    const Policy policy("knorm+waterfill:points=4" + std::string(projected ? ",metric=projected_error" : ""));
    const LayerSurvey survey = policy.survey(run.view(), token_budgets({5}, 10))[0];
    // 10^0, 10^(1/3) = 2.15, 10^(2/3) = 4.64, 10
    CHECK(survey.curve_tokens == Tokens{0, 1, 2, 5, 10});
    const auto sets = run.retained("knorm", survey.curve_tokens);
    REQUIRE(survey.curve.size() == 2);
    for (std::size_t g = 0; g < 2; ++g)
      for (std::size_t p = 0; p < 5; ++p) {
        double expected = 0;  // a KV head answers for its two query heads
        for (const std::size_t h : {2 * g, 2 * g + 1}) {
          const reference::Sums sums = projected ? reference::head_projected_error(layer, h, 10, sets[g][p])
                                                 : reference::output_error(layer, h, 10, sets[g][p]);
          expected += projected ? sums.numerator : sums.numerator / sums.denominator;
        }
        CHECK(survey.curve[g][p] == doctest::Approx(expected).epsilon(1e-4));
      }
    for (std::size_t g = 0; g < 2; ++g) CHECK(survey.curve[g].back() == 0);
  }
}

TEST_CASE("heads that put out nothing have nothing to lose") {
  // Layer 0 has values of 0: all that can be spent elsewhere is.
  std::vector<LayerData> layers;
  layers.push_back(weighted_layer({std::vector<double>(12, 1.0)}));
  layers.push_back(random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 12, .layer = 1, .n_layers = 2}));
  layers[0].model.n_layers = 2;
  const CaseRun run(std::move(layers), 10);
  const Policy policy("knorm+waterfill");
  const LayerSurvey survey = policy.survey(run.view(0), token_budgets({5}, 10))[0];
  for (const double loss : survey.curve[0]) CHECK(loss == 0);
  CHECK(run.counts(policy, BudgetKind::tokens, 5) == HeadCounts{{0}, {10}});
}

TEST_CASE("waterfill is marked as an oracle, and its own allocation loses no more than equal parts") {
  std::vector<LayerData> layers;
  for (std::size_t l = 0; l < 3; ++l)
    layers.push_back(random_layer({.n_tokens = 50, .layer = l, .n_layers = 3, .seed = l + 1}));
  std::vector<reference::Layer> references;
  for (const LayerData& layer : layers) references.push_back(reference_layer(layer));
  const CaseRun run(std::move(layers), 40);
  CHECK(Policy("knorm+waterfill").oracle());
  CHECK(!Policy("knorm+global").oracle());
  // The curves are known at all 41 counts, the 40 points being dense where they are few and 1000 hitting every one.
  const auto total = [&](const std::string& policy, std::size_t budget) {
    double sum = 0;
    const auto sets = run.retained(Policy(policy), {budget});
    for (std::size_t l = 0; l < 3; ++l)
      for (std::size_t h = 0; h < 4; ++h) {
        const reference::Sums sums = reference::output_error(references[l], h, 40, sets[l][h / 2][0]);
        sum += sums.numerator / sums.denominator;
      }
    return sum;
  };
  for (const std::size_t budget : {5u, 20u, 35u})
    CHECK(total("attention+waterfill:points=1000", budget) < total("attention", budget));
}
