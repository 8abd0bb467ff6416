#pragma once
// What the parts of kvreplay_cuda_bench share: a shape, a layer of it, and how a line is written.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "core/data/layer_data.h"
#include "core/engine/backend.h"

namespace kvreplay {

// A large model of today: 32 query heads on 8 KV heads of 128 dimensions; 64 evaluation queries.
inline constexpr std::size_t kQueryHeads = 32, kKvHeads = 8, kDim = 128, kQueries = 64, kBudgets = 16;
inline constexpr std::size_t kPoliciesAtOnce = 4;  // whose cells one launch sums

/// \param of  what `value` is printed as a share of; 0: nothing
inline void report(const std::string& name, double value, const char* unit, double of = 0) {
  if (of > 0)
    std::printf("%-44s %12.3f %-8s %5.1f %%\n", name.c_str(), value, unit, 100 * value / of);
  else
    std::printf("%-44s %12.3f %s\n", name.c_str(), value, unit);
  std::fflush(stdout);
}

template <typename Work>
double wall_seconds(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Numbers that look like heads', cheaply: the same everywhere.
inline float number(std::size_t i) {
  const auto mixed = static_cast<std::uint32_t>(i * 2654435761u);
  return static_cast<float>(static_cast<std::int32_t>(mixed ^ mixed >> 15) >> 16) / 32768.0f;
}

inline LayerData make_layer(std::size_t n_tokens) {
  LayerData data;
  data.model.n_q_heads = kQueryHeads;
  data.model.n_kv_heads = kKvHeads;
  data.model.head_dim = data.model.value_dim = kDim;
  data.model.softmax_scale = 1;
  data.queries = Tensor(kQueryHeads, kQueries, kDim);
  data.keys = Tensor(kKvHeads, n_tokens, kDim);
  data.values = Tensor(kKvHeads, n_tokens, kDim);
  std::size_t at = 0;
  // Multiples of 1/32: exact in 16 bits.
  for (Tensor* tensor : {&data.queries, &data.keys, &data.values})
    for (float& x : tensor->values()) x = static_cast<float>(static_cast<int>(32 * number(at++))) / 32;
  for (std::size_t q = 0; q < kQueries; ++q) data.query_positions.push_back(n_tokens - kQueries + q);
  return data;
}

/// Of the device, in floating-point operations and bytes a second.
struct Peaks {
  double half = 0, single = 0, full = 0, bandwidth = 0;
};

/// The primitives of a backend as their callers see them, with what is sent to and fro.
void measure_primitives(Backend& backend, const Peaks& peaks);

}  // namespace kvreplay
