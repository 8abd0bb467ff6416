#include <cuda_fp16.h>

#include <cmath>

#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/selftest/device_array.h"

namespace kvreplay::testing {
namespace {

constexpr unsigned kAll = ~0u;

__global__ void shuffle_all(const double* values, double* out) {
  const unsigned lane = threadIdx.x;
  const double value = values[lane];
  out[lane] = __shfl_sync(kAll, value, 3);
  out[32 + lane] = __shfl_xor_sync(kAll, value, 5);
  out[64 + lane] = __shfl_up_sync(kAll, value, 2);
  out[96 + lane] = __shfl_down_sync(kAll, value, 4, 8);
  out[128 + lane] = static_cast<double>(__shfl_sync(kAll, static_cast<int>(value), static_cast<int>(lane) + 1, 16));
  out[160 + lane] = static_cast<double>(__half2float(__shfl_sync(kAll, __float2half(static_cast<float>(value)), 31)));
}

__global__ void vote(const int* values, unsigned* out) {
  const unsigned lane = threadIdx.x;
  const int value = values[lane];
  out[lane] = __ballot_sync(kAll, value > 2);
  out[32 + lane] = static_cast<unsigned>(__any_sync(kAll, value == 100) * 2 + __all_sync(kAll, value < 100));
  out[64 + lane] = __match_any_sync(kAll, value);
  out[96 + lane] = __reduce_add_sync(kAll, static_cast<unsigned>(value));
  out[128 + lane] = static_cast<unsigned>(__reduce_min_sync(kAll, value - 3) + 100);
  out[160 + lane] = __reduce_or_sync(kAll, 1u << value);
  // Each half of the warp by itself.
  const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;
  out[192 + lane] = __reduce_max_sync(half, lane);
}

// Cholesky of a matrix per warp, each row a lane: columns pass through shared memory with __syncwarp only.
__global__ void log_determinants(const float* matrices, float* out, int n) {
  cuda::SharedArena arena;
  float* all = arena.take<float>(blockDim.x / 32 * 32 * 33);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  float* rows = all + warp * 32 * 33;
  const float* matrix = matrices + warp * n * n;
  for (int j = 0; j < n; ++j)
    if (lane < n) rows[j * 33 + lane] = matrix[j * n + lane];
  __syncwarp();
  float sum = 0;
  for (int k = 0; k < n; ++k) {
    const float pivot = sqrtf(rows[k * 33 + k]);
    sum += logf(pivot);
    __syncwarp();
    if (lane >= k && lane < n) rows[lane * 33 + k] = lane == k ? pivot : rows[lane * 33 + k] / pivot;
    __syncwarp();
    if (lane > k && lane < n)
      for (int j = k + 1; j <= lane; ++j) rows[lane * 33 + j] -= rows[lane * 33 + k] * rows[j * 33 + k];
    __syncwarp();
  }
  if (lane == 0) out[warp] = 2 * sum;
}

}  // namespace

TEST_CASE("shuffles move values of 2, 4 and 8 bytes between lanes") {
  const TestStream stream;
  std::vector<double> values;
  for (int i = 0; i < 32; ++i) values.push_back(i * 10);
  const DeviceArray<double> input(values, stream), out(6 * 32);
  require_success(cuda::launch(shuffle_all, dim3(1), dim3(32), 0, stream.get(), input.data(), out.data()));
  const std::vector<double> found = out.read(stream);
  for (unsigned lane = 0; lane < 32; ++lane) {
    CHECK(found[lane] == 30);
    CHECK(found[32 + lane] == values[lane ^ 5]);
    CHECK(found[64 + lane] == values[lane < 2 ? lane : lane - 2]);
    CHECK(found[96 + lane] == values[lane % 8 < 4 ? lane + 4 : lane]);
    CHECK(found[128 + lane] == values[lane / 16 * 16 + (lane + 1) % 16]);
    CHECK(found[160 + lane] == 310);
  }
}

TEST_CASE("votes, matches and reductions see the lanes of their mask") {
  const TestStream stream;
  std::vector<int> values;
  for (int i = 0; i < 32; ++i) values.push_back(i % 5);
  const DeviceArray<int> input(values, stream);
  const DeviceArray<unsigned> out(7 * 32);
  require_success(cuda::launch(vote, dim3(1), dim3(32), 0, stream.get(), input.data(), out.data()));
  const std::vector<unsigned> found = out.read(stream);
  unsigned above = 0, sum = 0, equal[5] = {};
  for (unsigned i = 0; i < 32; ++i) {
    above |= static_cast<unsigned>(values[i] > 2) << i;
    equal[values[i]] |= 1u << i;
    sum += static_cast<unsigned>(values[i]);
  }
  for (unsigned lane = 0; lane < 32; ++lane) {
    CHECK(found[lane] == above);
    CHECK(found[32 + lane] == 1);
    CHECK(found[64 + lane] == equal[values[lane]]);
    CHECK(found[96 + lane] == sum);
    CHECK(found[128 + lane] == 97);
    CHECK(found[160 + lane] == 31);
    CHECK(found[192 + lane] == (lane < 16 ? 15 : 31));
  }
}

TEST_CASE("lanes pass columns through shared memory with __syncwarp") {
  // D + 1 1^T with D = diag(1, 2, ..., n): determinant n! (1 + sum of 1/i).
  const TestStream stream;
  constexpr int n = 19;
  std::vector<float> matrices;
  for (int warp = 0; warp < 3; ++warp)
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) matrices.push_back(i == j ? static_cast<float>(i + 2) : 1.0f);
  const DeviceArray<float> input(matrices, stream), out(3);
  require_success(cuda::launch(log_determinants, dim3(1), dim3(96), 3 * 32 * 33 * sizeof(float), stream.get(),
                               input.data(), out.data(), n));
  double expected = 0, harmonic = 1;
  for (int i = 1; i <= n; ++i) {
    expected += std::log(i);
    harmonic += 1.0 / i;
  }
  expected += std::log(harmonic);
  for (const float found : out.read(stream)) CHECK(found == doctest::Approx(expected).epsilon(1e-5));
}

}  // namespace kvreplay::testing
