#include "policies/shared/greedy_fill.h"

#include <algorithm>
#include <functional>

namespace kvreplay {
namespace {

// Indices of the points on the lower convex hull.
std::vector<std::size_t> lower_hull(const LossCurve& curve) {
  const auto slope = [&](std::size_t a, std::size_t b) {
    return (curve.loss[b] - curve.loss[a]) / (curve.kept[b] - curve.kept[a]);
  };
  std::vector<std::size_t> hull;
  for (std::size_t p = 0; p < curve.kept.size(); ++p) {
    while (hull.size() >= 2 && slope(hull[hull.size() - 2], hull.back()) >= slope(hull.back(), p)) hull.pop_back();
    hull.push_back(p);
  }
  return hull;
}

}  // namespace

GreedyFill::GreedyFill(std::span<const LossCurve> curves) {
  for (std::size_t head = 0; head < curves.size(); ++head) {
    const LossCurve& curve = curves[head];
    const std::vector<std::size_t> hull = lower_hull(curve);
    first_.push_back(curve.kept.front());
    for (std::size_t i = 1; i < hull.size(); ++i) {
      const double length = curve.kept[hull[i]] - curve.kept[hull[i - 1]];
      pieces_.push_back({(curve.loss[hull[i - 1]] - curve.loss[hull[i]]) / length, head, length});
    }
  }
  std::ranges::stable_sort(pieces_, std::greater{}, &Piece::gain);
}

std::vector<double> GreedyFill::fill(double total) const {
  std::vector<double> kept = first_;
  double left = total;
  for (const double first : first_) left -= first;
  for (const Piece& piece : pieces_) {
    if (left <= 0) break;
    const double part = std::min(left, piece.length);
    kept[piece.head] += part;
    left -= part;
  }
  return kept;
}

}  // namespace kvreplay
