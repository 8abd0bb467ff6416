#pragma once
// Copies that change a layout or a format on the device.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"

namespace kvreplay::cuda {

/// Rows [first, first + n) of each of some matrices, one after the other, each filled up to n_lanes rows of zeros.
/// \param from       [n_matrices, n_rows, row_words], words of 16 bytes
/// \param out        [n_matrices, n_lanes, row_words]
struct RowPacking {
  const uint4* from = nullptr;
  uint4* out = nullptr;
  std::size_t n_matrices = 0, n_rows = 0, row_words = 0, first = 0, n = 0, n_lanes = 0;
};

cudaError_t pack_rows(const RowPacking& packing, cudaStream_t stream);

/// out[i] = from[i] in float32
cudaError_t widen(const void* from, DType dtype, std::size_t n, float* out, cudaStream_t stream);

/// out(i, c) = factor_i * rows(index_i, c) in float64, [n, cols].
/// \param factors  [n_rows] by index; nullptr: all 1
/// \param roots  the square root of the factor is taken
/// \param index  nullptr: the rows as they come
struct RowGathering {
  const float* rows = nullptr;
  std::size_t stride = 0, cols = 0;
  const double* factors = nullptr;
  bool roots = false;
  const std::uint32_t* index = nullptr;
  std::size_t n = 0;
  double* out = nullptr;
};

cudaError_t gather_rows(const RowGathering& gathering, cudaStream_t stream);

/// logits(r, i) = softmax over the keys that row r sees, 0 elsewhere.
/// \param rows  [n_matrices * n_rows, n_keys]
/// \param first, last  [n_rows] keys
cudaError_t softmax_rows(float* rows, std::size_t n_matrices, std::size_t n_rows, std::size_t n_keys,
                         const std::int32_t* first, const std::int32_t* last, float softcap, cudaStream_t stream);

}  // namespace kvreplay::cuda
