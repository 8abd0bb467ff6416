#include <doctest/doctest.h>

#include "tests/reference/geometry.h"
#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("value-norm takes the mean over the group of the norms after W_O, or the norm of the value itself") {
  for (const std::size_t hidden_size : {4u, 37u}) {  // less than value_dim: W_O loses dimensions
    const LayerData data =
        random_layer({.n_q_heads = 6, .n_kv_heads = 2, .value_dim = 21, .hidden_size = hidden_size, .n_tokens = 300});
    const reference::Layer layer = reference_layer(data);
    const ScorerRun run(data, 290);
    reference::Matrix l1, l2, projected_l1, projected_l2;
    for (std::size_t h = 0; h < 6; ++h) {
      for (reference::Matrix* rows : {&l1, &l2, &projected_l1, &projected_l2}) rows->emplace_back();
      for (std::size_t i = 0; i < 290; ++i) {
        const reference::Vector& value = layer.values[h / 3][i];
        const reference::Vector after = reference::projected(layer.output_projection[h], value);
        l1.back().push_back(reference::magnitude(value));
        l2.back().push_back(reference::norm(value));
        projected_l1.back().push_back(reference::magnitude(after));
        projected_l2.back().push_back(reference::norm(after));
      }
    }
    check_scores(run.scores("value-norm"), reference::group_mean(projected_l1, 3));
    check_scores(run.scores("value-norm:norm=l2"), reference::group_mean(projected_l2, 3));
    check_scores(run.scores("value-norm:of=value"), reference::group_mean(l1, 3));
    check_scores(run.scores("value-norm:of=value,norm=l2"), reference::group_mean(l2, 3));
  }
}

TEST_CASE("value-norm of the values alone needs no W_O") {
  const LayerData data = random_layer({.n_tokens = 20});
  CHECK_NOTHROW(ScorerRun(data, 10).scores("value-norm:of=value"));
}
