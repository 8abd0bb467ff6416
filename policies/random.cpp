#include "core/scorer.h"

namespace kvreplay {
namespace {

// The finaliser of splitmix64: a well-mixed hash of a counter, the same on every machine.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

Scores score_random(const PromptView& view, const Parameters& parameters) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const std::uint64_t stream = mix(mix(mix(view.unit().seed) + parameters.count("draw")) + h);
    for (std::size_t i = 0; i < scores.n_candidates(); ++i)
      scores.head(h)[i] = static_cast<float>(mix(stream + view.first_position() + i) >> 40) * 0x1p-24f;
  }
  return scores;
}

const RegisterScorer random_scorer{{
    .name = "random",
    .summary = "a fair draw: the baseline that every policy has to beat",
    .formula = "s_i = hash(seed, sample, layer, head, position)",
    .paper = "",
    .needs = "",
    .parameters =
        {.parameters = {{.name = "draw", .default_value = "0", .help = "number of the draw, for several in one run"}}},
    .traits = {.random = true},
    .score = score_random,
}};

}  // namespace
}  // namespace kvreplay
