#include "policies/shared/head_pool.h"

namespace kvreplay {
namespace {

const RegisterAllocator ada{{
    .name = "ada",
    .summary =
        "the heads of a layer share one budget: the best scores over all heads win, above a safeguard for each head",
    .formula = "pool the layer's scores, keep the top n_heads * b; floor: each head's top alpha * b are safe; interp: "
               "b_h = round((1 - alpha) pooled_h + floor(alpha b)) over the tokens that are not protected",
    .paper = "Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation, arXiv 2407.11550",
    .parameters = {.parameters = {{.name = "alpha",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.2",
                                   .help = "strength of the safeguard",
                                   .max = 1},
                                  {.name = "safeguard",
                                   .kind = ParameterKind::choice,
                                   .default_value = "floor",
                                   .help = "how a head is saved from starving",
                                   .choices = {"floor", "interp"}}},
                   .dialects = {{.name = "kvpress", .summary = "AdaKVPress: a floor of alpha * b"},
                                {.name = "original",
                                 .summary =
                                     "the authors' code: interpolation with the uniform budget; its rounding may "
                                     "miss the layer's total by some tokens",
                                 .defaults = {{"safeguard", "interp"}}}}},
    .traits = {.level = AllocatorLevel::heads, .approximate = true},
    .allocate =
        [](const PromptView&, const Scores& scores, std::span<const Budget> budgets, const Parameters& parameters) {
          const double alpha = parameters.real("alpha");
          return parameters.choice("safeguard") == "floor" ? pool_above_floor(scores, budgets, alpha)
                                                           : pool_interpolated(scores, budgets, alpha);
        },
}};

}  // namespace
}  // namespace kvreplay
