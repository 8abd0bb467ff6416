#include "core/evidence/window_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/base/blas.h"

namespace kvreplay {
namespace {

// [1, window, c]: over the whole cache.
Tensor rows_over_cache(const PromptView& view, std::size_t q_head, std::size_t window) {
  const ConstMatrixView queries = view.queries(q_head, window);
  const std::size_t c = view.compression_point();
  std::vector<std::size_t> positions(queries.rows);
  std::iota(positions.begin(), positions.end(), c - queries.rows);
  Tensor rows(1, queries.rows, c);
  const RowTask task{queries, view.cached_keys(q_head / view.model().group_size()), rows.matrix(0)};
  view.backend().attention_rows(attention_rule(view.model(), view.layer()), positions, {&task, 1});
  return rows;
}

}  // namespace

Tensor attention_rows(const PromptView& view, std::size_t q_head, std::size_t window) {
  Tensor over_cache = rows_over_cache(view, q_head, window);
  if (view.first_position() == 0) return over_cache;
  Tensor rows(1, over_cache.rows(), view.n_candidates());
  for (std::size_t r = 0; r < rows.rows(); ++r)
    std::ranges::copy(over_cache.matrix(0).row(r).subspan(view.first_position()), rows.matrix(0).row(r).begin());
  return rows;
}

Tensor window_outputs(const PromptView& view, std::size_t q_head, std::size_t window) {
  const Tensor rows = rows_over_cache(view, q_head, window);
  const ConstMatrixView values = view.cached_values(q_head / view.model().group_size());
  Tensor outputs(1, rows.rows(), values.cols);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<blasint>(rows.rows()),
              static_cast<blasint>(values.cols), static_cast<blasint>(values.rows), 1.0f, rows.values().data(),
              static_cast<blasint>(rows.cols()), values.data, static_cast<blasint>(values.stride), 0.0f,
              outputs.values().data(), static_cast<blasint>(values.cols));
  return outputs;
}

Tensor window_logits(const PromptView& view, std::size_t q_head, std::size_t window) {
  const ConstMatrixView queries = view.queries(q_head, window);
  const ConstMatrixView keys = view.keys(q_head / view.model().group_size());
  const AttentionRule rule = attention_rule(view.model(), view.layer());
  Tensor logits(1, queries.rows, keys.rows);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(queries.rows),
              static_cast<blasint>(keys.rows), static_cast<blasint>(keys.cols), static_cast<float>(rule.scale),
              queries.data, static_cast<blasint>(queries.stride), keys.data, static_cast<blasint>(keys.stride), 0.0f,
              logits.values().data(), static_cast<blasint>(keys.rows));
  if (rule.softcap > 0)
    for (float& logit : logits.values())
      logit = static_cast<float>(rule.softcap * std::tanh(double{logit} / rule.softcap));
  return logits;
}

}  // namespace kvreplay
