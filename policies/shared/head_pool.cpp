#include "policies/shared/head_pool.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace kvreplay {

std::vector<std::size_t> pooled_counts(const std::vector<Sequence>& heads, const std::vector<std::size_t>& taken,
                                       std::size_t total) {
  std::vector<std::span<const float>> rest;
  std::vector<float> pool;
  for (std::size_t h = 0; h < heads.size(); ++h) {
    rest.push_back(std::span(heads[h]).subspan(std::min(taken[h], heads[h].size())));
    pool.insert(pool.end(), rest[h].begin(), rest[h].end());
  }
  std::vector<std::size_t> counts(heads.size(), 0);
  total = std::min(total, pool.size());
  if (total == 0) return counts;
  std::ranges::nth_element(pool, pool.begin() + static_cast<std::ptrdiff_t>(total - 1), std::greater{});
  const float cut = pool[total - 1];
  std::size_t given = 0;
  for (std::size_t h = 0; h < heads.size(); ++h) {
    counts[h] = static_cast<std::size_t>(std::ranges::lower_bound(rest[h], cut, std::greater{}) - rest[h].begin());
    given += counts[h];
  }
  for (std::size_t h = 0; h < heads.size(); ++h) {
    const auto end = std::ranges::upper_bound(rest[h], cut, std::greater{});
    const std::size_t ties = static_cast<std::size_t>(end - rest[h].begin()) - counts[h];
    const std::size_t part = std::min(ties, total - given);
    counts[h] += part;
    given += part;
  }
  return counts;
}

std::vector<Sequence> competing(const Scores& scores, Protection::Counts guarded) {
  const std::size_t n = scores.n_candidates();
  const std::size_t begin = std::min(guarded.first, n);
  const std::size_t end = std::max(begin, n - std::min(n, guarded.recent));
  std::vector<Sequence> heads(scores.n_heads());
  for (std::size_t h = 0; h < heads.size(); ++h) {
    const auto row = scores.head(h).subspan(begin, end - begin);
    heads[h].assign(row.begin(), row.end());
    sort_falling(heads[h]);
  }
  return heads;
}

namespace {

// Calls `split(budget, n_protected, heads)` for each budget that evicts; sorts again only where what is protected
// depends on the budget.
template <typename Split>
HeadBudgets pool_each(const Scores& scores, std::span<const Budget> budgets, Split split) {
  HeadBudgets counts;
  std::vector<Sequence> heads;
  Protection::Counts sorted_for;
  for (const Budget& budget : budgets) {
    // Rounding must not drop a token of a full cache; the authors' code does not compress then either.
    if (budget.tokens >= scores.n_candidates()) {
      counts.tokens.emplace_back(scores.n_heads(), scores.n_candidates());
      counts.secured.push_back(0);
      continue;
    }
    const Protection::Counts guarded = scores.protection.at(budget.tokens);
    if (heads.empty() || guarded.first != sorted_for.first || guarded.recent != sorted_for.recent)
      heads = competing(scores, sorted_for = guarded);
    split(budget.tokens, guarded.total(), heads, counts);
  }
  return counts;
}

}  // namespace

HeadBudgets pool_above_floor(const Scores& scores, std::span<const Budget> budgets, double alpha) {
  const std::size_t n_heads = scores.n_heads();
  return pool_each(
      scores, budgets, [&](std::size_t budget, std::size_t n_protected, const auto& heads, HeadBudgets& counts) {
        std::size_t n_safe = static_cast<std::size_t>(static_cast<double>(budget) * alpha);
        if (alpha > 0 && budget > 0) n_safe = std::max<std::size_t>(1, n_safe);  // as kvpress does
        const std::size_t base = std::max(n_safe, n_protected);
        std::vector<std::size_t> tokens =
            pooled_counts(heads, std::vector<std::size_t>(n_heads, base - n_protected), (budget - base) * n_heads);
        for (std::size_t& each : tokens) each += base;
        counts.tokens.push_back(std::move(tokens));
        counts.secured.push_back(n_safe);
      });
}

HeadBudgets pool_interpolated(const Scores& scores, std::span<const Budget> budgets, double alpha) {
  const std::size_t n_heads = scores.n_heads(), n = scores.n_candidates();
  return pool_each(
      scores, budgets, [&](std::size_t budget, std::size_t n_protected, const auto& heads, HeadBudgets& counts) {
        const std::size_t pooled = budget - n_protected;
        std::vector<std::size_t> tokens = pooled_counts(heads, std::vector<std::size_t>(n_heads, 0), pooled * n_heads);
        for (std::size_t& each : tokens) {
          // The floor is cut to whole tokens and the sum is rounded half to even, so that the layer's
          // total may be missed by a few.
          const double mixed =
              (1 - alpha) * static_cast<double>(each) + std::floor(alpha * static_cast<double>(pooled));
          each = std::min(n, n_protected + static_cast<std::size_t>(std::nearbyint(mixed)));
        }
        counts.tokens.push_back(std::move(tokens));
        counts.secured.push_back(0);
      });
}

LayerSurvey survey_pool(const Scores& scores, std::span<const Budget> budgets) {
  LayerSurvey survey;
  Protection::Counts guarded;
  for (const Budget& budget : budgets) {
    const Protection::Counts now = scores.protection.at(budget.tokens);
    survey.n_protected.push_back(now.total());
    const bool same = !survey.scores.empty() && now.first == guarded.first && now.recent == guarded.recent;
    survey.scores_of.push_back(same ? survey.scores.size() - 1 : survey.scores.size());
    if (!same) survey.scores.push_back(competing(scores, guarded = now));
  }
  return survey;
}

namespace {

// Tokens kept in all heads of all layers.
std::size_t total_of(std::span<const LayerSurvey> layers, std::size_t b) {
  std::size_t all = 0, kept = 0;
  for (const LayerSurvey& layer : layers) {
    all += layer.n_heads * layer.n_candidates;
    kept += layer.n_heads * layer.budgets[b].tokens;
  }
  const Budget& budget = layers.front().budgets[b];
  if (budget.kind != BudgetKind::compression_ratio) return kept;
  // kvpress rounds here what is removed from the whole cache, not what a head keeps.
  return all - static_cast<std::size_t>(static_cast<double>(all) * budget.removed);
}

}  // namespace

std::vector<HeadBudgets> pool_layers(std::span<const LayerSurvey> layers, double alpha) {
  std::vector<HeadBudgets> split(layers.size());
  for (std::size_t b = 0; b < layers.front().budgets.size(); ++b) {
    std::vector<Sequence> heads;
    std::vector<std::size_t> taken;
    std::size_t total = total_of(layers, b);
    for (const LayerSurvey& layer : layers) {
      const std::size_t n_safe = static_cast<std::size_t>(static_cast<double>(layer.budgets[b].tokens) * alpha);
      for (const std::vector<float>& head : layer.scores[layer.scores_of[b]]) {
        heads.push_back(head);
        taken.push_back(n_safe - std::min(n_safe, layer.n_protected[b]));
        total -= std::min(total, layer.n_protected[b] + taken.back());
      }
    }
    const std::vector<std::size_t> pooled = pooled_counts(heads, taken, total);
    for (std::size_t l = 0, head = 0; l < layers.size(); ++l) {
      std::vector<std::size_t>& tokens = split[l].tokens.emplace_back();
      for (std::size_t h = 0; h < layers[l].n_heads; ++h, ++head)
        tokens.push_back(layers[l].n_protected[b] + taken[head] + pooled[head]);
    }
  }
  return split;
}

}  // namespace kvreplay
