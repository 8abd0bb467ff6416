#include "core/contracts/scores.h"

#include <fmt/format.h>
#include <hwy/contrib/sort/vqsort.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/base/error.h"

namespace kvreplay {
namespace {

// Integers in the order of the numbers. A negative number falls with its bits.
std::uint32_t rising_key(float number) {
  const auto bits = std::bit_cast<std::uint32_t>(number);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

float number_of(std::uint32_t rising_key) {
  return std::bit_cast<float>(rising_key >> 31 ? rising_key & 0x7fffffffu : ~rising_key);
}

}  // namespace

Scores copy_of(const Scores& scores) {
  Scores copy = Scores::for_heads(scores.axis, scores.n_heads(), scores.n_candidates());
  std::ranges::copy(scores.values.values(), copy.values.values().begin());
  copy.protection = scores.protection;
  return copy;
}

void refuse_nan(const Scores& scores) {
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t i = 0; i < scores.n_candidates(); ++i)
      if (std::isnan(scores.head(h)[i])) throw UnfitError(fmt::format("the score of token {} is NaN", i));
}

std::vector<std::uint32_t> order_by_score(std::span<const float> scores) {
  // One integer per token, ascending: the score, falling, in the upper half, the position in the lower.
  std::vector<std::uint64_t> keys(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) throw UnfitError(fmt::format("the score of token {} is NaN", i));
    const std::uint32_t falling = ~rising_key(scores[i] + 0.0f);  // -0 and 0 are equal
    keys[i] = std::uint64_t{falling} << 32 | i;
  }
  hwy::Sorter()(keys.data(), keys.size(), hwy::SortAscending());
  std::vector<std::uint32_t> order(scores.size());
  std::ranges::transform(keys, order.begin(), [](std::uint64_t key) { return static_cast<std::uint32_t>(key); });
  return order;
}

void sort_falling(std::span<float> numbers) {
  // As integers: Highway's sort of floats makes the lowest finite number of -infinity.
  std::vector<std::uint32_t> keys(numbers.size());
  std::ranges::transform(numbers, keys.begin(), rising_key);
  hwy::Sorter()(keys.data(), keys.size(), hwy::SortDescending());
  std::ranges::transform(keys, numbers.begin(), number_of);
}

Protection::Counts Protection::at(std::size_t budget) const {
  const auto share = [&](double of) { return static_cast<std::size_t>(of * static_cast<double>(budget)); };
  const std::size_t n_first = std::min(budget, std::max(sinks, share(first_share)));
  return {n_first, std::min(budget - n_first, std::max(recent, share(recent_share)))};
}

std::vector<std::uint32_t> rank(std::span<const float> scores, const Protection& protection) {
  const std::size_t n = scores.size();
  std::vector<std::uint32_t> ranking;
  ranking.reserve(n);
  std::vector<bool> taken(n, false);
  const auto take = [&](std::size_t i) {
    if (taken[i]) return false;
    taken[i] = true;
    ranking.push_back(static_cast<std::uint32_t>(i));
    return true;
  };
  for (std::size_t i = 0; i < std::min(protection.sinks, n); ++i) take(i);
  for (std::size_t back = 0; back < std::min(protection.recent, n); ++back) take(n - 1 - back);

  const std::vector<std::uint32_t> order = order_by_score(scores);
  if (protection.recent_share <= 0 && protection.first_share <= 0) {
    for (const std::uint32_t i : order) take(i);
    return ranking;
  }

  // The set of size k holds floor(share * k) newest (first) tokens and the best of the others. From k to k + 1 exactly
  // one token enters: the next first or newest one when its share has grown, else (or if that one is in as a heavy
  // hitter) the best one still out. So the sets are nested and this walk finds the order.
  std::size_t n_first = 0, n_recent = 0, next_best = 0;
  while (ranking.size() < n) {
    const double size = static_cast<double>(ranking.size() + 1);
    if (n_first < static_cast<std::size_t>(protection.first_share * size) && take(n_first++)) continue;
    if (n_recent < static_cast<std::size_t>(protection.recent_share * size) && take(n - 1 - n_recent++)) continue;
    while (taken[order[next_best]]) ++next_best;
    take(order[next_best]);
  }
  return ranking;
}

}  // namespace kvreplay
