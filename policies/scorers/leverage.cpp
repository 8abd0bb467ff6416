#include "policies/shared/compactor_scores.h"

namespace kvreplay {
namespace {

const RegisterScorer leverage_scorer{{
    .name = "leverage",
    .family = "information",
    .summary = "keys before RoPE that few others can stand for: statistical leverage",
    .formula = "s_i = z-score over the layer of x_i^T (X^T X + 0.01 I)^-1 x_i, X: keys before RoPE less their mean",
    .paper =
        "Compactor: Calibrated Query-Agnostic KV Cache Compression with Approximate Leverage Scores, arXiv 2507.08143",
    .parameters = {.parameters = {sketch_parameter("all")},
                   .dialects = {{.name = "exact", .summary = "no random sketch"},
                                {.name = "kvpress",
                                 .summary = "LeverageScorePress: a sketch of 48 dimensions, drawn from our seed",
                                 .defaults = {{"sketch", "48"}}}}},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          return Scores{.axis = HeadAxis::kv,
                        .values = leverage_scores(view, {0, view.n_candidates()}, parameters.count("sketch")),
                        .protection = {}};
        },
    .cost = leverage_cost,
}};

}  // namespace
}  // namespace kvreplay
