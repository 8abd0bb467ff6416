#pragma once
// Softmax sums over cells of tokens that are fetched through an index: what a replay spends its time on.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"

namespace kvreplay::cuda {

/// Tokens that one block adds up at most: partial sums are written once for each so many, so they weigh little beside
/// the weights that are read; and there are enough runs to fill a device.
inline constexpr std::size_t kTokensOfRun = 4096;
/// Tokens that are added up in float32 before they go into the sum of a run.
inline constexpr std::size_t kTokensOfBlock = 512;

/// Some tokens of one cell, for some columns of weights. Its sums lie at partials + offset: [value_dim + 1, n_columns],
/// the last row being the sums of the weights. A run of nothing has sums of 0.
struct Run {
  std::uint64_t offset;
  std::uint32_t begin, count;  ///< in CellSums::positions
  std::uint32_t batch;         ///< KV head
  std::uint32_t first_column, n_columns;
};

struct CellSums {
  const float* weights = nullptr;  ///< [n_batch, n_keys, n_columns], row i at position first_key + i
  std::size_t n_keys = 0, n_columns = 0, first_key = 0;
  const void* values = nullptr;  ///< [n_batch, n_tokens, value_stride] of `dtype`, row i at position i
  DType dtype = DType::float32;
  std::size_t n_tokens = 0, value_dim = 0, value_stride = 0;
  const std::uint32_t* positions = nullptr;
  const Run* runs = nullptr;
  std::size_t n_runs = 0;
  std::size_t most_columns = 0;  ///< of a run
  float* partials = nullptr;
};

cudaError_t sum_runs(const CellSums& sums, cudaStream_t stream);

/// Runs of one cell, one after the other in memory: their sum goes where the first one lies.
struct Fold {
  std::uint64_t offset;
  std::uint32_t n_runs;
  std::uint32_t size;  ///< of one run's sums
};

/// \param most  the largest size of a run's sums
cudaError_t fold_runs(const Fold* folds, std::size_t n_folds, std::size_t most, float* partials, cudaStream_t stream);

/// out[b, h, panel, d, lane] = N / Z of cells that together hold everything visible: full-cache outputs.
/// \param base  [n_batch][n_cells] of [value_dim + 1, n_columns]
/// \param out   [n_batch, n_columns / kPanelWidth, value_dim, kPanelWidth]
cudaError_t divide_sums(const float* base, std::size_t n_batch, std::size_t n_cells, std::size_t value_dim,
                        std::size_t n_columns, float* out, cudaStream_t stream);

}  // namespace kvreplay::cuda
