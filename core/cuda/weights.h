#pragma once
// From logits to softmax weights, in place, for the columns of a product: one column per query, one row per key.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace kvreplay::cuda {

/// Logits of some KV heads, [n_batch, n_keys, n_columns]: rows are contiguous, so that a token's weights are one line.
/// n_columns is a multiple of kPanelWidth.
struct LogitColumns {
  float* logits = nullptr;
  std::size_t n_batch = 0, n_keys = 0, n_columns = 0;
  /// [n_lanes] the first and the last key that a query sees; column c is query c % n_lanes of some query head
  const std::int32_t* first = nullptr;
  const std::int32_t* last = nullptr;
  std::size_t n_lanes = 0;
  float softcap = 0;
};

/// Keys that one block looks through for a maximum or a sum.
inline constexpr std::size_t kKeysOfChunk = 512;
inline std::size_t n_chunks(std::size_t n_keys) { return (n_keys + kKeysOfChunk - 1) / kKeysOfChunk; }

/// maxima = largest logit that each query sees, [n_batch, n_columns].
/// \param chunks  scratch, [n_batch, n_chunks(n_keys), n_columns]
cudaError_t find_maxima(const LogitColumns& columns, float* chunks, float* maxima, cudaStream_t stream);

/// logits = exp(logit - max); 0 where the mask hides a key, and where it would be below 2^-126.
cudaError_t write_weights(const LogitColumns& columns, const float* maxima, cudaStream_t stream);

/// sums = sum over the keys of exp(logit - max), [n_batch, n_columns].
/// \param chunks  scratch as above
cudaError_t sum_exponentials(const LogitColumns& columns, const float* maxima, float* chunks, float* sums,
                             cudaStream_t stream);

/// Queries of a head that add_column_sums() takes at once, at most.
inline constexpr std::size_t kMostLanesOfSums = 256;

/// totals[b, h, first_key + i] += sum over the queries of head h of KV head b of exp(logit - max) / sum.
/// \param n_queries  lanes in use, of n_lanes per head; kMostLanesOfSums at most
/// \param totals     [n_batch, n_columns / n_lanes, n_totals]
cudaError_t add_column_sums(const LogitColumns& columns, const float* maxima, const float* sums, std::size_t n_queries,
                            std::size_t first_key, std::size_t n_totals, double* totals, cudaStream_t stream);

}  // namespace kvreplay::cuda
