#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Ten tokens; the last query pays 4, 4, 1, 1, 1, 1, 2, 2, 2 and 12 parts of 30 to them, the one before it the first
/// nine parts of 18.
const std::vector<double> kWeights = {4, 4, 1, 1, 1, 1, 2, 2, 2, 12, 1};

std::size_t kept(const ScorerRun& run, const std::string& parameters, std::size_t budget = 5) {
  return run.retained("knorm+simlayer:" + parameters, 0, budget).size();
}

}  // namespace

TEST_CASE("a layer is lazy when the last query looks at sinks and recent tokens, itself left out") {
  const LayerData data = weighted_layer({kWeights});
  const ScorerRun run(data, 10);
  // Sinks 4 + 4, and of the nine tokens before the query the last three: 2 + 2 + 2. 14 / 30 = 0.467; with the query's
  // own token among the recent ones it would be 24 / 30. A lazy layer keeps 2 + 3 - 1.
  CHECK(kept(run, "sinks=2,recent=3,threshold=0.46") == 4);
  CHECK(kept(run, "sinks=2,recent=3,threshold=0.47") == 10);
  // No sinks: 6 / 30.
  CHECK(kept(run, "sinks=0,recent=3,threshold=0.19") == 2);
  CHECK(kept(run, "sinks=0,recent=3,threshold=0.21") == 10);
}

TEST_CASE("more last queries look at less before them, and shorten the recent tokens that stay") {
  const LayerData data = weighted_layer({kWeights});
  const ScorerRun run(data, 10);
  // Of the eight tokens before both queries: 8 of sinks, 1 + 2 + 2 of the last three. (13 / 30 + 13 / 18) / 2 = 0.578.
  CHECK(kept(run, "sinks=2,recent=3,last=2,threshold=0.57") == 3);
  CHECK(kept(run, "sinks=2,recent=3,last=2,threshold=0.585") == 10);
  CHECK(kept(run, "sinks=2,recent=1,last=2,threshold=0") == 2);  // nothing recent is left to keep
  CHECK(kept(run, "sinks=2,recent=2,last=2,threshold=0") == 2);
}

TEST_CASE("the mean over the query heads decides for all heads of a layer") {
  // 14 / 30 in one head, 5 / 10 in the other: 0.483.
  const LayerData data = weighted_layer({kWeights, std::vector<double>(11, 1.0)});
  const ScorerRun run(data, 10);
  for (const std::size_t head : {0u, 1u}) {
    CHECK(run.retained("knorm+simlayer:sinks=2,recent=3,threshold=0.48", head, 5).size() == 4);
    CHECK(run.retained("knorm+simlayer:sinks=2,recent=3,threshold=0.49", head, 5).size() == 10);
  }
}

TEST_CASE("a context no longer than sinks, recent and last tokens is kept, lazy or not") {
  const LayerData data = weighted_layer({kWeights});
  const ScorerRun run(data, 10);
  CHECK(kept(run, "sinks=2,recent=7,threshold=0") == 10);
  CHECK(kept(run, "sinks=2,recent=6,threshold=0") == 7);
  CHECK(kept(run, "threshold=0") == 10);  // 4 + 1024 by default
}

TEST_CASE("what a lazy layer keeps is no matter of the budget, and is sinks and the newest with streaming-llm") {
  const LayerData data = weighted_layer({kWeights});
  const ScorerRun run(data, 10);
  const auto sets = run.retained("streaming-llm:sinks=2+simlayer:sinks=2,recent=3,threshold=0.46", {0, 1, 5, 10});
  for (const reference::Positions& set : sets[0]) CHECK(set == reference::Positions{0, 1, 8, 9});
  CHECK(Policy("simlayerkv").budget_free());
}

TEST_CASE("a layer that pays exactly the threshold is not lazy") {
  // Equal logits: 8 of 16 tokens in view, a half exactly.
  const LayerData data = weighted_layer({std::vector<double>(17, 1.0)});
  const ScorerRun run(data, 16);
  CHECK(kept(run, "sinks=4,recent=4,threshold=0.5") == 16);
  CHECK(kept(run, "sinks=4,recent=4,threshold=0.49") == 7);
}
