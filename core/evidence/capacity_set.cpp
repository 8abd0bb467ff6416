#include "core/evidence/capacity_set.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/blas.h"
#include "core/base/error.h"

namespace kvreplay {
namespace {

constexpr double kMostMagnified = 1e6;

}  // namespace

double capacity_loss(double share) {
  constexpr double kMost = 1 - std::numeric_limits<double>::epsilon();
  return -std::log1p(-std::min(share, kMost)) / 2;
}

CapacitySet::CapacitySet(ConstMatrixView vectors, std::vector<double> weights, bool full)
    : vectors_(vectors),
      weights_(std::move(weights)),
      held_(full ? weights_ : std::vector<double>(weights_.size(), 0.0)),
      vector_(vectors.cols),
      turned_(vectors.cols) {
  invert_anew();
}

void CapacitySet::invert_anew() {
  inverse_ = gram(vectors_, held_);
  for (std::size_t d = 0; d < inverse_.rows; ++d) inverse_(d, d) += 1;
  if (!invert(inverse_)) throw UnfitError("the capacity matrix is not positive definite");
  magnified_ = 1;
}

double CapacitySet::leverage(std::size_t i) const {
  const blasint dim = static_cast<blasint>(vectors_.cols);
  std::ranges::copy(vectors_.row(i), vector_.begin());
  cblas_dsymv(CblasRowMajor, CblasUpper, dim, 1.0, inverse_.values.data(), dim, vector_.data(), 1, 0.0, turned_.data(),
              1);
  const double form = cblas_ddot(dim, vector_.data(), 1, turned_.data(), 1);
  if (!std::isfinite(form)) throw UnfitError("the capacity of a token is not finite");
  return std::max(form, 0.0);
}

double CapacitySet::gain(std::size_t i) const { return std::log1p(weights_[i] * leverage(i)) / 2; }

double CapacitySet::loss(std::size_t i) const { return capacity_loss(weights_[i] * leverage(i)); }

// (A + w u u^T)^-1 = A^-1 - w z z^T / (1 + w u^T z), z = A^-1 u (Sherman, Morrison). Along u that is x / (1 + w x) as
// x - w x^2 / (1 + w x): a difference of numbers 1 + w x times its size, or a sum over a small 1 + w x.
void CapacitySet::change(std::size_t i, double weight) {
  held_[i] = weight > 0 ? weight : 0;
  const double rest = 1 + weight * leverage(i);
  magnified_ *= std::max(rest, 1 / rest);
  if (!(magnified_ < kMostMagnified)) return invert_anew();
  const blasint dim = static_cast<blasint>(vectors_.cols);
  cblas_dsyr(CblasRowMajor, CblasUpper, dim, -weight / rest, turned_.data(), 1, inverse_.values.data(), dim);
}

}  // namespace kvreplay
