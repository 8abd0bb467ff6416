#include "core/linear_algebra.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// More rows than a block.
Tensor random_rows(std::size_t n, std::size_t cols) {
  Tensor rows(1, n, cols);
  NormalNumbers numbers(7);
  for (float& x : rows.values()) x = static_cast<float>(numbers.next());
  return rows;
}

}  // namespace

TEST_CASE("leverages add up to the effective dimension") {
  // sum_i x_i^T (ridge I + G)^-1 x_i = tr(G (ridge I + G)^-1); without a ridge that is the rank.
  const Tensor rows = random_rows(600, 5);
  double sum = 0;
  for (const double x : leverage(gram(rows.matrix(0)), 0, rows.matrix(0))) sum += x;
  CHECK(sum == doctest::Approx(5).epsilon(1e-12));
}

TEST_CASE("a matrix times its inverse is the identity, and what is not positive definite is refused") {
  Matrix64 inverse = gram(random_rows(9, 5).matrix(0));
  const Matrix64 matrix = inverse;
  REQUIRE(invert(inverse));
  for (std::size_t r = 0; r < 5; ++r)
    for (std::size_t c = 0; c < 5; ++c) {
      double sum = 0;
      for (std::size_t k = 0; k < 5; ++k) sum += matrix(r, k) * inverse(k, c);
      CHECK(sum == doctest::Approx(r == c ? 1 : 0).epsilon(1e-12));
    }
  Matrix64 negative(2, 2);
  negative(0, 0) = 1;
  negative(1, 1) = -1;
  CHECK(!invert(negative));
}

TEST_CASE("a Gram matrix weighs its rows") {
  Tensor rows(1, 2, 2);
  const float values[] = {1, 2, 3, -1};
  std::ranges::copy(values, rows.values().begin());
  // 4 (1 2)^T (1 2) + 1/4 (3 -1)^T (3 -1)
  const Matrix64 sum = gram(rows.matrix(0), std::vector<double>{4, 0.25});
  CHECK(sum(0, 0) == doctest::Approx(6.25));
  CHECK(sum(0, 1) == doctest::Approx(7.25));
  CHECK(sum(1, 0) == doctest::Approx(7.25));
  CHECK(sum(1, 1) == doctest::Approx(16.25));
}

TEST_CASE("the triangular factor of W keeps every norm of W^T v, of more rows than columns and of fewer") {
  for (const std::size_t n_columns : {3u, 40u}) {
    const Tensor w = random_rows(6, n_columns);
    const Matrix64 factor = triangular_factor(w.matrix(0));
    CHECK(factor.rows == std::min<std::size_t>(6, n_columns));
    const Tensor vectors = random_rows(4, 6);
    for (std::size_t i = 0; i < 4; ++i) {
      const std::span<const float> v = vectors.matrix(0).row(i);
      double expected = 0, found = 0;
      for (std::size_t c = 0; c < n_columns; ++c) {
        double x = 0;
        for (std::size_t d = 0; d < 6; ++d) x += double{w.matrix(0)(d, c)} * double{v[d]};
        expected += x * x;
      }
      for (std::size_t r = 0; r < factor.rows; ++r) {
        double x = 0;
        for (std::size_t d = 0; d < 6; ++d) x += factor(r, d) * double{v[d]};
        found += x * x;
      }
      CHECK(found == doctest::Approx(expected).epsilon(1e-12));
    }
  }
}

TEST_CASE("a matrix that is not positive definite is told") {
  const Tensor rows = random_rows(3, 3);
  Matrix64 negative(3, 3);
  for (std::size_t d = 0; d < 3; ++d) negative(d, d) = d == 1 ? -1 : 1;
  CHECK(leverage(negative, 0.5, rows.matrix(0)).empty());
  CHECK(leverage(negative, 2, rows.matrix(0)).size() == 3);
}
