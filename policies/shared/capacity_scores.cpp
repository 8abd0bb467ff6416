#include "policies/shared/capacity_scores.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/linear_algebra.h"
#include "core/evidence/capacity_set.h"

namespace kvreplay {
namespace {

// u_i^T A^-1 u_i of the candidates behind the sinks.
std::vector<double> leverages_of(const PromptView& view, std::size_t q_head, std::size_t sinks,
                                 const CapacityTerms& terms) {
  const ConstMatrixView all =
      terms.vectors.empty() ? view.values(q_head / view.model().group_size()) : terms.vectors.matrix(0);
  const ConstMatrixView vectors = all.rows_between(sinks, view.n_candidates());
  std::vector<double> leverages = leverage(view.backend().gram(vectors, terms.weights), 1.0, vectors);
  if (leverages.empty())
    throw UnfitError(fmt::format("query head {}: the capacity matrix is not positive definite", q_head));
  return leverages;
}

}  // namespace

Scores capacity_scores(const PromptView& view, std::size_t sinks,
                       const std::function<CapacityTerms(std::size_t q_head)>& terms_of) {
  const std::size_t n = view.n_candidates(), group_size = view.model().group_size();
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, n);
  std::ranges::fill(scores.values.values(), 0.0f);
  scores.protection.sinks = sinks;
  if (sinks >= n) return scores;
  for (std::size_t g = 0; g < scores.n_heads(); ++g) {
    std::vector<double> sum(n - sinks, 0.0);
    for (std::size_t h = g * group_size; h < (g + 1) * group_size; ++h) {
      const CapacityTerms terms = terms_of(h);
      const std::vector<double> leverages = leverages_of(view, h, sinks, terms);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += terms.relevance[i] * leverages[i];
    }
    for (std::size_t i = 0; i < sum.size(); ++i)
      scores.head(g)[sinks + i] = static_cast<float>(sum[i] / static_cast<double>(group_size));
  }
  return scores;
}

Scores capacity_losses(const PromptView& view, std::size_t sinks,
                       const std::function<CapacityTerms(std::size_t q_head)>& terms_of) {
  const std::size_t n = view.n_candidates();
  Scores losses = Scores::for_heads(HeadAxis::query, view.model().n_q_heads, n);
  std::ranges::fill(losses.values.values(), 0.0f);
  losses.protection.sinks = sinks;
  if (sinks >= n) return losses;
  for (std::size_t h = 0; h < losses.n_heads(); ++h) {
    const CapacityTerms terms = terms_of(h);
    const std::vector<double> leverages = leverages_of(view, h, sinks, terms);
    for (std::size_t i = 0; i < leverages.size(); ++i)
      losses.head(h)[sinks + i] = static_cast<float>(capacity_loss(terms.weights[i] * leverages[i]));
  }
  return losses;
}

}  // namespace kvreplay
