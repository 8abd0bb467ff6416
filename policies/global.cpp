#include <algorithm>

#include "policies/head_pool.h"

namespace kvreplay {
namespace {

LayerSurvey survey_scores(const PromptView&, const Scores& scores, std::span<const Budget> budgets, const Parameters&) {
  LayerSurvey survey;
  Protection::Counts guarded;
  for (const Budget& budget : budgets) {
    const Protection::Counts now = scores.protection.at(budget.tokens);
    const bool same = !survey.scores.empty() && now.first == guarded.first && now.recent == guarded.recent;
    survey.scores_of.push_back(same ? survey.scores.size() - 1 : survey.scores.size());
    if (!same) survey.scores.push_back(competing(scores, guarded = now));
  }
  return survey;
}

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

std::vector<HeadBudgets> share_globally(std::span<const LayerSurvey> layers, const Parameters& parameters) {
  const double alpha = parameters.real("alpha");
  std::vector<HeadBudgets> shares(layers.size());
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
      std::vector<std::size_t>& tokens = shares[l].tokens.emplace_back();
      for (std::size_t h = 0; h < layers[l].n_heads; ++h, ++head)
        tokens.push_back(layers[l].n_protected[b] + taken[head] + pooled[head]);
    }
  }
  return shares;
}

const RegisterAllocator global{{
    .name = "global",
    .summary = "all heads of all layers share one budget: the best scores anywhere win",
    .formula =
        "pool the scores of all layers and heads that are replayed, keep the top sum of b; each head's top alpha * "
        "b are safe",
    .paper = "KVzip: Query-Agnostic KV Cache Compression with Context Reconstruction, arXiv 2505.23416; Layer-"
             "DefensiveKV, arXiv 2510.13334",
    .needs = "",
    .parameters = {.parameters = {{.name = "alpha",
                                   .kind = ParameterKind::real,
                                   .default_value = "0",
                                   .help = "part of the budget that every head keeps",
                                   .max = 1}}},
    .traits = {.level = AllocatorLevel::both, .approximate = true},
    .survey = survey_scores,
    .share = share_globally,
}};

}  // namespace
}  // namespace kvreplay
