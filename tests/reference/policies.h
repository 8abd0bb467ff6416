#pragma once
// Scores and retained sets of the policies, in plain float64 loops (see reference.h).

#include <cstddef>
#include <vector>

#include "tests/reference/reference.h"

namespace reference {

// ---- scores, [n_heads][n_candidates] for the candidates [begin, end)

/// Mean (or sum) over the last `window` queries before `end` of the attention that a candidate got, over those that see
/// it; one row per query head.
Matrix observed_attention(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, bool mean);
/// Average over `kernel` neighbours; tokens beyond the ends count as zeros.
Vector average_pooled(const Vector& scores, std::size_t kernel);
Vector max_pooled(const Vector& scores, std::size_t kernel);
/// One row per KV head.
Matrix group_mean(const Matrix& rows, std::size_t group_size);
Matrix group_max(const Matrix& rows, std::size_t group_size);
Matrix group_sum(const Matrix& rows, std::size_t group_size);
Matrix knorm(const Layer& layer, std::size_t begin, std::size_t end);
Matrix keydiff(const Layer& layer, std::size_t begin, std::size_t end);
/// The first tokens of each row.
Matrix truncated(const Matrix& rows, std::size_t n);

// ---- retained sets, as candidate indices

/// The k highest scores; of equal ones the lower index.
Positions top(const Vector& scores, std::size_t k);
/// The first `sinks`, then the newest `recent` (newest first), then the best of the others, until there are k.
Positions top_protected(const Vector& scores, std::size_t sinks, std::size_t recent, std::size_t k);
/// The newest floor(share * k), and the best of the others.
Positions heavy_hitters(const Vector& scores, double share, std::size_t k);
/// Ada-KV as kvpress does it: each head is safe with its best floor(alpha * k) tokens (protected ones are best of all),
/// what is left of the layer's n_heads * k goes to the highest scores anywhere; of equal ones the lower head, then
/// index.
std::vector<Positions> ada_floor(const Matrix& scores, std::size_t sinks, std::size_t recent, double alpha,
                                 std::size_t k);
/// Ada-KV as its authors do it: round((1 - alpha) * pooled + floor(alpha * c)) tokens beside the protected ones, c = k
/// minus them; rounding half to even; a full cache stays full. Returns how many tokens each head keeps.
std::vector<std::size_t> ada_interp(const Matrix& scores, std::size_t sinks, std::size_t recent, double alpha,
                                    std::size_t k);

}  // namespace reference
