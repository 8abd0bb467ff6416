#include "core/evidence/capacity_set.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/base/error.h"
#include "tests/reference/expectation.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

Tensor random_vectors(std::size_t n, std::size_t dim) {
  Tensor vectors(1, n, dim);
  NormalNumbers numbers(3);
  for (float& x : vectors.values()) x = static_cast<float>(numbers.next());
  return vectors;
}

// 1/2 log det(I + sum over the set of w u u^T), from its definition.
double capacity(const Tensor& vectors, const std::vector<double>& weights, const std::set<std::size_t>& set) {
  const ConstMatrixView u = vectors.matrix(0);
  reference::Matrix a(u.cols, reference::Vector(u.cols, 0.0));
  for (std::size_t r = 0; r < u.cols; ++r) {
    a[r][r] = 1;
    for (std::size_t c = 0; c < u.cols; ++c)
      for (const std::size_t i : set) a[r][c] += weights[i] * double{u(i, r)} * double{u(i, c)};
  }
  return reference::log_determinant(a) / 2;
}

}  // namespace

TEST_CASE("gains and losses are differences of the capacity, through hundreds of changes") {
  // Weights of very different size: a removal can leave a millionth of what A^-1 was made from.
  constexpr std::size_t n = 700;
  const Tensor vectors = random_vectors(n, 5);
  std::vector<double> weights;
  for (std::size_t i = 0; i < n; ++i) weights.push_back(std::pow(10, static_cast<double>(i % 13) - 6));
  CapacitySet set(vectors.matrix(0), weights, true);
  std::set<std::size_t> held;
  for (std::size_t i = 0; i < n; ++i) held.insert(i);
  const auto check = [&](std::size_t i) {
    std::set<std::size_t> other = held;
    if (held.contains(i)) {
      other.erase(i);
      CHECK(set.loss(i) ==
            doctest::Approx(capacity(vectors, weights, held) - capacity(vectors, weights, other)).epsilon(1e-6));
    } else {
      other.insert(i);
      CHECK(set.gain(i) ==
            doctest::Approx(capacity(vectors, weights, other) - capacity(vectors, weights, held)).epsilon(1e-6));
    }
  };
  check(0);
  for (std::size_t i = n; i-- > 3;) {
    set.remove(i);
    held.erase(i);
    if (i % 50 == 12) check(2);
    if (i % 50 == 12) check(i);
  }
  for (std::size_t i = 0; i < 4; ++i) check(i);
  for (std::size_t i = 3; i < n; ++i) {
    set.add(i);
    held.insert(i);
  }
  for (std::size_t i = 0; i < n; i += 70) check(i);
}

TEST_CASE("a vector alone in one dimension adds what the formula says") {
  // w u^2 = 3: 1/2 log 4 to add it to nothing, as much to lose it again; then 1/2 log(1 + 3 / 4) for another like it.
  Tensor vectors(1, 2, 1);
  vectors.matrix(0)(0, 0) = vectors.matrix(0)(1, 0) = 1;
  CapacitySet set(vectors.matrix(0), {3, 3}, false);
  CHECK(set.gain(0) == doctest::Approx(std::log(4) / 2));
  set.add(0);
  CHECK(set.loss(0) == doctest::Approx(std::log(4) / 2));
  CHECK(set.gain(1) == doctest::Approx(std::log(1.75) / 2));
  set.remove(0);
  CHECK(set.gain(1) == doctest::Approx(std::log(4) / 2));
}

TEST_CASE("large weights that come and go leave small ones their digits") {
  // One dimension, weights 1e15, 1e12, ..., 1, 3. Without the large ones the last adds 1/2 log(1 + 3 / 2) to the
  // weight 1.
  Tensor vectors(1, 7, 1);
  std::ranges::fill(vectors.values(), 1.0f);
  const std::vector<double> weights = {1e15, 1e12, 1e9, 1e6, 1e3, 1, 3};
  CapacitySet falling(vectors.matrix(0), weights, true);
  for (std::size_t i = 0; i < 5; ++i) falling.remove(i);
  CHECK(falling.loss(6) == doctest::Approx(std::log(2.5) / 2).epsilon(1e-9));
  CHECK(falling.loss(5) == doctest::Approx(std::log(5.0 / 4) / 2).epsilon(1e-9));
  // And one that is added to a large one: 1 + 1e15 + 1e12 holds 1e9 of 1e15.
  CapacitySet rising(vectors.matrix(0), weights, false);
  rising.add(5);
  rising.add(0);
  CHECK(rising.gain(1) == doctest::Approx(std::log1p(1e-3) / 2).epsilon(1e-9));
}

TEST_CASE("what is lost with one vector stays a number where rounding leaves nothing of the rest") {
  CHECK(capacity_loss(0) == 0);
  CHECK(capacity_loss(0.75) == doctest::Approx(std::log(2)));
  CHECK(std::isfinite(capacity_loss(1)));
  CHECK(capacity_loss(1 + 1e-15) == capacity_loss(1));
}

TEST_CASE("vectors that are not finite are refused") {
  Tensor vectors = random_vectors(4, 2);
  vectors.matrix(0)(1, 1) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(CapacitySet(vectors.matrix(0), {1, 1, 1, 1}, true), InputError);
  CHECK_THROWS_AS(CapacitySet(vectors.matrix(0), {1, 1, 1, 1}, false), InputError);
}
