#pragma once
// One budget spent where losses fall fastest: what allocators do that know how much each head loses at every budget.

#include <cstddef>
#include <span>
#include <vector>

namespace kvreplay {

/// What a head loses when it keeps so much.
struct LossCurve {
  std::vector<double> kept;  ///< [n_points] ascending, tokens or shares
  std::vector<double> loss;  ///< [n_points]
};

/// Greedy water-filling, optimal on convex curves: the lower convex hulls of all heads' curves, cut into their straight
/// pieces.
class GreedyFill {
 public:
  explicit GreedyFill(std::span<const LossCurve> curves);

  /// What each head keeps of `total`, [n_curves]: every head the first point of its curve, the rest by falling gain per
  /// unit; of equal gains the lower head is served first. More than the curves hold is not given.
  std::vector<double> fill(double total) const;

 private:
  struct Piece {
    double gain;  // loss avoided by each unit of `kept`
    std::size_t head;
    double length;
  };

  std::vector<double> first_;  // [n_curves]
  std::vector<Piece> pieces_;  // by falling gain
};

}  // namespace kvreplay
