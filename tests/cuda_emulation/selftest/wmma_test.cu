#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include <cmath>
#include <type_traits>

#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/selftest/device_array.h"
#include "tests/cuda_emulation/selftest/number_sequence.h"

namespace kvreplay::testing {
namespace {

namespace wmma = nvcuda::wmma;

// c[m, n] += a[m, k] b[k, n]: a in rows, b in columns, c in rows, k a multiple of kK; one warp.
template <typename T, typename Element, int kM, int kN, int kK, typename Sum>
__global__ void multiply_tile(const Element* a, const Element* b, Sum* c, unsigned k) {
  wmma::fragment<wmma::matrix_a, kM, kN, kK, T, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, kM, kN, kK, T, wmma::col_major> right;
  wmma::fragment<wmma::accumulator, kM, kN, kK, Sum> sum;
  wmma::load_matrix_sync(sum, c, kN, wmma::mem_row_major);
  for (unsigned i = 0; i < k; i += kK) {
    wmma::load_matrix_sync(left, a + i, k);
    wmma::load_matrix_sync(right, b + i, k);
    if constexpr (std::is_same_v<T, wmma::precision::tf32>) {
      for (int e = 0; e < left.num_elements; ++e) left.x[e] = wmma::__float_to_tf32(left.x[e]);
      for (int e = 0; e < right.num_elements; ++e) right.x[e] = wmma::__float_to_tf32(right.x[e]);
    }
    wmma::mma_sync(sum, left, right, sum);
  }
  wmma::store_matrix_sync(c, sum, kN, wmma::mem_row_major);
}

template <typename T, typename Element, int kM, int kN, int kK, typename Sum>
void check_product(double tolerance) {
  const TestStream stream;
  constexpr unsigned k = 4 * kK;
  NumberSequence numbers;
  const auto random = [&](std::size_t n) {
    std::vector<Element> values;
    for (std::size_t i = 0; i < n; ++i) values.push_back(static_cast<Element>(static_cast<float>(numbers.next())));
    return values;
  };
  const std::vector<Element> a = random(kM * k), b = random(kN * k);
  std::vector<Sum> c;
  for (int i = 0; i < kM * kN; ++i) c.push_back(static_cast<Sum>(static_cast<float>(numbers.next())));
  const DeviceArray<Element> left(a, stream), right(b, stream);
  const DeviceArray<Sum> result(c, stream);
  require_success(cuda::launch(multiply_tile<T, Element, kM, kN, kK, Sum>, dim3(1), dim3(32), 0, stream.get(),
                               left.data(), right.data(), result.data(), k));
  const std::vector<Sum> found = result.read(stream);
  for (unsigned m = 0; m < kM; ++m)
    for (unsigned n = 0; n < kN; ++n) {
      double expected = static_cast<double>(c[m * kN + n]);
      for (unsigned i = 0; i < k; ++i)
        expected += static_cast<double>(a[m * k + i]) * static_cast<double>(b[n * k + i]);
      REQUIRE(std::abs(static_cast<double>(found[m * kN + n]) - expected) < tolerance);
    }
}

}  // namespace

// Tolerances: 16 to 64 products of numbers below 1, with the roundings of sums and inputs.
TEST_CASE("wmma multiplies half matrices") {
  check_product<__half, __half, 16, 16, 16, float>(1e-5);
  check_product<__half, __half, 32, 8, 16, float>(1e-5);
  check_product<__half, __half, 8, 32, 16, float>(1e-5);
}

TEST_CASE("wmma adds in half precision where it is asked to") {
  check_product<__half, __half, 16, 16, 16, __half>(5e-2);
}

TEST_CASE("wmma multiplies bfloat16 matrices") { check_product<__nv_bfloat16, __nv_bfloat16, 16, 16, 16, float>(1e-5); }

TEST_CASE("wmma multiplies tf32 matrices, rounded to 10 bits") {
  check_product<wmma::precision::tf32, float, 16, 16, 8, float>(2e-2);
}

TEST_CASE("wmma multiplies double matrices") { check_product<double, double, 8, 8, 4, double>(1e-13); }

}  // namespace kvreplay::testing
