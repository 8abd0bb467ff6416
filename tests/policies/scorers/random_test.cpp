#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

std::vector<float> draw(const LayerData& layer, const std::string& text, std::uint64_t seed, std::size_t head = 0) {
  const Scores scores =
      ScorerRun(layer, 2000, false, {.sample = 0, .compression_point = "end", .seed = seed}).scores(text);
  return {scores.head(head).begin(), scores.head(head).end()};
}

}  // namespace

TEST_CASE("a draw repeats with its seed, and differs between seeds, draws and heads") {
  const LayerData layer = random_layer({.n_tokens = 2010, .query_ranges = {{2000, 2001}}});
  const std::vector<float> first = draw(layer, "random", 1);
  CHECK(first == draw(layer, "random", 1));
  CHECK(first == draw(layer, "random:draw=0", 1));
  CHECK(first != draw(layer, "random", 2));
  CHECK(first != draw(layer, "random:draw=1", 1));
  CHECK(first != draw(layer, "random", 1, 1));
}

TEST_CASE("neighbouring seeds and draws do not share their numbers") {
  // Unit seeds may be consecutive: draw 1 of one unit must not be draw 0 of the next.
  const LayerData layer = random_layer({.n_tokens = 2010, .query_ranges = {{2000, 2001}}});
  CHECK(draw(layer, "random:draw=1", 7) != draw(layer, "random:draw=0", 8));
  CHECK(draw(layer, "random", 7, 1) != draw(layer, "random", 8, 0));
}

TEST_CASE("a draw is fair: scores are uniform, and every part of the context keeps its share") {
  const LayerData layer = random_layer({.n_tokens = 2010, .query_ranges = {{2000, 2001}}});
  for (std::size_t head = 0; head < 2; ++head) {
    const std::vector<float> scores = draw(layer, "random", 3, head);
    CHECK(*std::ranges::min_element(scores) >= 0);
    CHECK(*std::ranges::max_element(scores) < 1);
    // Of 500 tokens 250 +- 11 (one standard deviation) are above 1/2; five deviations are allowed.
    for (std::size_t begin = 0; begin < 2000; begin += 500) {
      const auto quarter = scores.begin() + static_cast<std::ptrdiff_t>(begin);
      const auto n_high = std::count_if(quarter, quarter + 500, [](float x) { return x >= 0.5f; });
      CHECK(n_high > 194);
      CHECK(n_high < 306);
    }
  }
}
