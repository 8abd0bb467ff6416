#include "traces/synthetic/synthetic_rope.h"

#include <cassert>
#include <cmath>

namespace kvreplay {
namespace {

constexpr double kOctaves = 10;

/// Angles are taken in double and rounded, so that C libraries that differ in a last bit still give the same floats.
void fill_angles(const std::vector<double>& inv_freq, double position, std::span<float> out) {
  const std::size_t n = inv_freq.size();
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(std::cos(position * inv_freq[i]));
    out[n + i] = static_cast<float>(std::sin(position * inv_freq[i]));
  }
}

}  // namespace

SyntheticRope::SyntheticRope(std::size_t head_dim) : inv_freq_(head_dim / 4), offsets_(kBlock * 2 * n_pairs()) {
  for (std::size_t i = 0; i < n_pairs(); ++i) {
    const double octave = kOctaves * (static_cast<double>(i) + 0.5) / static_cast<double>(n_pairs());
    inv_freq_[i] = static_cast<double>(static_cast<float>(std::exp2(-octave)));
  }
  for (std::size_t offset = 0; offset < kBlock; ++offset)
    fill_angles(inv_freq_, static_cast<double>(offset),
                std::span(offsets_).subspan(offset * 2 * n_pairs(), 2 * n_pairs()));
}

std::vector<float> SyntheticRope::angles_of_block(std::size_t block) const {
  std::vector<float> angles(2 * n_pairs());
  fill_angles(inv_freq_, static_cast<double>(block) * kBlock, angles);
  return angles;
}

void SyntheticRope::add_rotated(std::span<const float> block_angles, std::size_t offset,
                                std::span<const float> direction, float scale, std::span<float> row) const {
  assert(offset < kBlock && direction.size() == 2 * n_pairs() && row.size() >= 2 * n_pairs());
  const std::size_t n = n_pairs();
  const float* __restrict fine = offsets_.data() + offset * 2 * n;
  const float* __restrict coarse = block_angles.data();
  const float* __restrict x = direction.data();
  float* __restrict out = row.data();
  for (std::size_t i = 0; i < n; ++i) {
    const float cosine = coarse[i] * fine[i] - coarse[n + i] * fine[n + i];
    const float sine = coarse[n + i] * fine[i] + coarse[i] * fine[n + i];
    out[i] += scale * (x[i] * cosine - x[n + i] * sine);
    out[n + i] += scale * (x[n + i] * cosine + x[i] * sine);
  }
}

}  // namespace kvreplay
