#include "policies/shared/capkv_order.h"

namespace kvreplay {
namespace {

const RegisterScorer capkv_greedy{{
    .name = "capkv-greedy",
    .family = "information",
    .summary =
        "capacity chosen step by step: adds, again and again, the token that adds most to the capacity of those taken; "
        "at least 1 - 1/e of the most that any set of a size has",
    .formula =
        "s_i = -place; next comes argmax_i of the mean over the group of 1/2 log(1 + w_i u_i^T A_C^-1 u_i / noise), "
        "A_C = I + sum over the set of (w_j + epsilon) u_j u_j^T / noise; w, u as in capkv, w with its epsilon",
    .paper = "the objective of CapKV, arXiv 2604.25975, which itself ranks once",
    .needs = capkv_needs(),
    .parameters = capkv_parameters(),
    .traits = {.by_request = true},
    .score = [](const PromptView& view, const Parameters& parameters) { return capkv_order(view, parameters, true); },
    .cost = capkv_order_cost,
}};

}  // namespace
}  // namespace kvreplay
