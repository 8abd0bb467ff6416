#include "policies/shared/layer_split.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using Parts = std::vector<std::size_t>;

namespace {

Parts split(const std::vector<double>& weights, std::size_t total, const Parts& caps) {
  return split_in_proportion(weights, total, caps);
}

LayerSurvey layer_of(double preference, std::size_t n, std::size_t n_heads, const std::vector<std::size_t>& tokens,
                     const std::vector<std::size_t>& n_protected) {
  LayerSurvey layer{.n_candidates = n, .n_heads = n_heads, .n_protected = n_protected};
  layer.preferences.assign(tokens.size(), preference);
  for (const std::size_t budget : tokens) layer.budgets.push_back({.tokens = budget});
  return layer;
}

}  // namespace

TEST_CASE("a total is split in proportion, and what is left goes to the largest remainders") {
  CHECK(split({1, 2, 1}, 8, {10, 10, 10}) == Parts{2, 4, 2});
  // 10/7 = 1.43, 20/7 = 2.86, 40/7 = 5.71: 1 + 2 + 5, and the two left to .86 and .71.
  CHECK(split({1, 2, 4}, 10, {10, 10, 10}) == Parts{1, 3, 6});
  CHECK(split({100, 200, 400}, 10, {10, 10, 10}) == Parts{1, 3, 6});
  CHECK(split({0, 5}, 4, {10, 10}) == Parts{0, 4});
}

TEST_CASE("of equal remainders the first ones are rounded up") {
  CHECK(split({1, 1, 1}, 10, {10, 10, 10}) == Parts{4, 3, 3});
  CHECK(split({1, 1, 1, 1}, 6, {10, 10, 10, 10}) == Parts{2, 2, 1, 1});
}

TEST_CASE("what a cap turns away goes to the others in proportion, which may meet their caps then") {
  CHECK(split({8, 1, 1}, 20, {10, 10, 10}) == Parts{10, 5, 5});
  // 12, 6, 2: the first is cut to 8. 12 left at 3 : 1 are 9 and 3: the second is cut to 8 too. 4 left.
  CHECK(split({6, 3, 1}, 20, {8, 8, 8}) == Parts{8, 8, 4});
  CHECK(split({1, 1}, 5, {2, 9}) == Parts{2, 3});
  // No weight is left to share the last two by: equal parts.
  CHECK(split({0, 5}, 8, {10, 6}) == Parts{2, 6});
}

TEST_CASE("no more is given than the caps hold, and nothing of nothing") {
  CHECK(split({1, 9}, 100, {3, 4}) == Parts{3, 4});
  CHECK(split({1, 9}, 7, {3, 4}) == Parts{3, 4});
  CHECK(split({1, 9}, 0, {3, 4}) == Parts{0, 0});
  CHECK(split({1, 9}, 5, {0, 4}) == Parts{0, 4});
  CHECK(split({1}, 5, {9}) == Parts{5});
}

TEST_CASE("weights that are all 0 are equal weights") { CHECK(split({0, 0, 0}, 7, {9, 9, 9}) == Parts{3, 2, 2}); }

TEST_CASE("any split meets its total and its caps, and without caps in the way is within one of the exact share") {
  NormalNumbers numbers(11);
  for (std::size_t round = 0; round < 200; ++round) {
    const std::size_t n = 1 + round % 7, total = round * 3 % 61;
    std::vector<double> weights(n);
    Parts caps(n);
    for (double& weight : weights) weight = round % 5 == 0 ? 1 : std::exp(3 * numbers.next());
    for (std::size_t& cap : caps) cap = static_cast<std::size_t>(std::abs(10 * numbers.next()));
    const std::size_t room = std::accumulate(caps.begin(), caps.end(), std::size_t{0});
    const Parts parts = split(weights, total, caps);
    CHECK(std::accumulate(parts.begin(), parts.end(), std::size_t{0}) == std::min(total, room));
    for (std::size_t i = 0; i < n; ++i) CHECK(parts[i] <= caps[i]);

    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    const Parts wide = split(weights, total, Parts(n, 1000));
    for (std::size_t i = 0; i < n; ++i)
      CHECK(std::abs(static_cast<double>(wide[i]) - static_cast<double>(total) * weights[i] / sum) < 1);
  }
}

TEST_CASE("layers keep what is protected, and the rest of the budget goes by weight") {
  // Two layers of budget 4, 2 of it protected: 4 to share at 3 : 1.
  const std::vector<LayerSurvey> layers = {layer_of(3, 10, 2, {4, 1, 10}, {2, 1, 2}),
                                           layer_of(1, 10, 3, {4, 1, 10}, {2, 1, 2})};
  const std::vector<HeadBudgets> split = split_by_preference(layers);
  CHECK(split[0].tokens[0] == Parts{5, 5});
  CHECK(split[1].tokens[0] == Parts{3, 3, 3});
  // A budget of 1 is all protected: there is nothing to share.
  CHECK(split[0].tokens[1] == Parts{1, 1});
  CHECK(split[1].tokens[1] == Parts{1, 1, 1});
  CHECK(split[0].tokens[2] == Parts{10, 10});
  CHECK(split[1].tokens[2] == Parts{10, 10, 10});
}

TEST_CASE("layers may be worth something else at another budget") {
  std::vector<LayerSurvey> layers = {layer_of(0, 10, 1, {4, 4}, {0, 0}), layer_of(0, 10, 1, {4, 4}, {0, 0})};
  layers[0].preferences = {3, 1};
  layers[1].preferences = {1, 3};
  const std::vector<HeadBudgets> split = split_by_preference(layers);
  CHECK(split[0].tokens == std::vector<Parts>{{6}, {2}});
  CHECK(split[1].tokens == std::vector<Parts>{{2}, {6}});
}

TEST_CASE("a short layer takes what it can hold") {
  // (4 - 2) + (6 - 2) = 6 to share at 3 : 1 would be 4.5 and 1.5; the first layer has room for 2.
  const std::vector<LayerSurvey> layers = {layer_of(3, 4, 1, {4}, {2}), layer_of(1, 10, 1, {6}, {2})};
  const std::vector<HeadBudgets> split = split_by_preference(layers);
  CHECK(split[0].tokens[0] == Parts{4});
  CHECK(split[1].tokens[0] == Parts{6});
}
