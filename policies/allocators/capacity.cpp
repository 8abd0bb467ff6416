#include <algorithm>

#include "core/contracts/allocator.h"
#include "policies/shared/capkv_terms.h"
#include "policies/shared/head_pool.h"

namespace kvreplay {
namespace {

// CapKV's own parameters without its dialects, and the safeguard.
ParameterTable parameters_of_capacity() {
  ParameterTable table = capkv_parameters();
  table.dialects.clear();
  for (ParameterSpec& spec : table.parameters)
    if (spec.name == "sinks") spec.help = "first tokens: counted for every head, and left out of all sums";
  table.parameters.push_back({.name = "alpha",
                              .kind = ParameterKind::real,
                              .default_value = "0",
                              .help = "part of the budget that every head keeps",
                              .max = 1});
  return table;
}

// Losses of the heads that the scores are about: KV heads lose the mean of their group.
Scores losses_like(const Scores& scores, const Scores& query_heads) {
  const std::size_t group_size = query_heads.n_heads() / scores.n_heads();
  Scores losses = Scores::for_heads(scores.axis, scores.n_heads(), scores.n_candidates());
  for (std::size_t h = 0; h < losses.n_heads(); ++h)
    for (std::size_t i = 0; i < losses.n_candidates(); ++i) {
      double sum = 0;
      for (std::size_t q = h * group_size; q < (h + 1) * group_size; ++q) sum += double{query_heads.head(q)[i]};
      losses.head(h)[i] = static_cast<float>(sum / static_cast<double>(group_size));
    }
  losses.protection = scores.protection;
  losses.protection.sinks = std::max(scores.protection.sinks, query_heads.protection.sinks);
  return losses;
}

LayerSurvey survey_losses(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                          const Parameters& parameters) {
  const Scores& losses = view.remember<Scores>("capacity losses" + parameters.complete(), [&] {
    return capacity_losses(view, parameters.count("sinks"),
                           [&](std::size_t q_head) { return capkv_terms(view, parameters, q_head); });
  });
  return survey_pool(losses_like(scores, losses), budgets);
}

const RegisterAllocator capacity{{
    .name = "capacity",
    .summary = "all heads of all layers share one budget: a head gets as many tokens as it has among those whose loss "
               "would cost most capacity, whatever its scorer ranks by",
    .formula = "pool loss_i = mean over the group of -1/2 log(1 - w_i u_i^T A^-1 u_i / noise) in nats (as capkv) over "
               "all layers and heads that are replayed, count the top sum of b; each head's top alpha * b are safe",
    .paper = "the objective of CapKV, arXiv 2604.25975, as one sum over heads",
    .needs = capkv_needs(),
    .parameters = parameters_of_capacity(),
    .traits = {.level = AllocatorLevel::both},
    .survey = survey_losses,
    .split_layers = [](std::span<const LayerSurvey> layers,
                       const Parameters& parameters) { return pool_layers(layers, parameters.real("alpha")); },
}};

}  // namespace
}  // namespace kvreplay
