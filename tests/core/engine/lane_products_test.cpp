#include "core/engine/lane_products.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/base/matrix.h"
#include "core/contracts/metric.h"
#include "tests/core/cpu/only_target.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("every lane has the inner products of its own vectors, for any number of them and any instruction set") {
  NormalNumbers numbers(5);
  for_each_target([&] {
    for (const std::size_t n_a : {1u, 4u, 7u})
      for (const std::size_t n_b : {1u, 5u, 6u, 16u})
        for (const std::size_t dim : {1u, 5u, 64u}) {
          CAPTURE(n_a);
          CAPTURE(n_b);
          CAPTURE(dim);
          Buffer<float> a(dim * n_a * kPanelWidth), b(n_b * dim * kPanelWidth), out(n_b * n_a * kPanelWidth);
          for (Buffer<float>* side : {&a, &b})
            for (float& x : side->span()) x = static_cast<float>(numbers.next());
          lane_products(a.data(), n_a, b.data(), n_b, dim, out.data());
          double worst = 0;
          for (std::size_t j = 0; j < n_b; ++j)
            for (std::size_t i = 0; i < n_a; ++i)
              for (std::size_t l = 0; l < kPanelWidth; ++l) {
                double sum = 0;
                for (std::size_t d = 0; d < dim; ++d)
                  sum += double{a[(d * n_a + i) * kPanelWidth + l]} * b[(j * dim + d) * kPanelWidth + l];
                worst = std::max(worst, std::abs(out[(j * n_a + i) * kPanelWidth + l] - sum));
              }
          CHECK(worst <= 1e-5);  // 64 float32 terms of size 1
        }
  });
}
