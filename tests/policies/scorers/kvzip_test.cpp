#include <doctest/doctest.h>

#include <cmath>

#include "tests/reference/policies.h"
#include "tests/reference/window.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("kvzip takes the most that a probe row pays to a token, among sinks, the chunk and the probe so far") {
  // Weights 2 of the sink, 1, 3 of the chunk's tokens; probe rows of weight 2 and 4. Row 0 sees 2 + 1 + 3 + 2 = 8, row
  // 1 sees 12: the first is the larger for both tokens. Token 3 is in no chunk.
  LayerData layer = weighted_layer({{2, 1, 3, 7, 1}});
  layer.probes.emplace(LayerProbes{
      .chunks = {{.context = {1, 3}, .rows = {0, 2}}}, .queries = Tensor(1, 2, 1), .keys = Tensor(1, 2, 1)});
  for (float& x : layer.probes->queries.values()) x = 1;
  layer.probes->keys.values()[0] = std::log(2.0f);
  layer.probes->keys.values()[1] = std::log(4.0f);
  const Scores scores = ScorerRun(layer, 4).scores("kvzip:sinks=1");
  const double expected[] = {0, 1.0 / 8, 3.0 / 8, 0};
  for (std::size_t i = 0; i < 4; ++i) CHECK(scores.head(0)[i] == doctest::Approx(expected[i]));
  CHECK(scores.protection.sinks == 1);
}

TEST_CASE("kvzip equals the reference over several chunks") {
  const LayerData data = random_layer(
      {.n_q_heads = 6,
       .n_kv_heads = 2,
       .n_tokens = 130,
       .probe_chunks = {{.context = {2, 60}, .rows = {0, 70}}, {.context = {60, 115}, .rows = {70, 130}}}});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 120);
  check_scores(run.scores("kvzip"), reference::group_max(reference::probed(layer, 120, 4), 3));
  check_scores(run.scores("kvzip:sinks=0"), reference::group_max(reference::probed(layer, 120, 0), 3));
}
