#pragma once
// Evidence: what future queries are expected to be, from the prompt's queries (Expected Attention, CapKV and JaCap use
// it), and what they were.

#include <cstddef>
#include <vector>

#include "core/base/linear_algebra.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

struct QueryMoments {
  Matrix64 mean;                     ///< [n_q_heads, head_dim]
  std::vector<Matrix64> covariance;  ///< [n_q_heads] of [head_dim, head_dim], of the population (divided by n)
};

/// Moments of the prompt's queries from candidate `sinks` on, their RoPE taken off, turned by the mean rotation of the
/// positions [c, c + future). Computed once for each (sinks, future).
/// \param sinks   less than n_candidates
/// \param future  at least 1
/// Throws InputError when the trace lacks prompt queries.
const QueryMoments& future_queries(const PromptView& view, std::size_t sinks, std::size_t future);

/// Moments of the recorded evaluation queries as they are, after RoPE: what the cache was really asked. For metrics and
/// oracles, see PromptView::evaluation_queries(). All 0 where there is none.
const QueryMoments& evaluation_moments(const PromptView& view);

}  // namespace kvreplay
