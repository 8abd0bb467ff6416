#include "policies/shared/learned_scores.h"
#include "policies/shared/token_features.h"

namespace kvreplay {
namespace {

const RegisterScorer lkv_q{{
    .name = "lkv-q",
    .family = "learned",
    .summary = "as lkv, and its networks also see what the last prompt queries look at: not query-agnostic",
    .formula = "as lkv, and x has ln(a_w + 1e-6) for w = 1, 8, 64: mean attention of the last w prompt queries and the "
               "group's heads",
    .paper = "a variant of LKV: End-to-End Learning of Head-wise Budgets and Token Selection, arXiv 2605.06676",
    .needs = {need::last_queries(kFeatureWindow),
              need::other("a file that kvreplay train --queries learned from other prompts of the same model",
                          [](const TraceOffer& offer, const Parameters& parameters) {
                            return learned_unmet_need(offer, parameters, "lkv-q", true);
                          })},
    .parameters = learned_parameters(),
    .score = [](const PromptView& view,
                const Parameters& parameters) { return learned_scores(view, parameters, "lkv-q", true); },
    .cost = learned_cost,
}};

}  // namespace
}  // namespace kvreplay
