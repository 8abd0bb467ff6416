#include "core/data/rope_rotation.h"

#include <algorithm>
#include <cmath>

namespace kvreplay {
namespace {

// Models round angles to float32, and at position 10^4 that is up to 0.0005 radians: to take off what they put on is
// to round alike.
float angle(const Rope& rope, std::size_t pair, std::size_t position) {
  return static_cast<float>(rope.inv_freq[pair]) * static_cast<float>(position);
}

}  // namespace

RopePairs::RopePairs(const Rope& rope)
    : size_(rope.layout == RopeLayout::none ? 0 : rope.inv_freq.size()),
      interleaved_(rope.layout == RopeLayout::interleaved) {}

RopeRemoval::RopeRemoval(const Rope& rope, Range positions)
    : pairs_(rope), cos_(positions.size() * pairs_.size()), sin_(cos_.size()) {
  for (std::size_t row = 0, at = 0; row < positions.size(); ++row)
    for (std::size_t p = 0; p < pairs_.size(); ++p, ++at) {
      const float turn = angle(rope, p, positions.begin + row);
      cos_[at] = std::cos(turn) / rope.attention_scaling;
      sin_[at] = std::sin(turn) / rope.attention_scaling;
    }
}

void RopeRemoval::remove(ConstMatrixView rows, std::span<double> out) const {
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const float* x = rows.row(r).data();
    double* y = out.data() + r * rows.cols;
    std::copy_n(x, rows.cols, y);
    const double* cos = cos_.data() + r * pairs_.size();
    const double* sin = sin_.data() + r * pairs_.size();
    for (std::size_t p = 0; p < pairs_.size(); ++p) {
      const double first = x[pairs_.first(p)], second = x[pairs_.second(p)];
      y[pairs_.first(p)] = cos[p] * first + sin[p] * second;
      y[pairs_.second(p)] = cos[p] * second - sin[p] * first;
    }
  }
}

AveragedRotation::AveragedRotation(const Rope& rope, Range positions)
    : pairs_(rope), cos_(pairs_.size(), 0.0), sin_(pairs_.size(), 0.0) {
  const double factor = rope.attention_scaling / static_cast<double>(positions.size());
  for (std::size_t p = 0; p < pairs_.size(); ++p)
    for (std::size_t position = positions.begin; position < positions.end; ++position) {
      cos_[p] += factor * std::cos(angle(rope, p, position));
      sin_[p] += factor * std::sin(angle(rope, p, position));
    }
}

void AveragedRotation::apply(double* x, std::size_t stride) const {
  for (std::size_t p = 0; p < pairs_.size(); ++p) {
    double& first = x[pairs_.first(p) * stride];
    double& second = x[pairs_.second(p) * stride];
    const double turned = cos_[p] * first - sin_[p] * second;
    second = sin_[p] * first + cos_[p] * second;
    first = turned;
  }
}

void AveragedRotation::apply_to_covariance(std::span<double> matrix, std::size_t head_dim) const {
  for (std::size_t column = 0; column < head_dim; ++column) apply(matrix.data() + column, head_dim);
  for (std::size_t row = 0; row < head_dim; ++row) apply(matrix.data() + row * head_dim);
}

}  // namespace kvreplay
