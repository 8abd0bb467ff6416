#include "core/evidence/evaluation_errors.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"
#include "tests/support/tested_backend.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

LayerSelection nested(const std::vector<std::vector<std::uint32_t>>& rankings, const std::vector<std::size_t>& counts,
                      HeadAxis axis = HeadAxis::kv) {
  LayerSelection selection{.axis = axis, .heads = {}};
  for (const auto& ranking : rankings) selection.heads.push_back(plan_nested(ranking, counts));
  return selection;
}

}  // namespace

TEST_CASE("what a head loses is the squared distance of its outputs, summed over the evaluation queries") {
  // Two tokens before the compression point, one query after it. Softmax 1/4, 1/4, 1/2 of the values 4, 0, 0: output 1.
  // Without token 1: 4 / 3, an error of 1/3; without both: 0, an error of 1.
  LayerData data = weighted_layer({{1, 1, 2}});
  data.values.matrix(0)(0, 0) = 4;
  const auto backend = make_tested_backend();
  const EvaluationErrors errors = evaluation_errors(data, {0, 2}, nested({{0, 1}}, {0, 1, 2}), false, *backend);
  REQUIRE(errors.squared.size() == 1);
  CHECK(errors.squared[0][0] == doctest::Approx(1));
  CHECK(errors.squared[0][1] == doctest::Approx(1.0 / 9));
  CHECK(errors.squared[0][2] == 0);
  CHECK(errors.reference[0] == doctest::Approx(1));

  // After W_O = (3, 4) everything is five times as long.
  data.model.hidden_size = 2;
  data.output_projection = Tensor(1, 1, 2);
  data.output_projection.matrix(0)(0, 0) = 3;
  data.output_projection.matrix(0)(0, 1) = 4;
  const EvaluationErrors projected = evaluation_errors(data, {0, 2}, nested({{0, 1}}, {0, 1, 2}), true, *backend);
  CHECK(projected.squared[0][0] == doctest::Approx(25));
  CHECK(projected.squared[0][1] == doctest::Approx(25.0 / 9));
  CHECK(projected.squared[0][2] == 0);
  CHECK(projected.reference[0] == doctest::Approx(25));
}

TEST_CASE("losses equal the reference for sets of KV heads and of query heads, before W_O and after") {
  // 40 evaluation queries: more than one panel, the last one not full. hidden_size below and above value_dim.
  for (const std::size_t hidden_size : {3u, 20u}) {
    const LayerData data = random_layer({.value_dim = 6, .hidden_size = hidden_size, .n_tokens = 70});
    const reference::Layer layer = reference_layer(data);
    const ScorerRun run(data, 30);
    const std::vector<std::size_t> budgets = {0, 1, 10, 29, 30};
    for (const char* text : {"attention", "attention:group=none"}) {
      const LayerSelection selection = select_alone(Policy(text), run.view(), budgets);
      for (const bool projected : {false, true}) {
        const EvaluationErrors errors = evaluation_errors(data, {0, 30}, selection, projected, run.view().backend());
        REQUIRE(errors.squared.size() == 4);
        for (std::size_t h = 0; h < 4; ++h)
          for (std::size_t b = 0; b < budgets.size(); ++b) {
            const reference::Positions kept = retained_positions(selection, data.model, h, b);
            const reference::Sums sums = projected ? reference::head_projected_error(layer, h, 30, kept)
                                                   : reference::output_error(layer, h, 30, kept);
            CHECK(errors.squared[h][b] == doctest::Approx(sums.numerator).epsilon(1e-4));
            CHECK(errors.reference[h] == doctest::Approx(sums.denominator).epsilon(1e-4));
          }
      }
    }
  }
}

TEST_CASE("only a view that may look ahead measures losses") {
  const LayerData data = random_layer({.n_tokens = 20});
  const ScorerRun run(data, 10);
  const LayerSelection selection = select_alone(Policy("knorm"), run.view(), {5});
  CHECK_THROWS_AS(run.view().evaluation_errors(selection, false), std::logic_error);
  CHECK(run.view().with_lookahead().evaluation_errors(selection, false).squared.size() == 4);
}

TEST_CASE("without evaluation queries nothing is lost") {
  const LayerData data = random_layer({.n_tokens = 10});
  const auto backend = make_tested_backend();
  const std::vector<std::uint32_t> ranking = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const EvaluationErrors errors = evaluation_errors(data, {0, 10}, nested({ranking, ranking}, {3}), false, *backend);
  for (const auto& head : errors.squared) CHECK(head == std::vector<double>{0});
  CHECK(errors.reference == std::vector<double>(4, 0.0));
}
