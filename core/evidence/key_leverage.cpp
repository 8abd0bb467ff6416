#include "core/evidence/key_leverage.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/blas.h"
#include "core/base/error.h"
#include "core/base/linear_algebra.h"
#include "core/base/seeded_random.h"
#include "core/data/rope_rotation.h"

namespace kvreplay {
namespace {

// Keys of some tokens less their mean.
Tensor centred(ConstMatrixView keys) {
  std::vector<double> mean(keys.cols, 0.0);
  for (std::size_t i = 0; i < keys.rows; ++i)
    for (std::size_t d = 0; d < keys.cols; ++d) mean[d] += keys(i, d);
  for (double& x : mean) x /= static_cast<double>(keys.rows);
  Tensor result(1, keys.rows, keys.cols);
  for (std::size_t i = 0; i < keys.rows; ++i)
    for (std::size_t d = 0; d < keys.cols; ++d) result.matrix(0)(i, d) = static_cast<float>(keys(i, d) - mean[d]);
  return result;
}

// [n, sketch]: the rows times a matrix of normal numbers of variance 1 / sketch.
Tensor sketched(ConstMatrixView rows, std::size_t sketch, std::uint64_t stream) {
  Tensor gaussian(1, rows.cols, sketch), result(1, rows.rows, sketch);
  for (std::size_t i = 0; i < rows.cols * sketch; ++i)
    gaussian.values()[i] = static_cast<float>(normal_number(stream, i) / std::sqrt(static_cast<double>(sketch)));
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<blasint>(rows.rows), static_cast<blasint>(sketch),
              static_cast<blasint>(rows.cols), 1.0f, rows.data, static_cast<blasint>(rows.stride),
              gaussian.values().data(), static_cast<blasint>(sketch), 0.0f, result.values().data(),
              static_cast<blasint>(sketch));
  return result;
}

std::vector<double> leverage_with_jitter(ConstMatrixView rows, std::size_t kv_head) {
  const Matrix64 products = gram(rows);
  double jitter = 1e-2;
  for (int attempt = 0; attempt < 5; ++attempt, jitter *= 10)
    if (std::vector<double> result = leverage(products, jitter, rows); !result.empty()) return result;
  throw UnfitError(fmt::format("KV head {}: the Gram matrix of the keys is not positive definite", kv_head));
}

}  // namespace

const Tensor& unrotated_keys(const PromptView& view) {
  return view.remember<Tensor>("keys before RoPE", [&] {
    Tensor keys(view.model().n_kv_heads, view.n_candidates(), view.model().head_dim);
    std::vector<ConstMatrixView> rotated;
    for (std::size_t g = 0; g < keys.count(); ++g) rotated.push_back(view.keys(g));
    for_each_block_before_rope(view.layer().rope, view.first_position(), rotated,
                               [&](std::size_t g, std::size_t begin, std::span<const double> rows) {
                                 std::ranges::transform(rows, keys.matrix(g).row(begin).begin(),
                                                        [](double x) { return static_cast<float>(x); });
                               });
    return keys;
  });
}

const Tensor& key_leverage(const PromptView& view, Range tokens, std::size_t sketch) {
  const std::string name = fmt::format("leverage of keys {} to {}, sketch {}", tokens.begin, tokens.end, sketch);
  return view.remember<Tensor>(name, [&] {
    const Tensor& all = unrotated_keys(view);
    Tensor result(1, all.count(), tokens.size());
    for (std::size_t g = 0; g < all.count(); ++g) {
      Tensor rows = centred(all.matrix(g).rows_between(tokens.begin, tokens.end));
      if (sketch < rows.cols()) rows = sketched(rows.matrix(0), sketch, mixed(mixed(view.unit().seed) + g));
      const std::vector<double> leverages = leverage_with_jitter(rows.matrix(0), g);
      std::ranges::transform(leverages, result.matrix(0).row(g).begin(),
                             [](double x) { return static_cast<float>(x); });
    }
    return result;
  });
}

}  // namespace kvreplay
