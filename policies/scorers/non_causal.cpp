#include "policies/shared/compactor_scores.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

const RegisterScorer non_causal{{
    .name = "non-causal",
    .family = "attention expected",
    .summary = "attention inside chunks of the prompt in which every query sees every key, times the norm of the value",
    .formula =
        "s_i = z-score over the layer of avgpool_i(mean over the group of sum_t a'_{t,i} * ||v_i||_2), a' = softmax of "
        "q.k, unscaled, over the chunk of t; a last chunk is filled up with zeros",
    .paper =
        "Compactor: Calibrated Query-Agnostic KV Cache Compression with Approximate Leverage Scores, arXiv 2507.08143",
    .needs = {need::all_queries()},
    .parameters = {.parameters = {chunk_parameter(), kernel_parameter("3")},
                   .dialects = {{.name = "kvpress", .summary = "NonCausalAttnPress: chunks of 256, average over 3"}}},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          return Scores{.axis = HeadAxis::kv,
                        .values = non_causal_scores(view, {0, view.n_candidates()}, parameters.count("chunk"),
                                                    parameters.count("kernel")),
                        .protection = {}};
        },
}};

}  // namespace
}  // namespace kvreplay
