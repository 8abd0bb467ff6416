#include "core/evidence/error_steps.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

using Direction = ErrorSteps::Direction;

// One query that gives three candidates and itself the weight 1/4 each; its own value is 0.
LayerData four_equal(const std::vector<float>& values) {
  LayerData data = weighted_layer({{1, 1, 1, 1}});
  for (std::size_t i = 0; i < values.size(); ++i) data.values.matrix(0)(i, 0) = values[i];
  return data;
}

ErrorSteps steps_of(const ScorerRun& run, Direction direction) {
  return ErrorSteps(run.view().with_lookahead().evaluation_weights(0), run.view().values(0), direction);
}

// By token.
std::vector<double> changes_of(ErrorSteps& steps, std::size_t n) {
  std::vector<double> result(n, 0.0);
  const std::vector<double> changes = steps.changes();
  for (std::size_t i = 0; i < changes.size(); ++i) result[steps.left()[i]] = changes[i];
  return result;
}

}  // namespace

TEST_CASE("adding a token changes the error by what the new mean of the values says") {
  // Values 4, -2, 8 and 0: the full output is 10 / 4 = 2.5. The query alone puts out 0, an error of 6.25. With token 0
  // it is 4 / 2, an error of 0.25; with token 1 it is -1, 12.25; with token 2 it is 4, 2.25.
  const LayerData data = four_equal({4, -2, 8});
  const ScorerRun run(data, 3);
  ErrorSteps steps = steps_of(run, Direction::adding);
  std::vector<double> changes = changes_of(steps, 3);
  CHECK(changes[0] == doctest::Approx(0.25 - 6.25));
  CHECK(changes[1] == doctest::Approx(12.25 - 6.25));
  CHECK(changes[2] == doctest::Approx(2.25 - 6.25));
  CHECK(steps.take_best(1) == std::vector<std::uint32_t>{0});
  // With token 1 too: 2 / 3, an error of (11 / 6)^2; with token 2: 4, 2.25.
  changes = changes_of(steps, 3);
  CHECK(steps.left().size() == 2);
  CHECK(changes[1] == doctest::Approx(121.0 / 36 - 0.25));
  CHECK(changes[2] == doctest::Approx(2.25 - 0.25));
  CHECK(steps.take_best(5) == std::vector<std::uint32_t>{2, 1});
  CHECK(steps.left().empty());
}

TEST_CASE("removing a token changes the error likewise") {
  // From an error of 0: without token 0 the output is 6 / 3, without token 1 it is 4, without token 2 it is 2 / 3.
  const LayerData data = four_equal({4, -2, 8});
  const ScorerRun run(data, 3);
  ErrorSteps steps = steps_of(run, Direction::removing);
  std::vector<double> changes = changes_of(steps, 3);
  CHECK(changes[0] == doctest::Approx(0.25));
  CHECK(changes[1] == doctest::Approx(2.25));
  CHECK(changes[2] == doctest::Approx(121.0 / 36));
  CHECK(steps.take_best(1) == std::vector<std::uint32_t>{0});
  // Tokens 1 and 2 are left. Without 1: 4; without 2: -1.
  changes = changes_of(steps, 3);
  CHECK(changes[1] == doctest::Approx(2.25 - 0.25));
  CHECK(changes[2] == doctest::Approx(12.25 - 0.25));
  CHECK(steps.take_best(1) == std::vector<std::uint32_t>{1});
  CHECK(changes_of(steps, 3)[2] == doctest::Approx(6.25 - 2.25));
}

TEST_CASE("of equal tokens the lower position stays in the set") {
  const LayerData data = four_equal({3, 3, 3});
  const ScorerRun run(data, 3);
  CHECK(steps_of(run, Direction::adding).take_best(2) == std::vector<std::uint32_t>{0, 1});
  CHECK(steps_of(run, Direction::removing).take_best(2) == std::vector<std::uint32_t>{2, 1});
}

TEST_CASE("a common part of all values changes nothing") {
  LayerData data = random_layer({.n_tokens = 60});
  const ScorerRun run(data, 40);
  LayerData moved_data = copy_of(data);
  for (float& x : moved_data.values.values()) x += 4;
  const ScorerRun moved(moved_data, 40);
  ErrorSteps steps = steps_of(run, Direction::adding), moved_steps = steps_of(moved, Direction::adding);
  CHECK(steps.take_best(10) == moved_steps.take_best(10));
}

TEST_CASE("what the others put out without a token that has nearly all of the mass is not lost to rounding") {
  // Weights 1, 1e-9, 1e-9, 1e-9 and the query's own 1e-9, of the values 100, 4, -2, 8 and 0: the full output is 100.
  // Without token 0 it is 10 / 4, an error of 97.5^2.
  LayerData data = weighted_layer({{1, 1e-9, 1e-9, 1e-9, 1e-9}});
  for (const auto& [i, value] : {std::pair<std::size_t, float>{0, 100.0f}, {1, 4.0f}, {2, -2.0f}, {3, 8.0f}})
    data.values.matrix(0)(i, 0) = value;
  const ScorerRun run(data, 4);
  ErrorSteps steps = steps_of(run, Direction::removing);
  CHECK(changes_of(steps, 4)[0] == doctest::Approx(97.5 * 97.5));
  // The others go first; then it leaves the query's own 0.
  const std::vector<std::uint32_t> taken = steps.take_best(3);
  CHECK(std::ranges::find(taken, 0u) == taken.end());
  CHECK(changes_of(steps, 4)[0] == doctest::Approx(100.0 * 100));
}

TEST_CASE("mass far below float32's smallest number counts") {
  // Weight 1 for token 0 of value 1, 1e-60 for the query's own of value 3: without token 0 the output is 3.
  LayerData data = weighted_layer({{1, 1e-60}});
  data.values.matrix(0)(0, 0) = 1;
  data.values.matrix(0)(1, 0) = 3;
  const ScorerRun run(data, 1);
  CHECK(steps_of(run, Direction::removing).changes()[0] == doctest::Approx(4));
  CHECK(steps_of(run, Direction::adding).changes()[0] == doctest::Approx(-4));
}

TEST_CASE("values that are not finite are refused") {
  LayerData data = random_layer({.n_tokens = 40});
  data.values.matrix(0)(7, 2) = std::numeric_limits<float>::infinity();
  const ScorerRun run(data, 30);
  CHECK_THROWS_AS(steps_of(run, Direction::adding), InputError);
  CHECK_THROWS_AS(run.scores("error-oracle"), InputError);
}
