#include "policies/shared/capkv_terms.h"

namespace kvreplay {
namespace {

Scores score_capkv(const PromptView& view, const Parameters& parameters) {
  return capacity_scores(view, parameters.count("sinks"),
                         [&](std::size_t q_head) { return capkv_terms(view, parameters, q_head); });
}

const RegisterScorer capkv{{
    .name = "capkv",
    .family = "information",
    .summary =
        "capacity that the cache loses with a token: relevance to the expected query times what no other token says",
    .formula = "s_i = mean over the group of w_i u_i^T A^-1 u_i, A = I + sum_j (w_j + epsilon) u_j u_j^T / noise, "
               "w_i = exp(tau cos(k_i, mu)) / largest, or another weight; u_i = v_i or W_O^T v_i; mu as in "
               "expected-attention. Scores are float32: with weight=dot tokens whose tau k.mu is some 100 below the "
               "largest tie at 0",
    .paper = "CapKV, arXiv 2604.25975",
    .needs = capkv_needs(),
    .parameters = capkv_parameters(),
    .score = score_capkv,
}};

}  // namespace
}  // namespace kvreplay
