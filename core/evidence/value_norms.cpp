#include "core/evidence/value_norms.h"

#include <fmt/format.h>

#include "core/base/blas.h"

namespace kvreplay {
namespace {

std::string_view name_of(Norm norm) { return norm == Norm::l1 ? "L1" : "L2"; }

}  // namespace

const Tensor& value_norms(const PromptView& view, Norm norm) {
  return view.remember<Tensor>(fmt::format("{} norms of values", name_of(norm)), [&] {
    Tensor norms(1, view.model().n_kv_heads, view.n_candidates());
    for (std::size_t g = 0; g < norms.rows(); ++g)
      view.backend().row_norms(view.values(g), norm, norms.matrix(0).row(g));
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
