#pragma once
// The rotary position embedding of synthetic traces. Its cosines are what makes their attention decay with distance.

#include <cstddef>
#include <span>
#include <vector>

namespace kvreplay {

/// Partial RoPE, layout `half`: pairs (i, i + n_pairs) of the leading 2 n_pairs dimensions turn, half of the head at
/// most; the rest carries content, which must be found at any distance. One constant vector of queries and keys,
/// turned, gives logits in proportion to  sum_i cos(inv_freq[i] * distance) / n_pairs: 1 for the newest token, falling
/// like the logarithm of the distance, and scattered about 0 from 1000 tokens on, as the frequencies lie evenly over
/// ten octaves.
class SyntheticRope {
 public:
  /// The angles of a position are those of its block's begin, turned by those of a table of offsets.
  static constexpr std::size_t kBlock = 512;

  explicit SyntheticRope(std::size_t head_dim);

  std::size_t n_pairs() const { return inv_freq_.size(); }
  const std::vector<double>& inv_freq() const { return inv_freq_; }

  /// Cosines [n_pairs], then sines [n_pairs], of the angles at a multiple of `kBlock`.
  std::vector<float> angles_of_block(std::size_t block) const;

  /// row += scale * rotation of `direction` to position `block * kBlock + offset`.
  /// \param block_angles  from `angles_of_block(block)`
  /// \param direction     [2 n_pairs]
  /// \param row           [2 n_pairs or more]
  void add_rotated(std::span<const float> block_angles, std::size_t offset, std::span<const float> direction,
                   float scale, std::span<float> row) const;

 private:
  std::vector<double> inv_freq_;  ///< [n_pairs]
  std::vector<float> offsets_;    ///< [kBlock, 2 n_pairs], cosines then sines
};

}  // namespace kvreplay
