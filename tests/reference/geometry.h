#pragma once
// Policies that look at keys and values, or at attention without order, in plain float64 loops (see reference.h).

#include <cstddef>
#include <string>

#include "tests/reference/reference.h"

namespace reference {

// Scores of the candidates [begin, end), one row per KV head.

/// Every token; 1 for what is protected.
/// \param cross  scores instead of ranks
Matrix lagkv(const Layer& layer, std::size_t begin, std::size_t end, std::size_t sinks, std::size_t lag, bool cross);
/// \param product  kv, key, value or avg
Matrix cur(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, const std::string& product);

/// Of keys before RoPE, without a sketch, standardised over all heads.
Matrix leverage(const Layer& layer, std::size_t begin, std::size_t end);
/// Standardised over all heads.
Matrix non_causal(const Layer& layer, std::size_t begin, std::size_t end, std::size_t chunk, std::size_t kernel);

/// sum_d |x_d|
double magnitude(const Vector& x);

}  // namespace reference
