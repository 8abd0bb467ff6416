#pragma once
// A metric against the share of the cache that was really kept, and the figures read off it.

#include <cstddef>
#include <span>
#include <vector>

#include "core/data/metric_formula.h"

namespace kvreplay {

/// Points by ascending kept fraction, straight lines between them; no NaN.
struct Curve {
  std::vector<double> kept;
  std::vector<double> values;
};

/// Sorts the points and leaves out those with a NaN.
/// \param kept, values  [n], one point per budget in any order
Curve make_curve(std::span<const double> kept, std::span<const double> values);

/// Kept fractions [from, to].
struct KeptRange {
  double from = 0;
  double to = 0;

  bool empty() const { return !(from < to); }
};

/// Where all curves are known. Curves at one kept fraction only (a policy that keeps everything) have no say.
/// Empty when there are no others or they do not overlap.
KeptRange common_range(std::span<const Curve> curves);

/// Mean height over the range: the area under the curve (trapezoids) divided by the range's length, so that it reads
/// like a value of the metric. NaN when the range is empty or the curve does not cover it.
double mean_height(const Curve& curve, KeptRange range);

/// The smallest kept fraction at which a curve is as good as a bound.
struct Crossing {
  double kept = 0;           ///< NaN: never
  bool at_smallest = false;  ///< the smallest budget measured is good enough already: the true figure may be smaller
};

/// Interpolated linearly between budgets. A curve that gets worse again later has several crossings; this is the first.
Crossing first_crossing(const Curve& curve, Better better, double bound);

/// A step to a larger budget that makes things worse.
struct Worsening {
  std::size_t from = 0;  ///< indices of budgets
  std::size_t to = 0;
  double by = 0;  ///< in the metric's unit, positive
};

/// All steps between neighbouring budgets that worsen the metric by more than rounding does, in order of budget.
/// \param budgets, values  [n] in any order; NaN values are passed over
std::vector<Worsening> worsenings(std::span<const double> budgets, std::span<const double> values, Better better);

/// Whether a is better than b by more than rounding_margin().
bool clearly_better(double a, double b, Better better);

}  // namespace kvreplay
