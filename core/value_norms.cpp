#include "core/value_norms.h"

#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>

namespace kvreplay {
namespace {

std::string_view name_of(Norm norm) { return norm == Norm::l1 ? "L1" : "L2"; }

// The L1 norm needs every coordinate of W_O^T v: some tokens at a time, or n x hidden_size would be in memory.
void projected_l1_norms(ConstMatrixView values, ConstMatrixView projection, std::span<float> norms) {
  constexpr std::size_t kBlock = 128;
  Tensor block(1, std::min(kBlock, values.rows), projection.cols);
  for (std::size_t begin = 0; begin < values.rows; begin += kBlock) {
    const std::size_t n = std::min(kBlock, values.rows - begin);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<blasint>(n),
                static_cast<blasint>(projection.cols), static_cast<blasint>(values.cols), 1.0f,
                values.row(begin).data(), static_cast<blasint>(values.stride), projection.data,
                static_cast<blasint>(projection.stride), 0.0f, block.values().data(),
                static_cast<blasint>(projection.cols));
    row_norms(block.matrix(0).rows_between(0, n), Norm::l1, norms.subspan(begin, n));
  }
}

}  // namespace

const Tensor& value_norms(const PromptView& view, Norm norm) {
  return view.remember<Tensor>(fmt::format("{} norms of values", name_of(norm)), [&] {
    Tensor norms(1, view.model().n_kv_heads, view.n_candidates());
    for (std::size_t g = 0; g < norms.rows(); ++g) row_norms(view.values(g), norm, norms.matrix(0).row(g));
    return norms;
  });
}

const Tensor& projected_value_norms(const PromptView& view, Norm norm) {
  return view.remember<Tensor>(fmt::format("{} norms of projected values", name_of(norm)), [&] {
    Tensor norms(1, view.model().n_q_heads, view.n_candidates());
    for (std::size_t h = 0; h < norms.rows(); ++h) {
      const std::span<float> out = norms.matrix(0).row(h);
      if (norm == Norm::l1)
        projected_l1_norms(view.values(h / view.model().group_size()), view.output_projection(h), out);
      else
        row_norms(projected_values(view, h).matrix(0), norm, out);
    }
    return norms;
  });
}

const Matrix64& projection_factor(const PromptView& view, std::size_t q_head) {
  return view.remember<Matrix64>(fmt::format("triangular factor of W_O, query head {}", q_head),
                                 [&] { return triangular_factor(view.output_projection(q_head)); });
}

Tensor projected_values(const PromptView& view, std::size_t q_head) {
  const Matrix64& factor = projection_factor(view, q_head);
  const ConstMatrixView values = view.values(q_head / view.model().group_size());
  const std::vector<float> rounded(factor.values.begin(), factor.values.end());
  Tensor projected(1, values.rows, factor.rows);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(values.rows),
              static_cast<blasint>(factor.rows), static_cast<blasint>(values.cols), 1.0f, values.data,
              static_cast<blasint>(values.stride), rounded.data(), static_cast<blasint>(factor.cols), 0.0f,
              projected.values().data(), static_cast<blasint>(factor.rows));
  return projected;
}

}  // namespace kvreplay
