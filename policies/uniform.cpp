#include "core/allocator.h"

namespace kvreplay {
namespace {

const RegisterAllocator uniform{{
    .name = "uniform",
    .summary = "every head gets the same budget",
    .formula = "b_h = b",
    .paper = "",
    .allocate =
        [](const Scores& scores, std::span<const std::size_t> budgets, const Parameters&) {
          HeadBudgets counts;
          for (const std::size_t budget : budgets) counts.emplace_back(scores.n_heads(), budget);
          return counts;
        },
}};

}  // namespace
}  // namespace kvreplay
