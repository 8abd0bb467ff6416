#include <cmath>

#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

Scores score_knorm(const PromptView& view, const Parameters&) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t i = 0; i < scores.n_candidates(); ++i) {
      double sum = 0;
      for (const float x : view.keys(h).row(i)) sum += double{x} * double{x};
      scores.head(h)[i] = static_cast<float>(-std::sqrt(sum));
    }
  return scores;
}

const RegisterScorer knorm{{
    .name = "knorm",
    .family = "keys and values",
    .summary = "keys of small norm attract attention: keep them",
    .formula = "s_i = -||k_i||_2",
    .paper = "A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression, arXiv 2406.11430",
    .score = score_knorm,
}};

}  // namespace
}  // namespace kvreplay
