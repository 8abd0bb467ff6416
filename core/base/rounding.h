#pragma once
// What rounding alone can make of two equal numbers.

#include <algorithm>
#include <cmath>

namespace kvreplay {

/// Relative: sums of float32 products are good to about this.
inline constexpr double kRounding = 1e-6;

/// Numbers that differ by no more than this are ties: a part in a million of the larger.
inline double rounding_margin(double a, double b) { return kRounding * std::max(std::abs(a), std::abs(b)); }

}  // namespace kvreplay
