#include "core/evidence/evaluation_weights.h"

#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr double kTolerance = 1e-5;  // float32 weights

}  // namespace

TEST_CASE("evaluation weights are the full attention of each query that reads the KV head, and its outputs") {
  // 40 evaluation queries of each head: more than one panel, the second not full; one layer slides.
  for (const std::size_t window : {0u, 25u}) {
    const LayerData data =
        random_layer({.n_q_heads = 6, .n_kv_heads = 2, .value_dim = 6, .n_tokens = 70, .sliding_window = window});
    const reference::Layer layer = reference_layer(data);
    const std::size_t first = window == 0 ? 0 : 30 - window + 1;  // candidates [first, 30)
    const ScorerRun run(data, 30, true);
    const EvaluationWeights weights = run.view().with_lookahead().evaluation_weights(1);
    REQUIRE(weights.n_lanes() == 3 * 64);
    const reference::Positions local = reference::positions_between(30, 70);
    for (std::size_t lane = 0; lane < weights.n_lanes(); ++lane) {
      const std::size_t head = 3 + lane / 64, row = 30 + lane % 64;
      if (row >= 70) {  // idle
        for (std::size_t i = 0; i < 30 - first; ++i) CHECK(weights.attention.matrix(0)(i, lane) == 0);
        CHECK(weights.local_mass[lane] == 1);
        continue;
      }
      const reference::Vector attention =
          reference::attention(layer, head, row, reference::positions_between(0, layer.n_tokens()));
      for (std::size_t i = first; i < 30; ++i)
        CHECK(std::abs(weights.attention.matrix(0)(i - first, lane) - attention[i]) < kTolerance);
      CHECK(weights.local_mass[lane] == doctest::Approx(reference::mass(layer, head, row, local)).epsilon(kTolerance));
      const reference::Vector full = reference::full_output(layer, head, row);
      const reference::Vector alone = reference::output(layer, head, row, local);
      for (std::size_t d = 0; d < 6; ++d) {
        CHECK(std::abs(weights.outputs(lane, d) - full[d]) < kTolerance * reference::norm(full));
        CHECK(std::abs(weights.local_outputs(lane, d) - alone[d]) < kTolerance * reference::norm(alone));
      }
    }
  }
}

TEST_CASE("local tokens that lie far below the maximum have an output all the same") {
  // Weights 1, 1e-60 and 2e-60 of the values 5, 3 and 6: the local tokens alone give (3 + 2 * 6) / 3 = 5.
  LayerData data = weighted_layer({{1, 1e-60, 2e-60}});
  for (const auto& [i, value] : {std::pair<std::size_t, float>{0, 5.0f}, {1, 3.0f}, {2, 6.0f}})
    data.values.matrix(0)(i, 0) = value;
  const ScorerRun run(data, 1);
  const EvaluationWeights weights = run.view().with_lookahead().evaluation_weights(0);
  CHECK(weights.local_mass[1] == 0x1p-100);
  CHECK(weights.local_outputs(0, 0) == doctest::Approx(3));  // sees itself only
  CHECK(weights.local_outputs(1, 0) == doctest::Approx(5));
  CHECK(weights.outputs(1, 0) == doctest::Approx(5));
}

TEST_CASE("only a view that may look ahead has evaluation weights") {
  const LayerData data = random_layer({.n_tokens = 20});
  const ScorerRun run(data, 10);
  CHECK_THROWS_AS(run.view().evaluation_weights(0), std::logic_error);
}
