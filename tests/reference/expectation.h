#pragma once
// Policies that expect future queries from those of the prompt, in plain float64 loops (see reference.h): RoPE as dense
// matrices, systems of equations by elimination.

#include <cstddef>

#include "tests/reference/reference.h"
#include "tests/reference/selection.h"

namespace reference {

// ---- dense matrices

Matrix product(const Matrix& a, const Matrix& b);
Matrix transposed(const Matrix& a);
/// log det A of a positive definite A, by elimination.
double log_determinant(Matrix a);
double dot(const Vector& a, const Vector& b);
/// x with A x = b, by elimination with pivots.
Vector solved(Matrix a, Vector b);

// ---- RoPE

/// What RoPE multiplies a query at this position with, scaling included, [dim][dim].
Matrix rope_matrix(const Layer& layer, std::size_t dim, double position);
/// The query or key that RoPE turned into x.
Vector before_rope(const Layer& layer, const Vector& x, double position);

// ---- moments of future queries

struct Moments {
  Vector mean;
  Matrix covariance;
};
/// Of the queries of positions [begin, end) before RoPE, turned by the mean of RoPE at [end, end + future).
Moments future_queries(const Layer& layer, std::size_t q_head, std::size_t begin, std::size_t end, std::size_t future);

// ---- scores of the candidates [begin, end), one row per KV head; 0 for the first `sinks`

struct ExpectedAttention {
  std::size_t sinks = 4, future = 512;
  bool covariance = true, value_norm = true;
  double epsilon = 0;
};
Matrix expected_attention(const Layer& layer, std::size_t begin, std::size_t end, const ExpectedAttention& method);

struct Capacity {
  std::size_t sinks = 4, future = 512;
  double tau = 5, epsilon = 1e-6, noise = 1;
  bool cosine = true, projected = false;
};
Matrix capkv(const Layer& layer, std::size_t begin, std::size_t end, const Capacity& method);
/// What capkv's objective says of tokens that one query head, or the group of a KV head, keeps: (the mean over the
/// group of) 1/2 log det(I + sum_i (w_i + epsilon) u_i u_i^T / noise). Token 0 of a set stands at begin + sinks.
Worth capacity_of_query_head(const Layer& layer, std::size_t q_head, std::size_t begin, std::size_t end,
                             const Capacity& method);
Worth capacity(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end, const Capacity& method);
Matrix jacap(const Layer& layer, std::size_t begin, std::size_t end, std::size_t sinks, std::size_t future, double tau);

}  // namespace reference
