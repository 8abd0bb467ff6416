#pragma once
// The obvious way: every policy and budget by itself, with the same BLAS.

#include <vector>

#include "core/data/layer_data.h"
#include "core/engine/backend.h"
#include "core/engine/selection.h"

namespace kvreplay::bench {

/// Relative output error over all query heads of one retained set per KV head: gather the retained keys and values;
/// then for each head and 32 queries weights (our own kernel for products and exponentials) and one product for the
/// outputs.
/// \param reference  [n_q_heads, n_queries, value_dim] full-cache outputs
double output_error_by_itself(const LayerData& data, std::size_t compression_point, const LayerSelection& selection,
                              std::size_t budget, const Tensor& reference, Backend& backend);

}  // namespace kvreplay::bench
