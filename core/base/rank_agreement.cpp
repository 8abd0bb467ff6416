#include "core/base/rank_agreement.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/base/rounding.h"

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Both lists without what either lacks.
struct Known {
  std::vector<double> a, b;

  Known(std::span<const double> all_a, std::span<const double> all_b) {
    for (std::size_t i = 0; i < all_a.size(); ++i) {
      if (std::isnan(all_a[i]) || std::isnan(all_b[i])) continue;
      a.push_back(all_a[i]);
      b.push_back(all_b[i]);
    }
  }
};

bool is_tie(double smaller, double larger) { return !(larger > smaller + rounding_margin(smaller, larger)); }

int sign(double difference) { return (difference > 0 ? 1 : 0) - (difference < 0 ? 1 : 0); }

}  // namespace

std::vector<double> average_ranks(std::span<const double> values) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isnan(values[i])) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](std::size_t x, std::size_t y) { return values[x] < values[y]; });
  std::vector<double> ranks(values.size(), kNone);
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    end = begin + 1;
    while (end < order.size() && is_tie(values[order[end - 1]], values[order[end]])) ++end;
    for (std::size_t i = begin; i < end; ++i) ranks[order[i]] = static_cast<double>(begin + 1 + end) / 2;
  }
  return ranks;
}

double spearman(std::span<const double> a, std::span<const double> b) {
  const Known known(a, b);
  const std::vector<double> ranks_a = average_ranks(known.a);
  const std::vector<double> ranks_b = average_ranks(known.b);
  const double mean = (static_cast<double>(known.a.size()) + 1) / 2;
  double covariance = 0, variance_a = 0, variance_b = 0;
  for (std::size_t i = 0; i < ranks_a.size(); ++i) {
    covariance += (ranks_a[i] - mean) * (ranks_b[i] - mean);
    variance_a += (ranks_a[i] - mean) * (ranks_a[i] - mean);
    variance_b += (ranks_b[i] - mean) * (ranks_b[i] - mean);
  }
  return covariance / std::sqrt(variance_a * variance_b);  // 0 / 0 where one ties everything
}

PairCounts count_pairs(std::span<const double> truth, std::span<const double> surrogate) {
  const Known known(truth, surrogate);
  const std::size_t n = known.a.size();
  std::int64_t balance = 0, both = 0, apart_a = 0, apart_b = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const int a = sign(known.a[i] - known.a[j]);
      const int b = sign(known.b[i] - known.b[j]);
      balance += a * b;
      both += a * a * b * b;
      apart_a += a * a;
      apart_b += b * b;
    }
  }
  return {.n_pairs = n * (n - (n > 0 ? 1 : 0)) / 2,
          .apart_in_truth = static_cast<std::size_t>(apart_a),
          .apart_in_surrogate = static_cast<std::size_t>(apart_b),
          .alike = static_cast<std::size_t>((both + balance) / 2),
          .reversed = static_cast<std::size_t>((both - balance) / 2)};
}

double PairCounts::kendall() const {
  if (apart_in_truth == 0) return kNone;
  if (apart_in_surrogate == 0) return 0;
  return (static_cast<double>(alike) - static_cast<double>(reversed)) /
         std::sqrt(static_cast<double>(apart_in_truth) * static_cast<double>(apart_in_surrogate));
}

double PairCounts::share_right() const {
  if (apart_in_truth == 0) return kNone;
  return 0.5 + (static_cast<double>(alike) - static_cast<double>(reversed)) / (2 * static_cast<double>(apart_in_truth));
}

}  // namespace kvreplay
