#pragma once
// Rotary position embedding, undone and averaged.

#include <cstddef>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "core/trace_info.h"

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

/// The mean of the rotations that a model applies at these positions, attention scaling included: the R of Expected
/// Attention (arXiv 2510.00636).
class AveragedRotation {
 public:
  AveragedRotation(const Rope& rope, Range positions);

  /// x <- R x. \param x  [head_dim], `stride` elements from one to the next
  void apply(double* x, std::size_t stride = 1) const;
  /// m <- R m R^T. \param matrix  [head_dim, head_dim]
  void apply_to_covariance(std::span<double> matrix, std::size_t head_dim) const;

 private:
  RopePairs pairs_;
  std::vector<double> cos_, sin_;  // [pairs]
};

}  // namespace kvreplay
