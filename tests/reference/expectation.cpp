#include "tests/reference/expectation.h"

#include <algorithm>
#include <cmath>

namespace reference {
namespace {

Vector softmax(const Vector& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const double logit : logits) total += std::exp(logit - largest);
  Vector weights;
  for (const double logit : logits) weights.push_back(std::exp(logit - largest) / total);
  return weights;
}

Vector times(const Matrix& a, const Vector& x) {
  Vector result;
  for (const Vector& row : a) result.push_back(dot(row, x));
  return result;
}

Matrix zeros(std::size_t rows, std::size_t cols) { return Matrix(rows, Vector(cols, 0.0)); }

// w_i u_i^T (I + sum_j weight_j u_j u_j^T)^-1 u_i
Vector capacity_losses(const Matrix& u, const Vector& relevance, const Vector& weights) {
  const std::size_t dim = u[0].size();
  Matrix a = zeros(dim, dim);
  for (std::size_t r = 0; r < dim; ++r)
    for (std::size_t c = 0; c < dim; ++c) {
      a[r][c] = r == c ? 1 : 0;
      for (std::size_t i = 0; i < u.size(); ++i) a[r][c] += weights[i] * u[i][r] * u[i][c];
    }
  Vector scores;
  for (std::size_t i = 0; i < u.size(); ++i) scores.push_back(relevance[i] * dot(u[i], solved(a, u[i])));
  return scores;
}

// Adds a query head's scores of the tokens behind the sinks to the mean of its group.
void add_to_group(const Layer& layer, std::size_t q_head, std::size_t sinks, const Vector& scores, Matrix& means) {
  for (std::size_t i = 0; i < scores.size(); ++i)
    means[q_head / layer.group_size()][sinks + i] += scores[i] / static_cast<double>(layer.group_size());
}

}  // namespace

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix result = zeros(a.size(), b[0].size());
  for (std::size_t r = 0; r < a.size(); ++r)
    for (std::size_t c = 0; c < b[0].size(); ++c)
      for (std::size_t k = 0; k < b.size(); ++k) result[r][c] += a[r][k] * b[k][c];
  return result;
}

Matrix transposed(const Matrix& a) {
  Matrix result = zeros(a[0].size(), a.size());
  for (std::size_t r = 0; r < a.size(); ++r)
    for (std::size_t c = 0; c < a[0].size(); ++c) result[c][r] = a[r][c];
  return result;
}

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
  return sum;
}

Vector solved(Matrix a, Vector b) {
  const std::size_t n = b.size();
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t r = k + 1; r < n; ++r)
      if (std::abs(a[r][k]) > std::abs(a[pivot][k])) pivot = r;
    std::swap(a[k], a[pivot]);
    std::swap(b[k], b[pivot]);
    for (std::size_t r = k + 1; r < n; ++r) {
      const double factor = a[r][k] / a[k][k];
      for (std::size_t c = k; c < n; ++c) a[r][c] -= factor * a[k][c];
      b[r] -= factor * b[k];
    }
  }
  for (std::size_t k = n; k-- > 0;) {
    for (std::size_t c = k + 1; c < n; ++c) b[k] -= a[k][c] * b[c];
    b[k] /= a[k][k];
  }
  return b;
}

double log_determinant(Matrix a) {
  double sum = 0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    sum += std::log(a[k][k]);
    for (std::size_t r = k + 1; r < a.size(); ++r) {
      const double factor = a[r][k] / a[k][k];
      for (std::size_t c = k; c < a.size(); ++c) a[r][c] -= factor * a[k][c];
    }
  }
  return sum;
}

Matrix rope_matrix(const Layer& layer, std::size_t dim, double position) {
  Matrix matrix = zeros(dim, dim);
  for (std::size_t d = 0; d < dim; ++d) matrix[d][d] = 1;
  const std::size_t n_pairs = layer.rope_frequencies.size();
  for (std::size_t p = 0; p < n_pairs; ++p) {
    const std::size_t x = layer.rope_interleaved ? 2 * p : p, y = layer.rope_interleaved ? 2 * p + 1 : p + n_pairs;
    const double turn = position * layer.rope_frequencies[p];
    matrix[x][x] = matrix[y][y] = layer.rope_scaling * std::cos(turn);
    matrix[x][y] = -layer.rope_scaling * std::sin(turn);
    matrix[y][x] = layer.rope_scaling * std::sin(turn);
  }
  return matrix;
}

Vector before_rope(const Layer& layer, const Vector& x, double position) {
  return solved(rope_matrix(layer, x.size(), position), x);
}

Moments future_queries(const Layer& layer, std::size_t q_head, std::size_t begin, std::size_t end, std::size_t future) {
  const std::size_t dim = layer.queries[0][0].size();
  Matrix queries;
  for (std::size_t row = 0; row < layer.query_positions.size(); ++row)
    if (const std::size_t t = layer.query_positions[row]; t >= begin && t < end)
      queries.push_back(before_rope(layer, layer.queries[q_head][row], static_cast<double>(t)));
  Matrix mean = zeros(dim, 1), covariance = zeros(dim, dim), rotation = zeros(dim, dim);
  const double n = static_cast<double>(queries.size());
  for (const Vector& q : queries)
    for (std::size_t d = 0; d < dim; ++d) mean[d][0] += q[d] / n;
  for (const Vector& q : queries)
    for (std::size_t r = 0; r < dim; ++r)
      for (std::size_t c = 0; c < dim; ++c) covariance[r][c] += (q[r] - mean[r][0]) * (q[c] - mean[c][0]) / n;
  for (std::size_t p = end; p < end + future; ++p) {
    const Matrix at = rope_matrix(layer, dim, static_cast<double>(p));
    for (std::size_t r = 0; r < dim; ++r)
      for (std::size_t c = 0; c < dim; ++c) rotation[r][c] += at[r][c] / static_cast<double>(future);
  }
  return {.mean = transposed(product(rotation, mean))[0],
          .covariance = product(product(rotation, covariance), transposed(rotation))};
}

