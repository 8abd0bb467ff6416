#include "core/row_norms.h"

#include <doctest/doctest.h>

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

TEST_CASE("squared norms of columns do not round alike terms away") {
  // In float32 alone, 100,000 equal terms drift by some 1e-3.
  const std::size_t n = 100000;
  const std::vector<float> rows(n, 0.1f);
  double norm = 0;
  squared_column_norms({rows.data(), n, 1, 1}, {&norm, 1});
  CHECK(norm == doctest::Approx(n * double{0.1f} * double{0.1f}).epsilon(1e-6));
}
