#include "core/engine/rescue.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace kvreplay;

namespace {

// Keys and values of one dimension: the logit of token i is keys[i], for a query of 1.
struct Line {
  std::vector<float> keys, values;

  std::vector<double> output(const AttentionRule& rule, std::size_t position, std::vector<std::uint32_t> retained,
                             Range local) const {
    const float query[] = {1.0f};
    return exact_output(rule, query, position, {keys.data(), keys.size(), 1, 1}, {values.data(), values.size(), 1, 1},
                        retained, local);
  }
};

const Line kLine = {.keys = {-300, -301, 0, -302, -300}, .values = {1, 2, 100, 4, 8}};

}  // namespace

TEST_CASE("an output far below the maximum of the full softmax is a softmax of its own") {
  // Tokens 0 and 1 are retained, token 4 is the query itself: weights 1, 1/e, 1.
  const double expected = (1 + 2 * std::exp(-1) + 8) / (2 + std::exp(-1));
  CHECK(kLine.output({}, 4, {1, 0}, {4, 5})[0] == doctest::Approx(expected).epsilon(1e-14));
}

TEST_CASE("what a query does not see has no part in its output") {
  // At position 3 token 4 is in the future.
  CHECK(kLine.output({}, 3, {}, {3, 5})[0] == 4);
  // A window of 2 at position 4 sees 3 and 4: the retained token 0 and the local token 2, largest of all, are out of
  // sight.
  const double expected = (4 * std::exp(-2) + 8) / (std::exp(-2) + 1);
  CHECK(kLine.output({.sliding_window = 2}, 4, {0}, {2, 5})[0] == doctest::Approx(expected).epsilon(1e-14));
}

TEST_CASE("scale and softcap come before the softmax") {
  // Scale 0.01: logits -3 and -3.02; softcap 2: 2 tanh(-1.5) and 2 tanh(-1.51).
  const double a = 2 * std::tanh(-1.5), b = 2 * std::tanh(-1.51);
  const double expected = (1 * std::exp(a) + 4 * std::exp(b)) / (std::exp(a) + std::exp(b));
  CHECK(kLine.output({.scale = 0.01, .softcap = 2}, 3, {0}, {3, 4})[0] == doctest::Approx(expected).epsilon(1e-14));
}
