#include "core/evidence/query_moments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "core/base/count.h"
#include "core/data/rope_rotation.h"

namespace kvreplay {
namespace {

// From sums of queries and of the upper triangles of q q^T.
void finish_moments(std::size_t n, QueryMoments& moments) {
  const double count = static_cast<double>(n);
  for (double& x : moments.mean.values) x /= count;
  for (std::size_t h = 0; h < moments.covariance.size(); ++h) {
    Matrix64& covariance = moments.covariance[h];
    mirror_upper(covariance);
    // In float64 the mean may be a thousand times the spread before this difference costs float32's accuracy.
    for (std::size_t r = 0; r < covariance.rows; ++r)
      for (std::size_t c = 0; c < covariance.cols; ++c)
        covariance(r, c) = covariance(r, c) / count - moments.mean(h, r) * moments.mean(h, c);
  }
}

QueryMoments prompt_queries(const PromptView& view, std::size_t sinks) {
  const std::size_t n_heads = view.model().n_q_heads, dim = view.model().head_dim, n = view.n_candidates();
  QueryMoments moments{.mean = Matrix64(n_heads, dim),
                       .covariance = std::vector<Matrix64>(n_heads, Matrix64(dim, dim))};
  std::vector<ConstMatrixView> queries;
  for (std::size_t h = 0; h < n_heads; ++h) queries.push_back(view.queries(h, kAll).rows_between(sinks, n));
  for_each_block_before_rope(view.layer().rope, view.first_position() + sinks, queries,
                             [&](std::size_t h, std::size_t, std::span<const double> rows) {
                               for (std::size_t at = 0; at < rows.size(); at += dim)
                                 for (std::size_t d = 0; d < dim; ++d) moments.mean(h, d) += rows[at + d];
                               add_to_upper_gram(rows, moments.covariance[h]);
                             });
  finish_moments(n - sinks, moments);
  return moments;
}

QueryMoments recorded_queries(const PromptView& view) {
  const std::size_t n_heads = view.model().n_q_heads, dim = view.model().head_dim;
  QueryMoments moments{.mean = Matrix64(n_heads, dim),
                       .covariance = std::vector<Matrix64>(n_heads, Matrix64(dim, dim))};
  const std::size_t n = view.evaluation_queries(0).rows;
  if (n == 0) return moments;
  for (std::size_t h = 0; h < n_heads; ++h) {
    const ConstMatrixView queries = view.evaluation_queries(h);
    moments.covariance[h] = gram(queries);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t d = 0; d < dim; ++d) moments.mean(h, d) += double{queries(r, d)};
  }
  finish_moments(n, moments);
  return moments;
}

}  // namespace

const QueryMoments& evaluation_moments(const PromptView& view) {
  return view.remember<QueryMoments>("evaluation queries", [&] { return recorded_queries(view); });
}

const QueryMoments& future_queries(const PromptView& view, std::size_t sinks, std::size_t future) {
  assert(sinks < view.n_candidates() && future > 0);
  return view.remember<QueryMoments>(fmt::format("queries from {} on, {} ahead", sinks, future), [&] {
    QueryMoments moments = prompt_queries(view, sinks);
    const std::size_t c = view.compression_point();
    const AveragedRotation rotation(view.layer().rope, {c, c + future});
    for (std::size_t h = 0; h < moments.mean.rows; ++h) {
      rotation.apply(moments.mean.row(h).data());
      rotation.apply_to_covariance(moments.covariance[h].values, moments.covariance[h].cols);
    }
    return moments;
  });
}

}  // namespace kvreplay
