#include "tests/reference/information.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

#include "tests/reference/expectation.h"

namespace reference {
namespace {

Matrix zeros(std::size_t rows, std::size_t cols) { return Matrix(rows, Vector(cols, 0.0)); }

double quadratic(const Matrix& m, const Vector& x) {
  double sum = 0;
  for (std::size_t r = 0; r < x.size(); ++r) sum += x[r] * dot(m[r], x);
  return sum;
}

void add_outer(const Vector& a, const Vector& b, double weight, Matrix& sum) {
  for (std::size_t r = 0; r < a.size(); ++r)
    for (std::size_t c = 0; c < b.size(); ++c) sum[r][c] += weight * a[r] * b[c];
}

struct Channel {
  std::vector<std::size_t> heads;
  Vector mean;
  Matrix moment;
};

std::vector<Channel> channels(const Layer& layer, std::size_t kv_head, std::size_t end, std::size_t begin,
                              const Information& method) {
  std::vector<Channel> all;
  const std::size_t group = layer.group_size(), dim = layer.keys[0][0].size();
  for (std::size_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    if (method.each_head || all.empty()) all.push_back({{}, Vector(dim, 0.0), zeros(dim, dim)});
    all.back().heads.push_back(h);
  }
  for (Channel& channel : all) {
    const double share = 1.0 / static_cast<double>(channel.heads.size());
    for (const std::size_t h : channel.heads) {
      if (method.anchor == "prompt") {
        const Moments moments = future_queries(layer, h, begin + method.sinks, end, method.future);
        for (std::size_t d = 0; d < dim; ++d) channel.mean[d] += share * moments.mean[d];
        add_outer(moments.mean, moments.mean, share, channel.moment);
        for (std::size_t r = 0; r < dim; ++r)
          for (std::size_t c = 0; c < dim; ++c) channel.moment[r][c] += share * moments.covariance[r][c];
        continue;
      }
      const std::vector<std::size_t> rows = evaluation_rows(layer, end);
      for (const std::size_t row : rows) {
        const double weight = share / static_cast<double>(rows.size());
        const Vector& q = layer.queries[h][row];
        for (std::size_t d = 0; d < dim; ++d) channel.mean[d] += weight * q[d];
        add_outer(q, q, weight, channel.moment);
      }
    }
    if (method.covariance) add_outer(channel.mean, channel.mean, -1, channel.moment);
  }
  return all;
}

// What a token says: its value, or the outputs of all heads of the channel after W_O side by side, each with 1 / sqrt(n
// heads).
Vector output_of(const Layer& layer, const Channel& channel, const Vector& value, const Information& method) {
  if (!method.projected) return value;
  Vector all;
  for (const std::size_t h : channel.heads)
    for (const double x : projected(layer.output_projection[h], value))
      all.push_back(x / std::sqrt(static_cast<double>(channel.heads.size())));
  return all;
}

double capped(const Layer& layer, double logit) {
  return layer.softcap > 0 ? layer.softcap * std::tanh(logit / layer.softcap) : logit;
}

Vector softmax(Vector logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& x : logits) sum += x = std::exp(x - largest);
  for (double& x : logits) x /= sum;
  return logits;
}

Vector capacity_weights(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end,
                        const Channel& channel, const Information& method) {
  Vector weights, attention;
  double largest = -1e300;
  for (std::size_t i = begin; i < end; ++i) {
    const Vector& key = layer.keys[kv_head][i];
    const double product = dot(key, channel.mean);
    attention.push_back(layer.scale * product);
    const double cosine = product / (norm(key) * norm(channel.mean));
    weights.push_back(method.tau * (method.weight == "cosine" ? cosine : product));
    largest = std::max(largest, weights.back());
  }
  attention = softmax(attention);
  for (std::size_t i = begin; i < end; ++i) {
    double& w = weights[i - begin];
    const double a = attention[i - begin], spread = quadratic(channel.moment, layer.keys[kv_head][i]);
    if (method.weight == "cosine" || method.weight == "dot") w = std::exp(w - largest);
    if (method.weight == "exp") w = std::exp(w);
    if (method.weight == "softmax") w = a;
    if (method.weight == "quadratic") w = spread;
    if (method.weight == "jacobian") w = std::pow(layer.scale * a * (1 - a), 2) * spread;
  }
  return weights;
}

// Mean over the channels of 1/2 log det(I + X / noise).
double information(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end,
                   const Positions& retained, const Information& method, double signals_per_dimension,
                   const std::function<Matrix(const Channel&, const Positions&)>& signal) {
  if (retained.empty()) return 0;
  double sum = 0;
  const std::vector<Channel> all = channels(layer, kv_head, end, begin, method);
  for (const Channel& channel : all) {
    double noise = method.noise;
    if (method.signal_noise) {
      const Matrix full = signal(channel, positions_between(begin, end));
      noise = 0;
      for (std::size_t d = 0; d < full.size(); ++d) noise += full[d][d];
      noise /= signals_per_dimension * static_cast<double>(layer.values[0][0].size());
    }
    Matrix matrix = signal(channel, retained);
    for (std::size_t r = 0; r < matrix.size(); ++r)
      for (std::size_t c = 0; c < matrix.size(); ++c) matrix[r][c] = matrix[r][c] / noise + (r == c);
    sum += log_det(matrix) / 2;
  }
  return sum / static_cast<double>(all.size());
}

}  // namespace

