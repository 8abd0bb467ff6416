#pragma once
// A layer to time things on.

#include "core/data/layer_data.h"

namespace kvreplay::bench {

/// Normal keys, values and queries, seeded. Queries are recorded for the last `n_prompt_queries` positions before
/// `compression_point` and for all after it.
LayerData make_layer(std::size_t n_tokens, std::size_t compression_point, std::size_t n_prompt_queries,
                     std::size_t n_q_heads, std::size_t n_kv_heads, std::size_t dim);

}  // namespace kvreplay::bench
