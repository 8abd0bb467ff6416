#include "policies/shared/compactor_scores.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

const RegisterScorer compactor{{
    .name = "compactor",
    .family = "information",
    .summary = "leverage of keys and attention blind to order, blended; the first and last tokens are kept",
    .formula = "s_i = blend * leverage_i + non-causal_i, both standardised over the tokens between the kept ones",
    .paper =
        "Compactor: Calibrated Query-Agnostic KV Cache Compression with Approximate Leverage Scores, arXiv 2507.08143",
    .needs = {need::all_queries()},
    .parameters = {.parameters = {{.name = "first", .default_value = "8", .help = "first tokens kept"},
                                  {.name = "last", .default_value = "4", .help = "newest tokens kept"},
                                  {.name = "blend",
                                   .kind = ParameterKind::real_or_choice,
                                   .default_value = "removed",
                                   .help = "weight of the leverage; removed: the share of the cache that is evicted",
                                   .choices = {"removed"},
                                   .max = 1},
                                  chunk_parameter(),
                                  kernel_parameter("3"),
                                  sketch_parameter("all")}},
    .score_at =
        [](const PromptView& view, const Budget& budget, const Parameters& parameters) {
          const bool by_budget = parameters.is_word("blend", "removed");
          return compactor_scores(view, parameters, by_budget ? budget.removed : parameters.real("blend"));
        },
    .cost = leverage_cost,
}};

}  // namespace
}  // namespace kvreplay
