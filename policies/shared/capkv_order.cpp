#include "policies/shared/capkv_order.h"

#include <algorithm>

#include "core/evidence/capacity_set.h"
#include "policies/shared/lazy_order.h"

namespace kvreplay {
namespace {

// The order in which the candidates behind the sinks are added to one KV head's set, or removed from it.
std::vector<std::uint32_t> order_of(const PromptView& view, const Parameters& parameters, std::size_t kv_head,
                                    bool forward) {
  const std::size_t n = view.n_candidates(), sinks = parameters.count("sinks"), group = view.model().group_size();
  std::vector<CapacityTerms> terms;
  std::vector<CapacitySet> sets;
  for (std::size_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    terms.push_back(capkv_terms(view, parameters, h));
    const Tensor& own = terms.back().vectors;
    const ConstMatrixView vectors = own.empty() ? view.values(kv_head) : own.matrix(0);
    sets.emplace_back(vectors.rows_between(sinks, n), terms.back().weights, !forward);
  }
  // Submodular: the more a set holds, the less a token adds. So gains only fall as others are added, and losses only
  // grow as others are removed.
  const auto cost = [&](std::size_t i) {
    double sum = 0;
    for (const CapacitySet& set : sets) sum += forward ? -set.gain(i) : set.loss(i);
    return sum / static_cast<double>(group);
  };
  const auto take = [&](std::size_t i) {
    for (CapacitySet& set : sets) forward ? set.add(i) : set.remove(i);
  };
  // Of equal tokens the lower position is kept: added first, removed last.
  return lazy_order(n - sinks, cost, take, forward);
}

}  // namespace

AddedCost capkv_order_cost(const UnitDimensions& unit, const Parameters&) {
  const double n = static_cast<double>(unit.n_candidates), dim = static_cast<double>(unit.value_dim);
  const double group = static_cast<double>(unit.n_q_heads / unit.n_kv_heads);
  constexpr double kLooks = 8;  // at a token before it is taken, by the lazy order
  return {.flops = static_cast<double>(unit.n_q_heads) * n * (kLooks + 1) * 4 * dim * dim,
          .bytes = group * n * (dim * sizeof(float) + 3 * sizeof(double))};
}

Scores capkv_order(const PromptView& view, const Parameters& parameters, bool forward) {
  const std::size_t n = view.n_candidates(), sinks = parameters.count("sinks");
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, n);
  std::ranges::fill(scores.values.values(), 0.0f);
  scores.protection.sinks = sinks;
  if (sinks >= n) return scores;
  for (std::size_t g = 0; g < scores.n_heads(); ++g) {
    std::vector<std::uint32_t> order = order_of(view, parameters, g, forward);
    if (!forward) std::ranges::reverse(order);
    for (std::size_t place = 0; place < order.size(); ++place)
      scores.head(g)[sinks + order[place]] = -static_cast<float>(place);
  }
  return scores;
}

}  // namespace kvreplay
