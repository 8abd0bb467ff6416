#pragma once
// The log-determinant capacity 1/2 log det(I + sum_{i in C} w_i u_i u_i^T) of a set of tokens that grows or shrinks one
// by one (core/evidence/capacity_weights.h has the weights).

#include <cstddef>
#include <span>
#include <vector>

#include "core/base/linear_algebra.h"

namespace kvreplay {

/// The capacity that a set loses when one of its vectors is removed, in nats: -1/2 log(1 - share).
/// \param share  w u^T A^-1 u of the vector; below 1 but for rounding
double capacity_loss(double share);

/// In float64, with A^-1 of A = I + sum_{i in C} w_i u_i u_i^T changed by one rank at a time. Such changes magnify
/// rounding, removals above all: A^-1 is made anew before that matters.
class CapacitySet {
 public:
  /// \param vectors  [n, dim] u, must outlive this
  /// \param weights  [n] w, not negative
  /// \param full     starts with all of them, or else with none
  /// This and all others throw InputError when A is not positive definite: values or weights are not finite.
  CapacitySet(ConstMatrixView vectors, std::vector<double> weights, bool full);

  /// What a vector outside the set would add, in nats: 1/2 log(1 + w u^T A^-1 u).
  double gain(std::size_t i) const;
  /// What the set would lose with one of its own, in nats: capacity_loss() of w u^T A^-1 u.
  double loss(std::size_t i) const;
  void add(std::size_t i) { change(i, weights_[i]); }
  void remove(std::size_t i) { change(i, -weights_[i]); }

 private:
  double leverage(std::size_t i) const;
  void change(std::size_t i, double weight);
  void invert_anew();

  ConstMatrixView vectors_;
  std::vector<double> weights_;
  std::vector<double> held_;  // [n] weights of the vectors in the set, 0 for others
  Matrix64 inverse_;
  double magnified_ = 1;                         // rounding, since A was inverted
  mutable std::vector<double> vector_, turned_;  // [dim] u and A^-1 u of the last call of leverage()
};

}  // namespace kvreplay
