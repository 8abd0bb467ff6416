#include "core/contracts/allocator.h"

namespace kvreplay {
namespace {

const RegisterAllocator uniform{{
    .name = "uniform",
    .summary = "every head gets the same budget",
    .formula = "b_h = b",
    .paper = "",
    .allocate = [](const PromptView&, const Scores& scores, std::span<const Budget> budgets,
                   const Parameters&) { return uniform_budgets(budgets, scores.n_heads()); },
}};

}  // namespace
}  // namespace kvreplay
