#include "tests/reference/window.h"

#include <algorithm>
#include <cmath>

#include "tests/reference/geometry.h"
#include "tests/reference/policies.h"

namespace reference {
namespace {

std::size_t row_at(const Layer& layer, std::size_t position) {
  const auto found = std::find(layer.query_positions.begin(), layer.query_positions.end(), position);
  return static_cast<std::size_t>(found - layer.query_positions.begin());
}

double sum(const Vector& x) {
  double total = 0;
  for (const double each : x) total += each;
  return total;
}

double dot(const Vector& a, const Vector& b) {
  double total = 0;
  for (std::size_t d = 0; d < a.size(); ++d) total += a[d] * b[d];
  return total;
}

Vector softmax(Vector x) {
  for (double& each : x) each = std::exp(each);
  const double total = sum(x);
  for (double& each : x) each /= total;
  return x;
}

// The whole matrix, as the authors make it.
Vector redundancy(const Matrix& keys, std::size_t begin, std::size_t end, double threshold) {
  const std::size_t n = end - begin;
  Vector means(n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    Vector cosines(n, 0.0);
    std::size_t latest = 0;
    for (std::size_t j = 0; j < n; ++j) {
      const Vector &a = keys[begin + i], &b = keys[begin + j];
      if (j != i) cosines[j] = dot(a, b) / ((norm(a) + 1e-8) * (norm(b) + 1e-8));
      if (cosines[j] > threshold) latest = j;
    }
    cosines[latest] = 0;
    for (std::size_t j = 0; j < n; ++j) means[j] += cosines[j] / static_cast<double>(n);
  }
  return softmax(means);
}

}  // namespace

Matrix window_rows(const Layer& layer, std::size_t q_head, std::size_t begin, std::size_t end, std::size_t window) {
  Matrix rows;
  for (std::size_t t = end - window; t < end; ++t) {
    const Vector all = attention(layer, q_head, row_at(layer, t), positions_between(0, layer.n_tokens()));
    rows.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(begin), all.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return rows;
}

Matrix caote(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, bool exact, bool largest) {
  Matrix scores;
  for (std::size_t h = 0; h < layer.queries.size(); ++h) {
    const Matrix& values = layer.values[h / layer.group_size()];
    const Matrix rows = window_rows(layer, h, begin, end, window);
    Vector mean(values[0].size(), 0.0), score(end - begin, 0.0);
    for (std::size_t i = begin; i < end; ++i)
      for (std::size_t d = 0; d < mean.size(); ++d) mean[d] += values[i][d] / static_cast<double>(end - begin);
    for (std::size_t t = 0; t < window; ++t) {
      const Vector compared = exact ? full_output(layer, h, row_at(layer, end - window + t)) : mean;
      for (std::size_t i = 0; i < score.size(); ++i) {
        const double a = rows[t][i];
        const double change = a / std::max(1 - a, 1e-6) * norm(difference(values[begin + i], compared));
        score[i] = largest ? std::max(score[i], change) : score[i] + change;
      }
    }
    scores.push_back(score);
  }
  return scores;
}

Matrix lava(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, std::size_t kernel) {
  Matrix scores = truncated(observed_attention(layer, begin, end, window, true), end - begin - window);
  for (std::size_t h = 0; h < scores.size(); ++h) {
    double largest = 0;
    for (std::size_t i = begin; i < end - window; ++i)
      largest = std::max(largest, magnitude(layer.values[h / layer.group_size()][i]));
    scores[h] = max_pooled(scores[h], kernel);
    for (double& score : scores[h]) score *= largest;
  }
  return scores;
}

Matrix cake(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, double gamma,
            std::size_t kernel) {
  Matrix scores;
  const double w = static_cast<double>(window);
  for (std::size_t h = 0; h < layer.queries.size(); ++h) {
    const Matrix rows = window_rows(layer, h, begin, end, window);
    Vector score;
    for (std::size_t i = 0; i < end - begin - window; ++i) {
      double mean = 0, squares = 0;
      for (const Vector& row : rows) mean += row[i] / w;
      for (const Vector& row : rows) squares += (row[i] - mean) * (row[i] - mean);
      score.push_back(mean + gamma * squares / (w - 1));
    }
    scores.push_back(average_pooled(score, kernel));
  }
  return scores;
}

Matrix defensive(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, std::size_t kernel) {
  const std::size_t n = end - begin - window;
  Matrix scores(layer.keys.size(), Vector(n, 0.0));
  for (std::size_t h = 0; h < layer.queries.size(); ++h)
    for (const Vector& row : truncated(window_rows(layer, h, begin, end, window), n)) {
      const Vector pooled = average_pooled(row, kernel);
      Vector& worst = scores[h / layer.group_size()];
      for (std::size_t i = 0; i < n; ++i) worst[i] = std::max(worst[i], pooled[i] * sum(row) / sum(pooled));
    }
  for (Vector& row : scores) {
    const double mean = sum(row) / static_cast<double>(n);
    for (double& score : row) score = std::max(score, mean);
  }
  return scores;
}

Matrix r_kv(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, std::size_t kernel,
            double lambda, double threshold) {
  const std::size_t n = end - begin - window;
  Matrix scores;
  for (std::size_t g = 0; g < layer.keys.size(); ++g) {
    Vector mean(n, 0.0);
    for (std::size_t t = end - window; t < end; ++t) {
      Vector logits(n, -1e300);
      for (std::size_t h = g * layer.group_size(); h < (g + 1) * layer.group_size(); ++h)
        for (std::size_t i = 0; i < n; ++i) {
          double logit = layer.scale * dot(layer.queries[h][row_at(layer, t)], layer.keys[g][begin + i]);
          if (layer.softcap > 0) logit = layer.softcap * std::tanh(logit / layer.softcap);
          logits[i] = std::max(logits[i], logit);
        }
      const Vector row = softmax(logits);
      for (std::size_t i = 0; i < n; ++i) mean[i] += row[i] / static_cast<double>(window);
    }
    const Vector attention = max_pooled(mean, kernel), similar = redundancy(layer.keys[g], begin, end, threshold);
    Vector score;
    for (std::size_t i = 0; i < n; ++i) score.push_back(lambda * attention[i] - (1 - lambda) * similar[i]);
    scores.push_back(score);
  }
  return scores;
}

Matrix probed(const Layer& layer, std::size_t end, std::size_t sinks) {
  Matrix scores(layer.queries.size(), Vector(end, 0.0));
  for (std::size_t h = 0; h < scores.size(); ++h)
    for (const ProbeChunk& chunk : layer.probe_chunks) {
      const std::size_t g = h / layer.group_size(), n_sinks = std::min(sinks, chunk.first_token);
      for (std::size_t row = chunk.first_row; row < chunk.last_row; ++row) {
        Matrix keys(layer.keys[g].begin(), layer.keys[g].begin() + static_cast<std::ptrdiff_t>(n_sinks));
        for (std::size_t i = chunk.first_token; i < chunk.last_token; ++i) keys.push_back(layer.keys[g][i]);
        for (std::size_t r = chunk.first_row; r <= row; ++r) keys.push_back(layer.probe_keys[g][r]);
        Vector logits;
        for (const Vector& key : keys) logits.push_back(layer.scale * dot(layer.probe_queries[h][row], key));
        const Vector weights = softmax(logits);
        for (std::size_t i = chunk.first_token; i < chunk.last_token; ++i)
          scores[h][i] = std::max(scores[h][i], weights[n_sinks + i - chunk.first_token]);
      }
    }
  return scores;
}

}  // namespace reference
