#include <algorithm>

#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

const RegisterScorer full{{
    .name = "full",
    .family = "baseline",
    .summary = "evicts nothing, whatever the budget: the reference",
    .formula = "every token is retained",
    .paper = "",
    .traits = {.keeps_all = true, .layer_wide = true},
    .score =
        [](const PromptView& view, const Parameters&) {
          Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
          std::ranges::fill(scores.values.values(), 0.0f);
          return scores;
        },
}};

}  // namespace
}  // namespace kvreplay
