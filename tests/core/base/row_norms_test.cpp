#include "core/base/row_norms.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/core/cpu/only_target.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("squared norms of columns, of any number of rows and columns, on every instruction set") {
  // Columns of (3, 4, 3, 4, ...) times the column's number: 25 for every two rows, times its square.
  for (const std::size_t n_rows : {1u, 2u, 16u, 17u, 40u})
    for (const std::size_t n_cols : {1u, 15u, 16u, 33u}) {
      const std::size_t stride = n_cols + 2;
      std::vector<float> rows(n_rows * stride, 1000.0f);
      for (std::size_t r = 0; r < n_rows; ++r)
        for (std::size_t c = 0; c < n_cols; ++c) rows[r * stride + c] = static_cast<float>((3 + r % 2) * (c + 1));
      for_each_target([&] {
        std::vector<double> norms(n_cols, -1);
        squared_column_norms({rows.data(), n_rows, n_cols, stride}, norms);
        for (std::size_t c = 0; c < n_cols; ++c)
          CHECK(norms[c] == static_cast<double>((c + 1) * (c + 1) * (n_rows / 2 * 25 + n_rows % 2 * 9)));
      });
    }
}

TEST_CASE("L1 norms of projected rows, of any shape, on every instruction set; the same for the same row anywhere") {
  // Row r is (r, -1, 1, 1, ...) with r = place % 7; column c of P is (1, 2, c, 0, 0, ...): |r - 2 + c| each.
  for (const std::size_t n_rows : {1u, 6u, 23u})
    for (const std::size_t n_cols : {1u, 31u, 64u, 150u}) {
      const std::size_t dim = 5, stride = 7;
      std::vector<float> rows(n_rows * stride, 1000.0f), projection(dim * n_cols, 0.0f);
      for (std::size_t r = 0; r < n_rows; ++r) {
        const float row[] = {static_cast<float>(r % 7), -1, 1, 1, 1};
        std::copy_n(row, dim, rows.data() + r * stride);
      }
      for (std::size_t c = 0; c < n_cols; ++c) {
        projection[c] = 1;
        projection[n_cols + c] = 2;
        projection[2 * n_cols + c] = static_cast<float>(c);
      }
      for_each_target([&] {
        std::vector<float> norms(n_rows, -1);
        projected_l1_norms({rows.data(), n_rows, dim, stride}, {projection.data(), dim, n_cols, n_cols}, norms);
        for (std::size_t r = 0; r < n_rows; ++r) {
          double expected = 0;
          for (std::size_t c = 0; c < n_cols; ++c) expected += std::abs(static_cast<double>(r % 7 + c) - 2);
          CHECK(norms[r] == expected);
        }
      });
    }
  // Equal rows among others, with terms that round: to the bit.
  const std::size_t n_rows = 41, dim = 64, n_cols = 100;
  std::vector<float> rows(n_rows * dim), projection(dim * n_cols);
  for (std::size_t i = 0; i < rows.size(); ++i)
    rows[i] = std::sin(static_cast<float>(i % dim * 31 + (i / dim % 3 == 0 ? 0 : i)));
  for (std::size_t i = 0; i < projection.size(); ++i) projection[i] = std::sin(static_cast<float>(i * i % 1009));
  for_each_target([&] {
    std::vector<float> norms(n_rows);
    projected_l1_norms({rows.data(), n_rows, dim, dim}, {projection.data(), dim, n_cols, n_cols}, norms);
    for (std::size_t r = 0; r < n_rows; r += 3) CHECK(norms[r] == norms[0]);
    CHECK(norms[1] != norms[0]);
  });
}

TEST_CASE("squared norms of columns do not round alike terms away") {
  // In float32 alone, 100,000 equal terms drift by some 1e-3.
  const std::size_t n = 100000;
  const std::vector<float> rows(n, 0.1f);
  double norm = 0;
  squared_column_norms({rows.data(), n, 1, 1}, {&norm, 1});
  CHECK(norm == doctest::Approx(n * double{0.1f} * double{0.1f}).epsilon(1e-6));
}
