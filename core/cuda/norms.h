#pragma once
// Norms of rows and columns, inner products of rows, and log-determinants from Cholesky factors. Every sum has an order
// of its own, whatever the row's place and however blocks are scheduled.

#include <cuda_runtime_api.h>

#include <cstddef>

#include "core/base/dtype.h"

namespace kvreplay::cuda {

/// out[c] = squared norm of column c: squares of 16 rows summed in float32, these in float64.
/// \param rows  [n_rows, n_cols], contiguous
/// \param out  [n_cols]
cudaError_t squared_column_norms(const float* rows, std::size_t n_rows, std::size_t n_cols, double* out,
                                 cudaStream_t stream);

/// out[r] = L1 or L2 norm of row r, in float32.
/// \param rows  [n_rows, stride] of `dtype`
/// \param out  [n_rows]
cudaError_t row_norms(const void* rows, DType dtype, std::size_t n_rows, std::size_t n_cols, std::size_t stride,
                      bool l1, float* out, cudaStream_t stream);

/// out[r] = a_r . b_r
/// \param a, b  [n_rows, n_cols], contiguous
/// \param out  [n_rows]
cudaError_t row_products(const double* a, const double* b, std::size_t n_rows, std::size_t n_cols, double* out,
                         cudaStream_t stream);

/// out[i] = sum of the logarithms of the diagonal of matrix i.
/// \param factors  [n_matrices, n, n]
/// \param out [n_matrices]
cudaError_t sum_log_diagonals(const double* factors, std::size_t n_matrices, std::size_t n, double* out,
                              cudaStream_t stream);

}  // namespace kvreplay::cuda
