#include <bit>

#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/selftest/device_array.h"

namespace kvreplay::testing {
namespace {

struct Totals {
  float sum;
  double precise_sum;
  unsigned count;
  int least, most;
  unsigned bits;
  unsigned long long packed;
};

__global__ void add_up(const float* values, unsigned n, Totals* totals) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  atomicAdd(&totals->sum, values[i]);
  atomicAdd(&totals->precise_sum, static_cast<double>(values[i]));
  atomicAdd(&totals->count, 1u);
  atomicMin(&totals->least, static_cast<int>(values[i]));
  atomicMax(&totals->most, static_cast<int>(values[i]));
  atomicOr(&totals->bits, 1u << (i % 8));
  // The greatest value and its index in one word.
  const unsigned long long own =
      static_cast<unsigned long long>(__float_as_uint(values[i])) << 32 | static_cast<unsigned long long>(i);
  atomicMax(&totals->packed, own);
}

// The last block to come sums what the others left, ordered by fences.
__global__ void sum_in_last_block(float* parts, unsigned* n_done, float* sum) {
  if (threadIdx.x != 0) return;
  parts[blockIdx.x] = static_cast<float>(blockIdx.x + 1);
  __threadfence();
  const unsigned before = atomicAdd(n_done, 1u);
  if (before + 1 != gridDim.x) return;
  __threadfence();
  float total = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) total += parts[i];
  *sum = total;
}

}  // namespace

TEST_CASE("atomics of blocks and threads add up") {
  const TestStream stream;
  std::vector<float> values;
  for (int i = 0; i < 300; ++i) values.push_back(static_cast<float>(i * 37 % 101));
  const DeviceArray<float> input(values, stream);
  const DeviceArray<Totals> totals({Totals{0, 0, 0, 1000, -1000, 0, 0}}, stream);
  require_success(cuda::launch(add_up, dim3(3), dim3(128), 0, stream.get(), input.data(), 300u, totals.data()));
  const Totals found = totals.read(stream)[0];
  double expected = 0;
  for (const float value : values) expected += static_cast<double>(value);
  CHECK(static_cast<double>(found.sum) == expected);
  CHECK(found.precise_sum == expected);
  CHECK(found.count == 300);
  CHECK(found.least == 0);
  CHECK(found.most == 100);
  CHECK(found.bits == 255);
  CHECK((found.packed >> 32) == std::bit_cast<unsigned>(100.0f));
}

TEST_CASE("fences hand what blocks wrote to the last of them") {
  const TestStream stream;
  const DeviceArray<float> parts(6), sum(1);
  const DeviceArray<unsigned> n_done({0}, stream);
  require_success(
      cuda::launch(sum_in_last_block, dim3(6), dim3(32), 0, stream.get(), parts.data(), n_done.data(), sum.data()));
  CHECK(sum.read(stream)[0] == 21);
}

}  // namespace kvreplay::testing
