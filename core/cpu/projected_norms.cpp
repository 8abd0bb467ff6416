#include "core/cpu/projected_norms.h"

#include "core/base/blas.h"
#include "core/base/row_norms.h"

namespace kvreplay::cpu {

void projected_norms(ConstMatrixView factor, FactorForm form, MatrixView x, std::span<double> norms) {
  const auto m = static_cast<blasint>(factor.rows), n = static_cast<blasint>(factor.cols),
             ld = static_cast<blasint>(factor.stride), k = static_cast<blasint>(x.cols),
             ldx = static_cast<blasint>(x.stride);
  if (form == FactorForm::trapezoidal) {  // for half of the work, in place
    cblas_strmm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, m, k, 1.0f, factor.data, ld, x.data,
                ldx);
    if (n > m)
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, k, n - m, 1.0f, factor.data + m, ld, x.data + m * ldx,
                  ldx, 1.0f, x.data, ldx);
    squared_column_norms({x.data, factor.rows, x.cols, x.stride}, norms);
    return;
  }
  const bool transposed = form == FactorForm::transposed;
  const std::size_t n_out = transposed ? factor.cols : factor.rows;
  Buffer<float> product(n_out * x.cols);
  cblas_sgemm(CblasRowMajor, transposed ? CblasTrans : CblasNoTrans, CblasNoTrans, transposed ? n : m, k,
              transposed ? m : n, 1.0f, factor.data, ld, x.data, ldx, 0.0f, product.data(), k);
  squared_column_norms({product.data(), n_out, x.cols, x.cols}, norms);
}

}  // namespace kvreplay::cpu
