#include "core/base/seeded_random.h"
#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

Scores score_random(const PromptView& view, const Parameters& parameters) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const std::uint64_t stream = mixed(mixed(mixed(view.unit().seed) + parameters.count("draw")) + h);
    for (std::size_t i = 0; i < scores.n_candidates(); ++i)
      scores.head(h)[i] = static_cast<float>(mixed(stream + view.first_position() + i) >> 40) * 0x1p-24f;
  }
  return scores;
}

const RegisterScorer random_scorer{{
    .name = "random",
    .family = "baseline",
    .summary = "a fair draw: the baseline that every policy has to beat",
    .formula = "s_i = hash(seed, sample, layer, head, position)",
    .paper = "",
    .parameters =
        {.parameters = {{.name = "draw", .default_value = "0", .help = "number of the draw, for several in one run"}}},
    .traits = {.random = true},
    .score = score_random,
}};

}  // namespace
}  // namespace kvreplay
