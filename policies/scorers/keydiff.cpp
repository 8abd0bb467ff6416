#include <algorithm>
#include <cmath>
#include <vector>

#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

double norm(std::span<const float> x) {
  double sum = 0;
  for (const float each : x) sum += double{each} * double{each};
  return std::sqrt(sum);
}

Scores score_keydiff(const PromptView& view, const Parameters&) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const ConstMatrixView keys = view.keys(h);
    std::vector<double> anchor(keys.cols, 0.0), norms(keys.rows);
    for (std::size_t i = 0; i < keys.rows; ++i) {
      norms[i] = std::max(norm(keys.row(i)), 1e-12);
      for (std::size_t d = 0; d < keys.cols; ++d) anchor[d] += keys(i, d) / norms[i];
    }
    double anchor_norm = 0;
    for (const double x : anchor) anchor_norm += x * x;
    anchor_norm = std::max(std::sqrt(anchor_norm), 1e-12);
    for (std::size_t i = 0; i < keys.rows; ++i) {
      double dot = 0;
      for (std::size_t d = 0; d < keys.cols; ++d) dot += keys(i, d) * anchor[d];
      scores.head(h)[i] = static_cast<float>(-dot / (norms[i] * anchor_norm));
    }
  }
  return scores;
}

const RegisterScorer keydiff{{
    .name = "keydiff",
    .family = "keys and values",
    .summary = "keys unlike the average direction carry distinct information: keep them",
    .formula = "s_i = -cos(k_i, mean_j k_j / ||k_j||)",
    .paper = "KeyDiff: Key Similarity-Based KV Cache Eviction, arXiv 2504.15364",
    .score = score_keydiff,
}};

}  // namespace
}  // namespace kvreplay
