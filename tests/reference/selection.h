#pragma once
// Sets chosen one token at a time by brute force, in plain float64 loops (see reference.h).

#include <functional>

#include "tests/reference/reference.h"

namespace reference {

/// What a set of tokens is worth.
using Worth = std::function<double(const Positions&)>;

/// The order in which tokens 0 to n - 1 are added: always the one that makes the set worth most; equal: the lower.
Positions added_greedily(std::size_t n, const Worth& worth);
/// The order in which they are removed from the set of all: always the one that leaves it worth most; equal: the
/// higher.
Positions removed_greedily(std::size_t n, const Worth& worth);
/// The set of k of n tokens that is worth most, by trying all.
Positions best_set(std::size_t n, std::size_t k, const Worth& worth);

/// - sum over the evaluation queries and the query heads of a KV head of ||o' - o||^2.
/// \param first  position of token 0
Worth closeness(const Layer& layer, std::size_t kv_head, std::size_t first, std::size_t compression_point);

}  // namespace reference
