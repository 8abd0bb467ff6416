#include "tests/reference/geometry.h"

#include <algorithm>
#include <cmath>

#include "tests/reference/expectation.h"
#include "tests/reference/policies.h"

namespace reference {
namespace {

// One partition's scores from the keys or values alone.
Vector lag_scores(const Matrix& x, std::size_t begin, std::size_t lag) {
  const std::size_t dim = x[0].size();
  Vector spreads;
  for (std::size_t i = begin; i < begin + lag; ++i) {
    Vector scaled;
    for (std::size_t d = 0; d < dim; ++d) {
      double low = x[begin + lag][d], high = low;
      for (std::size_t j = begin + lag; j < begin + 2 * lag; ++j) {
        low = std::min(low, x[j][d]);
        high = std::max(high, x[j][d]);
      }
      scaled.push_back(high > low ? (x[i][d] - low) / (high - low) : 0);
    }
    double mean = 0, squares = 0;
    for (const double each : scaled) mean += each / static_cast<double>(dim);
    for (const double each : scaled) squares += (each - mean) * (each - mean);
    spreads.push_back(std::exp(std::sqrt(squares / static_cast<double>(dim - 1))));
  }
  double total = 0;
  for (const double each : spreads) total += each;
  for (double& each : spreads) each /= total;
  return spreads;
}

double squared(const Vector& x) { return norm(x) * norm(x); }

Vector block_shares(const Matrix& x, std::size_t begin, std::size_t end, std::size_t window) {
  Vector shares;
  for (std::size_t i = begin; i < end; ++i) {
    const std::size_t from = begin + (i - begin) / window * window;
    double total = 0;
    for (std::size_t j = from; j < std::min(from + window, end); ++j) total += squared(x[j]);
    shares.push_back(total == 0 ? 0 : squared(x[i]) / total);
  }
  return shares;
}

Matrix standardised(Matrix scores) {
  double n = 0, mean = 0, squares = 0;
  for (const Vector& row : scores) n += static_cast<double>(row.size());
  for (const Vector& row : scores)
    for (const double x : row) mean += x / n;
  for (const Vector& row : scores)
    for (const double x : row) squares += (x - mean) * (x - mean);
  for (Vector& row : scores)
    for (double& x : row) x = (x - mean) / std::sqrt(squares / (n - 1));
  return scores;
}

}  // namespace

Matrix lagkv(const Layer& layer, std::size_t begin, std::size_t end, std::size_t sinks, std::size_t lag, bool cross) {
  Matrix scores(layer.keys.size(), Vector(end - begin, 1.0));
  const std::size_t n_partitions = (end - begin - sinks) / lag;
  for (std::size_t g = 0; g < scores.size(); ++g)
    for (std::size_t p = 0; p + 1 < n_partitions; ++p) {
      const std::size_t first = sinks + p * lag;
      const Vector of_keys = lag_scores(layer.keys[g], begin + first, lag);
      const Vector of_values = lag_scores(layer.values[g], begin + first, lag);
      Vector sums;
      for (std::size_t i = 0; i < lag; ++i) sums.push_back((of_keys[i] + of_values[i]) / 2);
      for (std::size_t i = 0; i < lag; ++i) {
        double n_below = 0;
        for (std::size_t j = 0; j < lag; ++j) n_below += sums[j] < sums[i] || (sums[j] == sums[i] && j < i);
        scores[g][first + i] = cross ? sums[i] : n_below / static_cast<double>(lag);
      }
    }
  return scores;
}

Matrix cur(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, const std::string& product) {
  Matrix scores;
  for (std::size_t g = 0; g < layer.keys.size(); ++g) {
    const Vector keys = block_shares(layer.keys[g], begin, end, window);
    const Vector values = block_shares(layer.values[g], begin, end, window);
    Vector row;
    double total = 0;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (product == "kv") row.push_back(keys[i] * values[i]);
      if (product == "key") row.push_back(keys[i]);
      if (product == "value") row.push_back(values[i]);
      if (product == "avg") row.push_back((keys[i] + values[i]) / 2);
      total += row.back();
    }
    for (double& each : row) each /= total;
    scores.push_back(row);
  }
  return scores;
}

Matrix leverage(const Layer& layer, std::size_t begin, std::size_t end) {
  Matrix scores;
  for (const Matrix& keys : layer.keys) {
    Matrix x;
    for (std::size_t i = begin; i < end; ++i) x.push_back(before_rope(layer, keys[i], static_cast<double>(i)));
    const std::size_t dim = x[0].size();
    for (std::size_t d = 0; d < dim; ++d) {
      double mean = 0;
      for (const Vector& row : x) mean += row[d] / static_cast<double>(x.size());
      for (Vector& row : x) row[d] -= mean;
    }
    Matrix products = product(transposed(x), x);
    for (std::size_t d = 0; d < dim; ++d) products[d][d] += 0.01;
    Vector row;
    for (const Vector& each : x) row.push_back(dot(each, solved(products, each)));
    scores.push_back(row);
  }
  return standardised(scores);
}

Matrix non_causal(const Layer& layer, std::size_t begin, std::size_t end, std::size_t chunk, std::size_t kernel) {
  Matrix scores;
  for (std::size_t h = 0; h < layer.queries.size(); ++h) {
    const std::size_t g = h / layer.group_size(), dim = layer.keys[0][0].size();
    const auto padded = [&](const Matrix& rows, std::size_t position) {
      return position < end ? rows[position] : Vector(dim, 0.0);
    };
    Vector sums;
    for (std::size_t first = begin; first < end; first += chunk) {
      Vector of_chunk(chunk, 0.0);
      for (std::size_t t = first; t < first + chunk; ++t) {
        const Vector query = padded(layer.queries[h], t);  // all are recorded: row = position
        double total = 0;
        Vector weights;
        for (std::size_t i = first; i < first + chunk; ++i) {
          weights.push_back(std::exp(dot(query, padded(layer.keys[g], i))));
          total += weights.back();
        }
        for (std::size_t i = 0; i < chunk; ++i) of_chunk[i] += weights[i] / total;
      }
      for (std::size_t i = 0; i < chunk && first + i < end; ++i) sums.push_back(of_chunk[i]);
    }
    scores.push_back(sums);
  }
  scores = group_mean(scores, layer.group_size());
  for (std::size_t g = 0; g < scores.size(); ++g) {
    for (std::size_t i = 0; i < scores[g].size(); ++i) scores[g][i] *= norm(layer.values[g][begin + i]);
    scores[g] = average_pooled(scores[g], kernel);
  }
  return standardised(scores);
}

double magnitude(const Vector& x) {
  double sum = 0;
  for (const double each : x) sum += std::abs(each);
  return sum;
}

}  // namespace reference
