#include "tests/reference/reference.h"

#include <algorithm>
#include <cmath>

namespace reference {
// ---- attention

Positions positions_between(std::size_t begin, std::size_t end) {
  Positions positions;
  for (std::size_t i = begin; i < end; ++i) positions.push_back(i);
  return positions;
}

Positions retained_and_local(const Layer& layer, const Positions& retained, std::size_t compression_point) {
  Positions cache = retained;
  for (std::size_t i = compression_point; i < layer.n_tokens(); ++i) cache.push_back(i);
  return cache;
}

std::vector<std::size_t> evaluation_rows(const Layer& layer, std::size_t compression_point) {
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < layer.query_positions.size(); ++row)
    if (layer.query_positions[row] >= compression_point) rows.push_back(row);
  return rows;
}

Vector attention(const Layer& layer, std::size_t q_head, std::size_t row, const Positions& cache) {
  const std::size_t kv_head = q_head / layer.group_size(), t = layer.query_positions[row];
  Positions seen;
  for (const std::size_t i : cache)
    if (i <= t && (layer.sliding_window == 0 || i + layer.sliding_window > t)) seen.push_back(i);

  Vector logits;
  for (const std::size_t i : seen) {
    double logit = 0;
    for (std::size_t d = 0; d < layer.keys[kv_head][i].size(); ++d)
      logit += layer.queries[q_head][row][d] * layer.keys[kv_head][i][d];
    logit *= layer.scale;
    if (layer.softcap > 0) logit = layer.softcap * std::tanh(logit / layer.softcap);
    logits.push_back(logit);
  }
  const double largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const double logit : logits) total += std::exp(logit - largest);
  Vector weights(layer.n_tokens(), 0.0);
  for (std::size_t j = 0; j < seen.size(); ++j) weights[seen[j]] = std::exp(logits[j] - largest) / total;
  return weights;
}

Vector output(const Layer& layer, std::size_t q_head, std::size_t row, const Positions& cache) {
  const Matrix& values = layer.values[q_head / layer.group_size()];
  const Vector weights = attention(layer, q_head, row, cache);
  Vector out(values[0].size(), 0.0);
  for (std::size_t i = 0; i < weights.size(); ++i)
    for (std::size_t d = 0; d < out.size(); ++d) out[d] += weights[i] * values[i][d];
  return out;
}

Vector full_output(const Layer& layer, std::size_t q_head, std::size_t row) {
  return output(layer, q_head, row, positions_between(0, layer.n_tokens()));
}

double mass(const Layer& layer, std::size_t q_head, std::size_t row, const Positions& cache) {
  const Vector weights = attention(layer, q_head, row, positions_between(0, layer.n_tokens()));
  double sum = 0;
  for (const std::size_t i : cache) sum += weights[i];
  return sum;
}

Vector column_sums(const Layer& layer, std::size_t q_head, std::size_t begin, std::size_t end) {
  Vector sums(layer.n_tokens(), 0.0);
  for (std::size_t row = 0; row < layer.query_positions.size(); ++row) {
    if (layer.query_positions[row] < begin || layer.query_positions[row] >= end) continue;
    const Vector weights = attention(layer, q_head, row, positions_between(0, layer.n_tokens()));
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += weights[i];
  }
  return sums;
}

Vector difference(const Vector& a, const Vector& b) {
  Vector result;
  for (std::size_t d = 0; d < a.size(); ++d) result.push_back(a[d] - b[d]);
  return result;
}

double norm(const Vector& x) {
  double sum = 0;
  for (const double each : x) sum += each * each;
  return std::sqrt(sum);
}

Vector projected(const Matrix& projection, const Vector& x) {
  Vector result(projection[0].size(), 0.0);
  for (std::size_t d = 0; d < x.size(); ++d)
    for (std::size_t c = 0; c < result.size(); ++c) result[c] += projection[d][c] * x[d];
  return result;
}

// ---- metrics

Sums output_error(const Layer& layer, std::size_t q_head, std::size_t compression_point, const Positions& retained) {
  const Positions cache = retained_and_local(layer, retained, compression_point);
  Sums sums;
  for (const std::size_t row : evaluation_rows(layer, compression_point)) {
    const Vector full = full_output(layer, q_head, row);
    const double error = norm(difference(output(layer, q_head, row, cache), full));
    sums.numerator += error * error;
    sums.denominator += norm(full) * norm(full);
  }
  return sums;
}

Sums mean_output_error(const Layer& layer, std::size_t q_head, std::size_t compression_point,
                       const Positions& retained) {
  const Positions cache = retained_and_local(layer, retained, compression_point);
  Sums sums;
  for (const std::size_t row : evaluation_rows(layer, compression_point)) {
    const Vector full = full_output(layer, q_head, row);
    sums.numerator += norm(difference(output(layer, q_head, row, cache), full)) / norm(full);
    sums.denominator += 1;
  }
  return sums;
}

Sums cosine_distance(const Layer& layer, std::size_t q_head, std::size_t compression_point, const Positions& retained) {
  const Positions cache = retained_and_local(layer, retained, compression_point);
  Sums sums;
  for (const std::size_t row : evaluation_rows(layer, compression_point)) {
    const Vector full = full_output(layer, q_head, row), kept = output(layer, q_head, row, cache);
    double product = 0;
    for (std::size_t d = 0; d < full.size(); ++d) product += full[d] * kept[d];
    sums.numerator += 1 - product / (norm(full) * norm(kept));
    sums.denominator += 1;
  }
  return sums;
}

Sums attention_recall(const Layer& layer, std::size_t q_head, std::size_t compression_point,
                      const Positions& retained) {
  const Positions cache = retained_and_local(layer, retained, compression_point);
  Sums sums;
  for (const std::size_t row : evaluation_rows(layer, compression_point)) {
    sums.numerator += mass(layer, q_head, row, cache);
    sums.denominator += 1;
  }
  return sums;
}

Sums head_projected_error(const Layer& layer, std::size_t q_head, std::size_t compression_point,
                          const Positions& retained) {
  const Positions cache = retained_and_local(layer, retained, compression_point);
  const Matrix& projection = layer.output_projection[q_head];
  Sums sums;
  for (const std::size_t row : evaluation_rows(layer, compression_point)) {
    const Vector full = full_output(layer, q_head, row);
    const double error = norm(projected(projection, difference(output(layer, q_head, row, cache), full)));
    sums.numerator += error * error;
    sums.denominator += std::pow(norm(projected(projection, full)), 2);
  }
  return sums;
}

Sums projected_error(const Layer& layer, std::size_t compression_point, const std::vector<Positions>& retained) {
  Sums sums;
  for (const std::size_t row : evaluation_rows(layer, compression_point)) {
    Vector error(layer.output_projection[0][0].size(), 0.0), full(error);
    for (std::size_t h = 0; h < layer.queries.size(); ++h) {
      const Vector head_full = full_output(layer, h, row);
      const Vector head_replayed = output(layer, h, row, retained_and_local(layer, retained[h], compression_point));
      const Vector from_head = projected(layer.output_projection[h], difference(head_replayed, head_full));
      const Vector full_from_head = projected(layer.output_projection[h], head_full);
      for (std::size_t c = 0; c < full.size(); ++c) error[c] += from_head[c], full[c] += full_from_head[c];
    }
    sums.numerator += norm(error) * norm(error);
    sums.denominator += norm(full) * norm(full);
  }
  return sums;
}

}  // namespace reference
