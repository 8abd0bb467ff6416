#pragma once
// Random sensitivities for synthetic traces. Private to traces/.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/data/trace_info.h"
#include "traces/synthetic/counter_rng.h"

namespace kvreplay {

/// Levels 0, 1/4, 1/2, 3/4 in turn. Targets are the decoded tokens, or all queries where none was decoded.
/// \param first_decoded  queries before the first decoded token
SensitivityInfo synthetic_sensitivity(const CompressionPoint& point, std::size_t n_sketches, std::size_t n_queries,
                                      std::size_t first_decoded, const CounterRng& rng);

struct SyntheticGradient {
  std::vector<std::int8_t> values;  ///< [n_sketches, n_queries, width]
  std::vector<float> scale;         ///< [n_sketches, n_queries]
};

/// Of one layer.
/// \param width  n_q_heads * value_dim
SyntheticGradient synthetic_gradient(const SensitivityInfo& info, std::size_t width, const CounterRng& rng);

}  // namespace kvreplay
