#pragma once
// The shape of one work unit, known before anything of it is read: what estimates of cost are made from.

#include <cstddef>

namespace kvreplay {

struct UnitDimensions {
  std::size_t n_q_heads = 0;
  std::size_t n_kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t value_dim = 0;
  std::size_t hidden_size = 0;
  bool output_projection = false;    ///< W_O is recorded, and looked at
  std::size_t n_tokens = 0;          ///< of the sample
  std::size_t n_candidates = 0;      ///< tokens up for eviction
  std::size_t n_prompt_queries = 0;  ///< recorded before the compression point
  std::size_t n_queries = 0;         ///< evaluation queries
  std::size_t n_probe_rows = 0;      ///< queries and keys of the probe; 0 where nothing looks at one
  std::size_t n_sketches = 0;        ///< of the sensitivities; 0 where nothing looks at them
  std::size_t n_policies = 0;
  std::size_t n_budgets = 0;
};

/// What a row of a table adds to a unit.
struct AddedCost {
  double flops = 0;
  double bytes = 0;  ///< at its peak
};

}  // namespace kvreplay
