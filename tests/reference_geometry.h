#pragma once
// Policies that look at keys and values alone, in plain float64 loops (see reference.h).

#include <cstddef>
#include <string>

#include "tests/reference.h"

namespace reference {

// Scores of the candidates [begin, end), one row per KV head.

/// Every token; 1 for what is protected. \param cross  scores instead of ranks
Matrix lagkv(const Layer& layer, std::size_t begin, std::size_t end, std::size_t sinks, std::size_t lag, bool cross);
/// \param product  kv, key, value or avg
Matrix cur(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, const std::string& product);

/// sum_d |x_d|
double magnitude(const Vector& x);

}  // namespace reference
