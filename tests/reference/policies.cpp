#include "tests/reference/policies.h"

#include <algorithm>
#include <cmath>

namespace reference {
namespace {

Positions members(const std::vector<bool>& kept) {
  Positions positions;
  for (std::size_t i = 0; i < kept.size(); ++i)
    if (kept[i]) positions.push_back(i);
  return positions;
}

}  // namespace

// ---- scores

Matrix observed_attention(const Layer& layer, std::size_t begin, std::size_t end, std::size_t window, bool mean) {
  Matrix scores;
  for (std::size_t h = 0; h < layer.queries.size(); ++h) {
    const Vector sums = column_sums(layer, h, end - window, end);
    Vector row;
    for (std::size_t i = begin; i < end; ++i) {
      std::size_t n_seeing = 0;
      for (std::size_t t = end - window; t < end; ++t)
        if (t >= i && (layer.sliding_window == 0 || i + layer.sliding_window > t)) ++n_seeing;
      row.push_back(mean ? sums[i] / static_cast<double>(n_seeing) : sums[i]);
    }
    scores.push_back(row);
  }
  return scores;
}

Vector average_pooled(const Vector& scores, std::size_t kernel) {
  Vector pooled;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < scores.size(); ++j)
      if (j + kernel / 2 >= i && j <= i + kernel / 2) sum += scores[j];
    pooled.push_back(sum / static_cast<double>(kernel));
  }
  return pooled;
}

Vector max_pooled(const Vector& scores, std::size_t kernel) {
  Vector pooled;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    double largest = scores[i];
    for (std::size_t j = 0; j < scores.size(); ++j)
      if (j + kernel / 2 >= i && j <= i + kernel / 2) largest = std::max(largest, scores[j]);
    pooled.push_back(largest);
  }
  return pooled;
}

Matrix group_mean(const Matrix& rows, std::size_t group_size) {
  Matrix means = group_sum(rows, group_size);
  for (Vector& row : means)
    for (double& x : row) x /= static_cast<double>(group_size);
  return means;
}

Matrix group_max(const Matrix& rows, std::size_t group_size) {
  Matrix result;
  for (std::size_t h = 0; h < rows.size(); ++h) {
    if (h % group_size == 0) result.push_back(rows[h]);
    for (std::size_t i = 0; i < rows[h].size(); ++i) result.back()[i] = std::max(result.back()[i], rows[h][i]);
  }
  return result;
}

Matrix group_sum(const Matrix& rows, std::size_t group_size) {
  Matrix result;
  for (std::size_t h = 0; h < rows.size(); ++h) {
    if (h % group_size == 0) result.push_back(Vector(rows[h].size(), 0.0));
    for (std::size_t i = 0; i < rows[h].size(); ++i) result.back()[i] += rows[h][i];
  }
  return result;
}

Matrix knorm(const Layer& layer, std::size_t begin, std::size_t end) {
  Matrix scores;
  for (const Matrix& keys : layer.keys) {
    Vector row;
    for (std::size_t i = begin; i < end; ++i) row.push_back(-norm(keys[i]));
    scores.push_back(row);
  }
  return scores;
}

Matrix keydiff(const Layer& layer, std::size_t begin, std::size_t end) {
  Matrix scores;
  for (const Matrix& keys : layer.keys) {
    Vector anchor(keys[0].size(), 0.0);
    for (std::size_t i = begin; i < end; ++i)
      for (std::size_t d = 0; d < anchor.size(); ++d) anchor[d] += keys[i][d] / norm(keys[i]);
    Vector row;
    for (std::size_t i = begin; i < end; ++i) {
      double dot = 0;
      for (std::size_t d = 0; d < anchor.size(); ++d) dot += keys[i][d] * anchor[d];
      row.push_back(-dot / (norm(keys[i]) * norm(anchor)));
    }
    scores.push_back(row);
  }
  return scores;
}

Matrix truncated(const Matrix& rows, std::size_t n) {
  Matrix result;
  for (const Vector& row : rows) result.push_back(Vector(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(n)));
  return result;
}

// ---- retained sets

Positions top(const Vector& scores, std::size_t k) { return top_protected(scores, 0, 0, k); }

Positions top_protected(const Vector& scores, std::size_t sinks, std::size_t recent, std::size_t k) {
  const std::size_t n = scores.size();
  std::vector<bool> kept(n, false);
  std::size_t n_kept = 0;
  const auto keep = [&](std::size_t i) {
    if (n_kept == k || kept[i]) return;
    kept[i] = true;
    ++n_kept;
  };
  for (std::size_t i = 0; i < n && i < sinks; ++i) keep(i);
  for (std::size_t back = 1; back <= n && back <= recent; ++back) keep(n - back);
  while (n_kept < k) {
    std::size_t best = n;
    for (std::size_t i = 0; i < n; ++i)
      if (!kept[i] && (best == n || scores[i] > scores[best])) best = i;
    keep(best);
  }
  return members(kept);
}

Positions heavy_hitters(const Vector& scores, double share, std::size_t k) {
  return top_protected(scores, 0, static_cast<std::size_t>(std::floor(share * static_cast<double>(k))), k);
}

std::vector<Positions> ada_floor(const Matrix& scores, std::size_t sinks, std::size_t recent, double alpha,
                                 std::size_t k) {
  const std::size_t n = scores[0].size(), n_heads = scores.size();
  const std::size_t n_protected = std::min(n, sinks + recent);
  std::size_t n_safe = static_cast<std::size_t>(std::floor(alpha * static_cast<double>(k)));
  if (alpha > 0 && k > 0) n_safe = std::max<std::size_t>(n_safe, 1);
  std::vector<std::vector<bool>> kept(n_heads, std::vector<bool>(n, false));
  std::size_t n_kept = 0;
  for (std::size_t h = 0; h < n_heads; ++h)
    for (const std::size_t i : top_protected(scores[h], sinks, recent, std::min(k, std::max(n_safe, n_protected)))) {
      kept[h][i] = true;
      ++n_kept;
    }
  for (; n_kept < n_heads * k; ++n_kept) {
    std::size_t head = n_heads, best = n;
    for (std::size_t h = 0; h < n_heads; ++h)
      for (std::size_t i = 0; i < n; ++i)
        if (!kept[h][i] && (head == n_heads || scores[h][i] > scores[head][best])) head = h, best = i;
    kept[head][best] = true;
  }
  std::vector<Positions> sets;
  for (const auto& each : kept) sets.push_back(members(each));
  return sets;
}

std::vector<std::size_t> ada_interp(const Matrix& scores, std::size_t sinks, std::size_t recent, double alpha,
                                    std::size_t k) {
  if (k == scores[0].size()) return std::vector<std::size_t>(scores.size(), k);
  const std::size_t n_protected = std::min({k, scores[0].size(), sinks + recent});
  const double c = static_cast<double>(k - n_protected);
  std::vector<std::size_t> counts;
  for (const Positions& kept : ada_floor(scores, sinks, recent, 0, k)) {
    const double pooled = static_cast<double>(kept.size() - n_protected);
    const double exact = (1 - alpha) * pooled + std::floor(alpha * c);
    double rounded = std::floor(exact);
    const double rest = exact - rounded;
    if (rest > 0.5 || (rest == 0.5 && std::fmod(rounded, 2) == 1)) rounded += 1;
    counts.push_back(n_protected + static_cast<std::size_t>(rounded));
  }
  return counts;
}

}  // namespace reference
