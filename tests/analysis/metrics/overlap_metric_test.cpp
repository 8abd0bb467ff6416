#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("overlap of retained sets by hand") {
  // One KV head, 6 candidates, keys of falling norm: knorm keeps the last ones first, streaming-llm the first 4 and
  // then the newest. At 5 tokens: {1..5} and {0,1,2,3,5}: 4 in both, 6 in either. At 2: {4,5} and {0,1}: 0 of 4.
  LayerData layer = weighted_layer({{1, 1, 1, 1, 1, 1, 1}});
  const float keys[] = {6, 5, 4, 3, 2, 1, 0};
  std::ranges::copy(keys, layer.keys.values().begin());
  const Measured measured = measure("overlap", {.data = &layer,
                                                .compression_point = 6,
                                                .policies = {"knorm", "streaming-llm", "full"},
                                                .budgets = {5, 2, 0, 6}});
  CHECK(measured.value(0, 0, 0, 1) == doctest::Approx(4.0 / 6));
  CHECK(measured.value(0, 0, 1, 1) == 0);
  CHECK(measured.value(0, 0, 2, 1) == 1);  // nothing and nothing
  CHECK(measured.value(0, 0, 3, 1) == 1);
  CHECK(measured.value(0, 2, 1, 0) == doctest::Approx(2.0 / 6));  // of everything, 2 are knorm's
  CHECK(measured.value(0, 2, 2, 0) == 0);
}

TEST_CASE("overlap is symmetric, and 1 with itself, whoever owns the sets") {
  const LayerData layer = random_layer({.n_tokens = 60});
  const ReplayCase replay_case{.data = &layer,
                               .compression_point = 40,
                               .policies = {"knorm", "snapkv:window=5,group=none", "knorm+ada"},
                               .budgets = {7, 20}};
  const Measured measured = measure("overlap", replay_case);
  for (std::size_t p = 0; p < 3; ++p)
    for (std::size_t other = 0; other < 3; ++other)
      for (std::size_t b = 0; b < 2; ++b) {
        CHECK(measured.value(0, p, b, other) == measured.value(0, other, b, p));
        // The reference's sets, query head by query head
        double mean = 0;
        for (std::size_t h = 0; h < 4; ++h) {
          const reference::Positions mine = measured.retained(p, h, b), theirs = measured.retained(other, h, b);
          std::size_t both = 0;
          for (const std::size_t i : mine) both += static_cast<std::size_t>(std::ranges::count(theirs, i));
          mean += static_cast<double>(both) / static_cast<double>(mine.size() + theirs.size() - both) / 4;
        }
        CHECK(measured.value(0, p, b, other) == doctest::Approx(mean));
        if (p == other) CHECK(mean == 1);
      }
}
