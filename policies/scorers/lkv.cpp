#include "policies/shared/learned_scores.h"

namespace kvreplay {
namespace {

const RegisterScorer lkv{{
    .name = "lkv",
    .family = "learned",
    .summary = "networks learned from traces, one per KV head, that see key, value and place of a token, and no query",
    .formula = "s_i = ws . x + b + w2 . silu(W1 x + b1); x = key before RoPE, value, ln||k||, ln||v||, ln(1 + i), "
               "ln(c - i), i / c, standardised; the file's first and last tokens are kept",
    .paper = "LKV-T of LKV: End-to-End Learning of Head-wise Budgets and Token Selection, arXiv 2605.06676, after its "
             "description; the form of KVP: Learning to Evict from Key-Value Cache, arXiv 2602.10238",
    .needs = {need::other("a file that kvreplay train learned from other prompts of the same model",
                          [](const TraceOffer& offer, const Parameters& parameters) {
                            return learned_unmet_need(offer, parameters, "lkv", false);
                          })},
    .parameters = learned_parameters(),
    .score = [](const PromptView& view,
                const Parameters& parameters) { return learned_scores(view, parameters, "lkv", false); },
    .cost = learned_cost,
}};

}  // namespace
}  // namespace kvreplay