Matrix expected_attention(const Layer& layer, std::size_t begin, std::size_t end, const ExpectedAttention& method) {
  Matrix scores = zeros(layer.keys.size(), end - begin);
  const std::size_t first = begin + method.sinks;
  for (std::size_t h = 0; h < layer.queries.size(); ++h) {
    const Moments queries = future_queries(layer, h, first, end, method.future);
    Vector logits;
    for (std::size_t i = first; i < end; ++i) {
      const Vector& key = layer.keys[h / layer.group_size()][i];
      const double spread = method.covariance ? dot(key, times(queries.covariance, key)) : 0;
      logits.push_back(layer.scale * dot(queries.mean, key) + layer.scale * layer.scale * spread / 2);
    }
    add_to_group(layer, h, method.sinks, softmax(logits), scores);
  }
  if (method.value_norm)
    for (std::size_t g = 0; g < scores.size(); ++g)
      for (std::size_t i = method.sinks; i < scores[g].size(); ++i)
        scores[g][i] = (scores[g][i] + method.epsilon) * norm(layer.values[g][begin + i]);
  return scores;
}

namespace {

struct CapacityTerms {
  Vector relevance, weights;
  Matrix u;
};

CapacityTerms capacity_terms(const Layer& layer, std::size_t h, std::size_t begin, std::size_t end,
                             const Capacity& method) {
  const std::size_t g = h / layer.group_size(), first = begin + method.sinks;
  const Vector query = future_queries(layer, h, first, end, method.future).mean;
  CapacityTerms terms;
  Vector logits;
  for (std::size_t i = first; i < end; ++i) {
    const Vector& key = layer.keys[g][i];
    logits.push_back(method.tau * dot(query, key) / (method.cosine ? norm(query) * norm(key) : 1));
    terms.u.push_back(method.projected ? projected(layer.output_projection[h], layer.values[g][i])
                                       : layer.values[g][i]);
  }
  const double largest = *std::max_element(logits.begin(), logits.end());
  for (const double logit : logits) {
    terms.relevance.push_back(std::exp(logit - largest));
    terms.weights.push_back((terms.relevance.back() + method.epsilon) / method.noise);
  }
  return terms;
}

}  // namespace

Matrix capkv(const Layer& layer, std::size_t begin, std::size_t end, const Capacity& method) {
  Matrix scores = zeros(layer.keys.size(), end - begin);
  for (std::size_t h = 0; h < layer.queries.size(); ++h) {
    const CapacityTerms terms = capacity_terms(layer, h, begin, end, method);
    add_to_group(layer, h, method.sinks, capacity_losses(terms.u, terms.relevance, terms.weights), scores);
  }
  return scores;
}

Worth capacity_of_query_head(const Layer& layer, std::size_t q_head, std::size_t begin, std::size_t end,
                             const Capacity& method) {
  return [terms = capacity_terms(layer, q_head, begin, end, method)](const Positions& set) {
    const std::size_t dim = terms.u[0].size();
    Matrix a = zeros(dim, dim);
    for (std::size_t r = 0; r < dim; ++r) {
      a[r][r] = 1;
      for (std::size_t c = 0; c < dim; ++c)
        for (const std::size_t i : set) a[r][c] += terms.weights[i] * terms.u[i][r] * terms.u[i][c];
    }
    return log_determinant(a) / 2;
  };
}

Worth capacity(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end, const Capacity& method) {
  std::vector<Worth> heads;
  for (std::size_t h = kv_head * layer.group_size(); h < (kv_head + 1) * layer.group_size(); ++h)
    heads.push_back(capacity_of_query_head(layer, h, begin, end, method));
  return [heads](const Positions& set) {
    double sum = 0;
    for (const Worth& head : heads) sum += head(set);
    return sum / static_cast<double>(heads.size());
  };
}

Matrix jacap(const Layer& layer, std::size_t begin, std::size_t end, std::size_t sinks, std::size_t future,
             double tau) {
  Matrix scores = zeros(layer.keys.size(), end - begin);
  const std::size_t first = begin + sinks;
  for (std::size_t h = 0; h < layer.queries.size(); ++h) {
    const std::size_t g = h / layer.group_size();
    const Moments queries = future_queries(layer, h, first, end, future);
    const double dim = static_cast<double>(queries.mean.size());
    Vector logits, weights;
    Matrix u;
    for (std::size_t i = first; i < end; ++i)
      logits.push_back(dot(queries.mean, layer.keys[g][i]) / (tau * std::sqrt(dim)));
    const Vector attention = softmax(logits);
    for (std::size_t i = first; i < end; ++i) {
      double variance = 0;
      for (std::size_t d = 0; d < queries.mean.size(); ++d)
        variance += queries.covariance[d][d] * std::pow(layer.keys[g][i][d], 2);
      const double slope = attention[i - first] * (1 - attention[i - first]);
      weights.push_back(slope * slope * variance / dim);
      u.push_back(layer.values[g][i]);
    }
    add_to_group(layer, h, sinks, capacity_losses(u, weights, weights), scores);
  }
  return scores;
}

}  // namespace reference
