#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// One dimension: s_i grows with w_i v_i^2, so the loss of a token with equal weights is in the order of |v_i|.
LayerData layer_of(std::vector<float> values) {
  LayerData layer = weighted_layer({std::vector<double>(values.size() + 1, 1.0)});
  std::ranges::copy(values, layer.values.values().begin());
  return layer;
}

}  // namespace

TEST_CASE("rank correlation with the loss of single tokens by hand") {
  // |v| = 4, 3, 2, 1: streaming-llm ranks the first one first (4 sinks in ascending order): correlation 1.
  const LayerData falling = layer_of({4, -3, 2, 1});
  const ReplayCase replay_case{
      .data = &falling, .compression_point = 4, .policies = {"streaming-llm", "full"}, .budgets = {2, 4}};
  const Measured measured = measure("capacity_rank_correlation", replay_case);
  CHECK(measured.value(0, 0, 0) == doctest::Approx(1));
  CHECK(measured.value(0, 0, 1) == doctest::Approx(1));
  CHECK(measured.value(0, 1, 0) == 0);  // `full` ranks nothing
  // |v| = 2, 1, 4, 3 against ranks 4, 3, 2, 1 (higher = kept longer): loss ranks 2, 1, 4, 3;
  // sum of squared differences 4 + 4 + 4 + 4 = 16: rho = 1 - 6 * 16 / (4 * 15) = -0.6
  const LayerData mixed = layer_of({2, 1, 4, 3});
  ReplayCase other = replay_case;
  other.data = &mixed;
  CHECK(measure("capacity_rank_correlation", other).value(0, 0, 0) == doctest::Approx(-0.6));
}

TEST_CASE("sets that are not nested are ranked by how many budgets keep a token") {
  // chunk keeps whole chunks, budget by budget; whatever it is, the figure is a correlation, the same at every budget.
  const LayerData layer = random_layer({.n_tokens = 60});
  const Measured measured =
      measure("capacity_rank_correlation",
              {.data = &layer, .compression_point = 40, .policies = {"knorm+chunk:length=4"}, .budgets = {3, 9, 30}});
  for (std::size_t g = 0; g < 2; ++g) {
    CHECK(std::abs(measured.value(g, 0, 0)) < 1);
    CHECK(measured.value(g, 0, 0) == measured.value(g, 0, 1));
    CHECK(measured.value(g, 0, 0) == measured.value(g, 0, 2));
  }
}
