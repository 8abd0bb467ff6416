#include "core/base/linear_algebra.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/support/random_layer.h"

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
    const Tensor rounded = triangular_factor32(w.matrix(0));
    CHECK(rounded.rows() == factor.rows);
    for (std::size_t r = 0; r < factor.rows; ++r)
      for (std::size_t c = 0; c < 6; ++c) {
        CHECK(double{rounded.matrix(0)(r, c)} == doctest::Approx(factor(r, c)).epsilon(1e-5));
        if (c < r) CHECK(rounded.matrix(0)(r, c) == 0);
      }
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

TEST_CASE("half the log determinant by hand, from the upper triangle alone") {
  // det (4 2; 2 5) = 16
  Matrix64 matrix(2, 2);
  matrix.values = {4, 2, 777, 5};
  CHECK(half_log_det(matrix).value() == doctest::Approx(std::log(16.0) / 2));
  matrix.values = {4, 2, 2, 1};  // det 0
  CHECK(!half_log_det(matrix));
}

TEST_CASE("a log determinant from a root keeps small eigenvalues beside large ones") {
  // B B^T = diag(10^40, 3) turned by 45 degrees: in I + B B^T / 2 the 5/2 would be lost among the digits of 5 10^39.
  Matrix64 b(2, 3);
  const double large = 1e20 / std::sqrt(2.0), small = std::sqrt(1.5);
  b.values = {large, small, 0, large, -small, 0};
  CHECK(half_log_det_of_root(b, 0.5) == doctest::Approx((std::log(5e39) + std::log(2.5)) / 2).epsilon(1e-12));
  Matrix64 wide(1, 2);
  wide.values = {3, 4};
  CHECK(half_log_det_of_root(wide, 1) == doctest::Approx(std::log(26.0) / 2));
  wide.values = {0, 0};
  CHECK(half_log_det_of_root(wide, 1) == 0);
}

TEST_CASE("a symmetric root gives the matrix back, of full rank or not") {
  // x x^T + y y^T in three dimensions has rank 2: its Cholesky factorisation may fail.
  const double x[] = {1, 2, 3}, y[] = {-1, 0, 2};
  Matrix64 matrix(3, 3);
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t c = 0; c < 3; ++c) matrix(r, c) = x[r] * x[c] + y[r] * y[c];
  const Matrix64 root = symmetric_root(matrix), squared = product(root, transposed(root));
  for (std::size_t i = 0; i < 9; ++i) CHECK(squared.values[i] == doctest::Approx(matrix.values[i]).epsilon(1e-12));
}

TEST_CASE("products and Gram matrices of columns by hand") {
  Matrix64 a(2, 2), b(2, 2), sum(2, 2);
  a.values = {1, 2, 3, 4};
  b.values = {5, 6, 7, 8};
  CHECK(product(a, b).values == std::vector<double>{19, 22, 43, 50});
  CHECK(transposed(a).values == std::vector<double>{1, 3, 2, 4});
  // a a^T = (5 11; 11 25), on top of what is there
  sum.values = {1, 1, -9, 1};
  add_to_upper_gram_of_columns(a, 2, sum);
  CHECK(sum.values == std::vector<double>{11, 23, -9, 51});
}

TEST_CASE("leverage of projected rows is that of the rows multiplied out") {
  const Tensor rows = random_rows(300, 5), projection = random_rows(3, 5);
  Matrix64 p(3, 5);
  std::ranges::copy(projection.values(), p.values.begin());
  Tensor turned(1, 300, 3);  // float32: good to 1e-6
  for (std::size_t i = 0; i < 300; ++i)
    for (std::size_t r = 0; r < 3; ++r) {
      double sum = 0;
      for (std::size_t d = 0; d < 5; ++d) sum += p(r, d) * double{rows.matrix(0)(i, d)};
      turned.matrix(0)(i, r) = static_cast<float>(sum);
    }
  const Matrix64 g = gram(turned.matrix(0));
  const std::vector<double> expected = leverage(g, 1, turned.matrix(0)), found = leverage(g, 1, rows.matrix(0), p);
  for (std::size_t i = 0; i < 300; ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-5));
}

TEST_CASE("squared norms by hand") {
  Tensor rows(1, 2, 2);
  const float values[] = {3, 4, 0, -2};
  std::ranges::copy(values, rows.values().begin());
  CHECK(squared_norms(rows.matrix(0)) == std::vector<double>{25, 4});
}
