#pragma once
// Rotary position embedding, undone and averaged.

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "core/base/matrix.h"
#include "core/data/trace_info.h"

namespace kvreplay {

/// Which dimensions turn together: pair p is (first(p), second(p)); those beyond the pairs do not turn.
class RopePairs {
 public:
  explicit RopePairs(const Rope& rope);

  std::size_t size() const { return size_; }
  std::size_t first(std::size_t pair) const { return interleaved_ ? 2 * pair : pair; }
  std::size_t second(std::size_t pair) const { return interleaved_ ? 2 * pair + 1 : pair + size_; }

 private:
  std::size_t size_;
  bool interleaved_;
};

/// Takes the rotation off queries and keys that stand at consecutive positions.
class RopeRemoval {
 public:
  RopeRemoval(const Rope& rope, Range positions);

  /// \param rows  [positions.size(), head_dim] after RoPE, as recorded
  /// \param out   [positions.size(), head_dim] before RoPE, without its attention scaling
  void remove(ConstMatrixView rows, std::span<double> out) const;

 private:
  RopePairs pairs_;
  std::vector<double> cos_, sin_;  // [positions, pairs], divided by the attention scaling
};

/// Takes the rotation off rows of several heads that stand at the same consecutive positions, some hundred rows at a
/// time; the angles are worked out once for all heads. Calls use(head, begin, rows): `rows` are the numbers of the rows
/// from `begin` on, in float64, row by row.
/// \param heads  all of one shape, row 0 at `first_position`
template <typename Use>
void for_each_block_before_rope(const Rope& rope, std::size_t first_position, std::span<const ConstMatrixView> heads,
                                Use use) {
  constexpr std::size_t kBlock = 256;
  const std::size_t n = heads.front().rows, dim = heads.front().cols;
  std::vector<double> block(kBlock * dim);
  for (std::size_t begin = 0; begin < n; begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, n);
    const RopeRemoval removal(rope, {first_position + begin, first_position + end});
    const std::span<double> rows = std::span(block).first((end - begin) * dim);
    for (std::size_t h = 0; h < heads.size(); ++h) {
      removal.remove(heads[h].rows_between(begin, end), rows);
      use(h, begin, std::span<const double>(rows));
    }
  }
}

/// The mean of the rotations that a model applies at these positions, attention scaling included: the R of Expected
/// Attention (arXiv 2510.00636).
class AveragedRotation {
 public:
  AveragedRotation(const Rope& rope, Range positions);

  /// x <- R x.
  /// \param x  [head_dim], `stride` elements from one to the next
  void apply(double* x, std::size_t stride = 1) const;
  /// m <- R m R^T.
  /// \param matrix  [head_dim, head_dim]
  void apply_to_covariance(std::span<double> matrix, std::size_t head_dim) const;

 private:
  RopePairs pairs_;
  std::vector<double> cos_, sin_;  // [pairs]
};

}  // namespace kvreplay
