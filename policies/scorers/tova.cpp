#include <algorithm>

#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

Scores score_tova(const PromptView& view, const Parameters& parameters) {
  const Tensor& sums = view.attention_sums(1);
  const std::size_t n = view.n_candidates(), n_q_heads = view.model().n_q_heads;
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, n);
  for (std::size_t i = 0; i < n; ++i) {
    float sum = 0;
    for (std::size_t h = 0; h < n_q_heads; ++h) sum += sums.matrix(0)(h, i);
    scores.head(0)[i] = sum / static_cast<float>(n_q_heads);
  }
  for (std::size_t g = 1; g < scores.n_heads(); ++g) std::ranges::copy(scores.head(0), scores.head(g).begin());
  scores.protection.recent = parameters.count("recent");
  return scores;
}

const RegisterScorer tova{{
    .name = "tova",
    .family = "attention paid",
    .summary = "attention of the last prompt query, averaged over all heads of the layer: one retained set per layer",
    .formula = "s_i = mean over query heads of a_{c-1,i}",
    .paper = "Transformers are Multi-State RNNs, arXiv 2401.06104",
    .needs = {need::last_queries(1)},
    .parameters =
        {.parameters = {{.name = "recent", .default_value = "1", .help = "newest tokens kept whatever their score"}},
         .dialects = {{.name = "kvpress", .summary = "TOVAPress: the last token is kept"},
                      {.name = "paper", .summary = "no token is protected", .defaults = {{"recent", "0"}}}}},
    .traits = {.layer_wide = true},
    .score = score_tova,
}};

}  // namespace
}  // namespace kvreplay
