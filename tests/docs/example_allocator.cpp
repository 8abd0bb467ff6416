#include <algorithm>
#include <numeric>
#include <vector>

#include "core/contracts/allocator.h"
#include "policies/shared/layer_split.h"

namespace kvreplay {
namespace {

HeadBudgets split_by_largest_norm(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                                  const Parameters&) {
  const std::size_t heads_per_kv = scores.n_heads() / view.model().n_kv_heads;
  std::vector<double> weights;
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    double largest = 0;
    for (std::size_t i = 0; i < view.n_candidates(); ++i) {
      const std::span<const float> value = view.values(h / heads_per_kv).row(i);
      largest = std::max(largest, std::inner_product(value.begin(), value.end(), value.begin(), 0.0));
    }
    weights.push_back(largest);
  }
  HeadBudgets counts;
  for (const Budget& budget : budgets) {
    // What a head keeps whatever its budget is given first.
    const std::size_t guarded = std::min(budget.tokens, scores.protection.at(budget.tokens).total());
    const std::vector<std::size_t> caps(scores.n_heads(), scores.n_candidates() - guarded);
    std::vector<std::size_t> tokens = split_in_proportion(weights, (budget.tokens - guarded) * scores.n_heads(), caps);
    for (std::size_t& each : tokens) each += guarded;
    counts.tokens.push_back(std::move(tokens));
  }
  return counts;
}

const RegisterAllocator largest_value{{
    .name = "largest-value",
    .summary = "heads whose largest value is large get more",
    .formula = "b_h in proportion to max_i ||v_i||^2 of the head, above what it protects",
    .paper = "",
    .allocate = split_by_largest_norm,
}};

}  // namespace
}  // namespace kvreplay
