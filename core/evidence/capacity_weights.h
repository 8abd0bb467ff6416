#pragma once
// Weights w_i of tokens in the log-determinant capacity 1/2 log det(I + sum_i w_i u_i u_i^T): how much future queries
// are expected to ask for each. The capacity is the information I(q; Y) of a linear-Gaussian channel from a query
// q ~ N(mu, Sigma) to a head's output, with the keys' part of it made diagonal (CapKV, arXiv 2604.25975).

#include <string>
#include <string_view>
#include <vector>

#include "core/base/linear_algebra.h"

namespace kvreplay {

enum class CapacityWeight {
  cosine,       ///< exp(tau cos(k_i, mu)), divided by the largest: the authors' code
  dot,          ///< exp(tau k_i . mu), divided by the largest
  exponential,  ///< exp(tau k_i . mu) as it is: the paper
  softmax,      ///< attention at the mean query, a_i = softmax_i(scale k_i . mu)
  quadratic,    ///< k_i^T Lambda k_i: what the linear channel itself has on the diagonal
  jacobian,     ///< (scale a_i (1 - a_i))^2 k_i^T Lambda k_i: JaCap
};

/// Their names as parameter values: cosine, dot, exp, softmax, quadratic, jacobian.
const std::vector<std::string>& capacity_weight_names();
/// The kind of a name in capacity_weight_names().
CapacityWeight capacity_weight(std::string_view name);

/// What weights depend on besides the keys.
struct QueryAnchor {
  Matrix64 mean;    ///< [1, head_dim] mu
  Matrix64 moment;  ///< [head_dim, head_dim] Lambda; only for `quadratic` and `jacobian`
};

/// \param keys   [n, head_dim], n > 0
/// \param tau    sharpness of the first three kinds
/// \param scale  of logits, for `softmax` and `jacobian`: the model's softmax scale
/// \return [n], not negative. Throws InputError with the exponent when `exponential` overflows.
std::vector<double> capacity_weights(CapacityWeight kind, const QueryAnchor& anchor, ConstMatrixView keys, double tau,
                                     double scale);

/// softmax_i(scale k_i . mu), [n].
/// \param query  [1, head_dim]
std::vector<double> softmax_at(const Matrix64& query, ConstMatrixView keys, double scale);

}  // namespace kvreplay
