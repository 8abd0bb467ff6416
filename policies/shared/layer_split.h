#pragma once
// One budget over the layers of a model, in proportion to what each is worth.

#include <cstddef>
#include <span>
#include <vector>

#include "core/contracts/allocator.h"

namespace kvreplay {

/// Whole numbers that add up to `total` (or to the sum of the caps, if that is less), in proportion to the weights,
/// none above its cap; what a cap turns away goes to the others in proportion. Largest remainders are rounded up, equal
/// ones in order.
/// \param weights  [n], not negative; all 0: equal parts
std::vector<std::size_t> split_in_proportion(std::span<const double> weights, std::size_t total,
                                             std::span<const std::size_t> caps);

/// Every layer keeps what its scorer protects; the rest of the layers' budgets is split by their preferences.
std::vector<HeadBudgets> split_by_preference(std::span<const LayerSurvey> layers);

}  // namespace kvreplay
