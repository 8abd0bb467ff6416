#include <algorithm>

#include "core/modifier.h"
#include "core/value_norms.h"
#include "policies/observation_window.h"

namespace kvreplay {
namespace {

// One head: the tokens that its first stage keeps, then the best of the rest by value-weighted scores.
std::vector<std::uint32_t> two_stages(std::span<const float> scores, std::span<const float> norms,
                                      const Protection& protection, std::size_t budget, std::size_t n_first,
                                      double epsilon) {
  const std::size_t n_protected = protection.at(budget).total();
  const std::vector<std::uint32_t> ranking = rank(scores, protection);
  n_first = std::min(budget, std::max(n_first, n_protected));
  std::vector<std::uint32_t> kept(ranking.begin(), ranking.begin() + static_cast<std::ptrdiff_t>(n_first));
  const std::vector<std::uint32_t> others(ranking.begin() + static_cast<std::ptrdiff_t>(n_first), ranking.end());
  std::vector<std::uint32_t> by_position = others;
  std::ranges::sort(by_position);  // equal scores: lower position first
  std::vector<float> weighted;
  for (const std::uint32_t i : by_position) weighted.push_back((scores[i] + static_cast<float>(epsilon)) * norms[i]);
  const std::vector<std::uint32_t> order = order_by_score(weighted);
  for (std::size_t k = 0; k < budget - n_first; ++k) kept.push_back(by_position[order[k]]);
  return kept;
}

RetainedSets choose_critical(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                             const HeadBudgets& counts, const Parameters& parameters) {
  const double first = parameters.real("first"), epsilon = parameters.real("epsilon");
  const Tensor& per_query_head = projected_value_norms(view, Norm::l1);
  const Tensor norms = reduce_group(per_query_head, per_query_head.rows() / scores.n_heads(), GroupReduction::mean);
  RetainedSets sets(budgets.size());
  for (std::size_t b = 0; b < budgets.size(); ++b)
    for (std::size_t h = 0; h < scores.n_heads(); ++h) {
      const std::size_t budget = counts.tokens[b][h];
      std::size_t n_first = static_cast<std::size_t>(static_cast<double>(budget) * first);
      if (first > 0) n_first = std::max<std::size_t>(1, n_first);
      if (!counts.secured.empty()) n_first = std::max(n_first, counts.secured[b]);
      sets[b].push_back(
          two_stages(scores.head(h), norms.matrix(0).row(h), scores.protection, budget, n_first, epsilon));
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
    .needs = "W_O",
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
    .needs_output_projection = [](const Parameters&) { return true; },
}};

}  // namespace
}  // namespace kvreplay
