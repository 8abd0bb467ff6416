#include <algorithm>
#include <cmath>

#include "core/allocator.h"

namespace kvreplay {
namespace {

// The tokens of one head that compete for pooled budget, best first.
using Sequence = std::vector<float>;

// Gives `total` places to the best scores over all heads; head h has given up its first `taken[h]` already.
// Equal scores at the cut: lower head first.
std::vector<std::size_t> pooled_counts(const std::vector<Sequence>& heads, const std::vector<std::size_t>& taken,
                                       std::size_t total) {
  std::vector<float> pool;
  for (std::size_t h = 0; h < heads.size(); ++h)
    pool.insert(pool.end(), heads[h].begin() + static_cast<std::ptrdiff_t>(std::min(taken[h], heads[h].size())),
                heads[h].end());
  std::vector<std::size_t> counts(heads.size(), 0);
  total = std::min(total, pool.size());
  if (total == 0) return counts;
  std::ranges::nth_element(pool, pool.begin() + static_cast<std::ptrdiff_t>(total - 1), std::greater{});
  const float cut = pool[total - 1];
  std::size_t given = 0;
  for (std::size_t h = 0; h < heads.size(); ++h) {
    const auto begin = heads[h].begin() + static_cast<std::ptrdiff_t>(std::min(taken[h], heads[h].size()));
    counts[h] = static_cast<std::size_t>(std::ranges::lower_bound(begin, heads[h].end(), cut, std::greater{}) - begin);
    given += counts[h];
  }
  for (std::size_t h = 0; h < heads.size(); ++h) {
    const auto begin = heads[h].begin() + static_cast<std::ptrdiff_t>(std::min(taken[h], heads[h].size()));
    const auto ties =
        static_cast<std::size_t>(std::ranges::upper_bound(begin, heads[h].end(), cut, std::greater{}) - begin) -
        counts[h];
    const std::size_t share = std::min(ties, total - given);
    counts[h] += share;
    given += share;
  }
  return counts;
}

// What competes in each head when the sinks and the `n_recent` newest tokens are protected.
std::vector<Sequence> competing(const Scores& scores, std::size_t n_recent) {
  const std::size_t n = scores.n_candidates();
  const std::size_t begin = std::min(scores.protection.sinks, n);
  const std::size_t end = std::max(begin, n - std::min(n, n_recent));
  std::vector<Sequence> heads(scores.n_heads());
  for (std::size_t h = 0; h < heads.size(); ++h) {
    const auto row = scores.head(h).subspan(begin, end - begin);
    heads[h].assign(row.begin(), row.end());
    std::ranges::sort(heads[h], std::greater{});
  }
  return heads;
}

HeadBudgets allocate_ada(const Scores& scores, std::span<const std::size_t> budgets, const Parameters& parameters) {
  const double alpha = parameters.real("alpha");
  const bool floor_safeguard = parameters.choice("safeguard") == "floor";
  const std::size_t n_heads = scores.n_heads(), n = scores.n_candidates();

  HeadBudgets counts;
  std::vector<Sequence> heads;
  std::size_t n_recent = 0;
  for (const std::size_t budget : budgets) {
    std::vector<std::size_t>& head_counts = counts.emplace_back(n_heads, n);
    // Rounding must not drop a token of a full cache; the authors' code does not compress then either.
    if (budget >= n) continue;
    const std::size_t n_recent_now =
        std::max(scores.protection.recent,
                 static_cast<std::size_t>(scores.protection.recent_share * static_cast<double>(budget)));
    if (heads.empty() || n_recent != n_recent_now) heads = competing(scores, n_recent = n_recent_now);
    // Protected tokens stand above every score; they are not pooled but counted.
    const std::size_t n_protected = std::min(budget, scores.protection.sinks + n_recent);
    if (floor_safeguard) {
      const std::size_t n_safe = static_cast<std::size_t>(static_cast<double>(budget) * alpha);
      const std::size_t base = std::max(n_safe, n_protected);
      const std::vector<std::size_t> taken(n_heads, base - n_protected);
      const std::vector<std::size_t> pooled = pooled_counts(heads, taken, (budget - base) * n_heads);
      for (std::size_t h = 0; h < n_heads; ++h) head_counts[h] = base + pooled[h];
    } else {
      const std::size_t shared = budget - n_protected;
      const std::vector<std::size_t> pooled =
          pooled_counts(heads, std::vector<std::size_t>(n_heads, 0), shared * n_heads);
      for (std::size_t h = 0; h < n_heads; ++h) {
        // As the authors' code does it: the floor is cut to whole tokens and the sum is rounded half to even, so that
        // the layer's total may be missed by a few.
        const double mixed =
            (1 - alpha) * static_cast<double>(pooled[h]) + std::floor(alpha * static_cast<double>(shared));
        head_counts[h] = std::min(n, n_protected + static_cast<std::size_t>(std::nearbyint(mixed)));
      }
    }
  }
  return counts;
}

const RegisterAllocator ada{{
    .name = "ada",
    .summary =
        "the heads of a layer share one budget: the best scores over all heads win, above a safeguard for each head",
    .formula = "pool the layer's scores, keep the top n_heads * b; floor: each head's top alpha * b are safe; interp: "
               "b_h = round((1 - alpha) pooled_h + floor(alpha b)) over the tokens that are not protected",
    .paper = "Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation, arXiv 2407.11550",
    .parameters = {.parameters = {{.name = "alpha",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.2",
                                   .help = "strength of the safeguard",
                                   .max = 1},
                                  {.name = "safeguard",
                                   .kind = ParameterKind::choice,
                                   .default_value = "floor",
                                   .help = "how a head is saved from starving",
                                   .choices = {"floor", "interp"}}},
                   .dialects = {{.name = "kvpress", .summary = "AdaKVPress: a floor of alpha * b"},
                                {.name = "original",
                                 .summary = "the authors' code: interpolation with the uniform budget",
                                 .defaults = {{"safeguard", "interp"}}}}},
    .allocate = allocate_ada,
}};

}  // namespace
}  // namespace kvreplay
