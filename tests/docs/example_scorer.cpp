#include <algorithm>
#include <cmath>

#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

Scores score_value_peak(const PromptView& view, const Parameters& parameters) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t i = 0; i < scores.n_candidates(); ++i) {
      float peak = 0;
      for (const float x : view.values(h).row(i)) peak = std::max(peak, std::abs(x));
      scores.head(h)[i] = peak;
    }
  scores.protection.recent = parameters.count("recent");
  return scores;
}

const RegisterScorer value_peak{{
    .name = "value-peak",
    .family = "keys and values",
    .summary = "values with one large entry change some dimension of the output most: keep them",
    .formula = "s_i = max_d |v_{i,d}|; the newest tokens are kept",
    .paper = "",
    .parameters = {.parameters = {{.name = "recent", .default_value = "16", .help = "newest tokens kept"}}},
    .score = score_value_peak,
}};

}  // namespace
}  // namespace kvreplay
