#include <doctest/doctest.h>

#include "tests/support/modifier_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using reference::Matrix;

TEST_CASE("tokens of a block share the mean or the largest of their scores, each head for itself") {
  const LayerData data = random_layer({.n_tokens = 6});
  const ScorerRun run(data, 5);
  const auto block = [&](const std::string& parameters) {
    return modified("block:" + parameters, run.view(), scores_of({{1, 3, 5, 0, 4}, {-4, -2, 0, 0, -1}}));
  };
  CHECK(block("length=2") == Matrix{{2, 2, 2.5, 2.5, 4}, {-3, -3, 0, 0, -1}});
  CHECK(block("length=2,reduce=max") == Matrix{{3, 3, 5, 5, 4}, {-2, -2, 0, 0, -1}});
  CHECK(block("length=3") == Matrix{{3, 3, 3, 2, 2}, {-2, -2, -2, -0.5, -0.5}});
  CHECK(block("length=1") == Matrix{{1, 3, 5, 0, 4}, {-4, -2, 0, 0, -1}});
  CHECK(block("length=9,reduce=max") == Matrix{{5, 5, 5, 5, 5}, {0, 0, 0, 0, 0}});
}

TEST_CASE("the default block is a page of 16, and pages are kept from their first token on") {
  const LayerData data = random_layer({.n_tokens = 41});
  const ScorerRun run(data, 40);
  reference::Vector rising(40);
  for (std::size_t i = 0; i < 40; ++i) rising[i] = static_cast<double>(i);
  const Matrix pooled = modified("block", run.view(), scores_of({rising, rising}));
  CHECK(pooled[0][0] == 7.5);
  CHECK(pooled[0][15] == 7.5);
  CHECK(pooled[0][16] == 23.5);
  CHECK(pooled[0][32] == 35.5);  // the last eight
  CHECK(run.retained("streaming-llm:sinks=0+block", 0, 8) == reference::positions_between(32, 40));
  CHECK(run.retained("streaming-llm:sinks=0+block", 0, 10) == [] {
    reference::Positions set = reference::positions_between(32, 40);
    set.insert(set.begin(), {16, 17});
    return set;
  }());
}

TEST_CASE("what is protected stays protected beside blocks") {
  const LayerData data = random_layer({.n_tokens = 41});
  const ScorerRun run(data, 40);
  CHECK(run.retained("streaming-llm:sinks=2+block", 0, 3) == reference::Positions{0, 1, 32});
}
