#include "policies/shared/head_pool.h"

namespace kvreplay {
namespace {

LayerSurvey survey_scores(const PromptView&, const Scores& scores, std::span<const Budget> budgets, const Parameters&) {
  return survey_pool(scores, budgets);
}

std::vector<HeadBudgets> split_globally(std::span<const LayerSurvey> layers, const Parameters& parameters) {
  return pool_layers(layers, parameters.real("alpha"));
}

const RegisterAllocator global{{
    .name = "global",
    .summary = "all heads of all layers share one budget: the best scores anywhere win",
    .formula =
        "pool the scores of all layers and heads that are replayed, keep the top sum of b; each head's top alpha * "
        "b are safe",
    .paper = "KVzip: Query-Agnostic KV Cache Compression with Context Reconstruction, arXiv 2505.23416; Layer-"
             "DefensiveKV, arXiv 2510.13334",
    .parameters = {.parameters = {{.name = "alpha",
                                   .kind = ParameterKind::real,
                                   .default_value = "0",
                                   .help = "part of the budget that every head keeps",
                                   .max = 1}}},
    .traits = {.level = AllocatorLevel::both, .approximate = true},
    .survey = survey_scores,
    .split_layers = split_globally,
}};

}  // namespace
}  // namespace kvreplay
