#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

Scores score_oracle(const PromptView& view, const Parameters&) {
  const Tensor& mass = view.evaluation_attention();
  const std::size_t group_size = view.model().group_size();
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t g = 0; g < scores.n_heads(); ++g)
    for (std::size_t i = 0; i < scores.n_candidates(); ++i) {
      float sum = 0;
      for (std::size_t h = g * group_size; h < (g + 1) * group_size; ++h) sum += mass.matrix(0)(h, i);
      scores.head(g)[i] = sum;
    }
  return scores;
}

const RegisterScorer oracle{{
    .name = "oracle",
    .family = "looks ahead",
    .summary =
        "looks ahead: the attention that the evaluation queries will pay; the best attention_recall a head can have",
    .formula = "s_i = sum over the evaluation queries of the group of a_{t,i}, full cache",
    .paper = "",
    .needs = {need::evaluation_queries()},
    .traits = {.oracle = true},
    .score = score_oracle,
}};

}  // namespace
}  // namespace kvreplay
