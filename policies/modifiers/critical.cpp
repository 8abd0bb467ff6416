#include <algorithm>

#include "core/contracts/modifier.h"
#include "core/evidence/value_norms.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

// One head: the first tokens of its ranking, then the best of the rest by value-weighted scores. What is protected
// stays before all others also where the first stage has no room for it, as kvpress's padded scores do.
std::vector<std::uint32_t> two_stages(std::span<const std::uint32_t> ranking, std::span<const float> weighted,
                                      Protection::Counts guarded, std::size_t budget, std::size_t n_first) {
  std::vector<std::uint32_t> kept(ranking.begin(), ranking.begin() + static_cast<std::ptrdiff_t>(n_first));
  if (n_first == budget) return kept;
  std::vector<std::uint32_t> others(ranking.begin() + static_cast<std::ptrdiff_t>(n_first), ranking.end());
  const auto is_protected = [&](std::uint32_t i) { return i < guarded.first || i + guarded.recent >= ranking.size(); };
  // Equal scores: lower position first.
  const auto better = [&](std::uint32_t a, std::uint32_t b) {
    if (is_protected(a) != is_protected(b)) return is_protected(a);
    return weighted[a] != weighted[b] ? weighted[a] > weighted[b] : a < b;
  };
  const auto end = others.begin() + static_cast<std::ptrdiff_t>(budget - n_first);
  if (end != others.end()) std::nth_element(others.begin(), end, others.end(), better);
  kept.insert(kept.end(), others.begin(), end);
  return kept;
}

RetainedSets choose_critical(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                             const HeadBudgets& counts, const Parameters& parameters) {
  const double first = parameters.real("first");
  const float epsilon = static_cast<float>(parameters.real("epsilon"));
  const Tensor& per_query_head = projected_value_norms(view, Norm::l1);
  const Tensor norms = reduce_group(per_query_head, per_query_head.rows() / scores.n_heads(), GroupReduction::mean);
  RetainedSets sets(budgets.size());
  std::vector<float> weighted(scores.n_candidates());
  const Protection::Counts guarded{scores.protection.sinks, scores.protection.recent};
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const std::vector<std::uint32_t> ranking = rank(scores.head(h), scores.protection);
    for (std::size_t i = 0; i < weighted.size(); ++i)
      weighted[i] = (scores.head(h)[i] + epsilon) * norms.matrix(0)(h, i);
    for (std::size_t b = 0; b < budgets.size(); ++b) {
      const std::size_t budget = counts.tokens[b][h];
      std::size_t n_first = static_cast<std::size_t>(static_cast<double>(budget) * first);
      if (first > 0) n_first = std::max<std::size_t>(1, n_first);
      if (!counts.secured.empty()) n_first = std::max(n_first, counts.secured[b]);
      sets[b].push_back(two_stages(ranking, weighted, guarded, budget, std::min(budget, n_first)));
    }
  }
  return sets;
}

const RegisterModifier critical{{
    .name = "critical",
    .summary = "one part of every budget by the plain score, the rest by the score times the value's weight in the "
               "output",
    .formula = "the best int(first * b) tokens by s_i are kept, the others compete by (s_i + epsilon) * mean over the "
               "group of ||W_O^T v_i||_1; heads share budgets by the plain score",
    .paper = "CriticalKV: Identify Critical KV Cache in LLM Inference from an Output Perturbation Perspective, arXiv "
             "2502.03805",
    .needs = {need::output_projection()},
    .parameters = {.parameters = {{.name = "first",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.5",
                                   .help = "part of the budget that goes by the plain score",
                                   .max = 1},
                                  {.name = "epsilon",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.0001",
                                   .help = "added to scores in the second stage"}}},
    .choose = choose_critical,
}};

}  // namespace
}  // namespace kvreplay