double log_det(Matrix matrix) {
  double sum = 0;
  for (std::size_t d = 0; d < matrix.size(); ++d) {
    if (matrix[d][d] <= 0) throw std::runtime_error("not positive definite");
    sum += std::log(matrix[d][d]);
    for (std::size_t r = d + 1; r < matrix.size(); ++r) {
      const double factor = matrix[r][d] / matrix[d][d];
      for (std::size_t c = d; c < matrix.size(); ++c) matrix[r][c] -= factor * matrix[d][c];
    }
  }
  return sum;
}

double capacity(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end, const Positions& retained,
                const Information& method) {
  return information(layer, kv_head, begin, end, retained, method, static_cast<double>(end - begin),
                     [&](const Channel& channel, const Positions& set) {
                       const Vector weights = capacity_weights(layer, kv_head, begin, end, channel, method);
                       const std::size_t dim = output_of(layer, channel, layer.values[kv_head][0], method).size();
                       Matrix sum = zeros(dim, dim);
                       for (const std::size_t i : set) {
                         const Vector u = output_of(layer, channel, layer.values[kv_head][i], method);
                         add_outer(u, u, weights[i - begin], sum);
                       }
                       return sum;
                     });
}

double mutual_information(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end,
                          const Positions& retained, const Information& method) {
  return information(
      layer, kv_head, begin, end, retained, method, 1, [&](const Channel& channel, const Positions& set) {
        Matrix map = zeros(output_of(layer, channel, layer.values[kv_head][0], method).size(), channel.mean.size());
        for (const std::size_t i : set)
          add_outer(output_of(layer, channel, layer.values[kv_head][i], method), layer.keys[kv_head][i], 1, map);
        return product(product(map, channel.moment), transposed(map));
      });
}

double jacobian_information(const Layer& layer, std::size_t kv_head, std::size_t begin, std::size_t end,
                            const Positions& retained, const Information& method) {
  return information(
      layer, kv_head, begin, end, retained, method, 1, [&](const Channel& channel, const Positions& set) {
        // d/dq of sum_i a_i(q) u_i at the mean query, with a a softmax over the set: sum_i a_i u_i (g_i - mean g)^T
        Vector logits;
        Matrix slopes;  // of each logit
        for (const std::size_t i : set) {
          const double logit = layer.scale * dot(channel.mean, layer.keys[kv_head][i]);
          logits.push_back(capped(layer, logit));
          Vector slope = layer.keys[kv_head][i];
          const double bend = layer.softcap > 0 ? 1 - std::pow(std::tanh(logit / layer.softcap), 2) : 1;
          for (double& x : slope) x *= layer.scale * bend;
          slopes.push_back(slope);
        }
        const Vector a = softmax(logits);
        Vector mean(channel.mean.size(), 0.0);
        for (std::size_t n = 0; n < set.size(); ++n)
          for (std::size_t d = 0; d < mean.size(); ++d) mean[d] += a[n] * slopes[n][d];
        Matrix jacobian =
            zeros(output_of(layer, channel, layer.values[kv_head][0], method).size(), channel.mean.size());
        for (std::size_t n = 0; n < set.size(); ++n)
          add_outer(output_of(layer, channel, layer.values[kv_head][set[n]], method), difference(slopes[n], mean), a[n],
                    jacobian);
        return product(product(jacobian, channel.moment), transposed(jacobian));
      });
}

}  // namespace reference
