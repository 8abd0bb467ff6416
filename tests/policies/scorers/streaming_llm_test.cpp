#include <doctest/doctest.h>

#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("streaming-llm keeps the first tokens and the newest") {
  const LayerData layer = random_layer({.n_tokens = 14});
  const ScorerRun run(layer, 12);
  CHECK(run.retained("streaming-llm", 0, 7) == reference::Positions{0, 1, 2, 3, 9, 10, 11});
  CHECK(run.retained("streaming-llm:sinks=1", 1, 3) == reference::Positions{0, 10, 11});
  CHECK(run.retained("streaming-llm:sinks=0", 0, 3) == reference::Positions{9, 10, 11});
}

TEST_CASE("fewer tokens than sinks are the first ones") {
  // kvpress has a tie here and keeps any of them.
  const LayerData layer = random_layer({.n_tokens = 14});
  const ScorerRun run(layer, 12);
  CHECK(run.retained("streaming-llm", 0, 3) == reference::Positions{0, 1, 2});
  CHECK(run.retained("streaming-llm:sinks=40", 0, 5) == reference::Positions{0, 1, 2, 3, 4});
}
