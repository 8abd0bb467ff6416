#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/selftest/device_array.h"

namespace kvreplay::testing {
namespace {

// Sums the block's values in a tree.
__global__ void sum_block(const float* values, float* sums) {
  cuda::SharedArena arena;
  float* parts = arena.take<float>(blockDim.x);
  parts[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = parts[0];
}

__global__ void count_even(const int* values, int* counts) {
  const bool even = values[threadIdx.x] % 2 == 0;
  const int n = __syncthreads_count(even);
  const int all = __syncthreads_and(even);
  const int any = __syncthreads_or(even);
  if (threadIdx.x == 0) {
    counts[0] = n;
    counts[1] = all;
    counts[2] = any;
  }
}

// Half of the threads leave before the barrier, whole warps at a time.
__global__ void leave_early(float* values) {
  cuda::SharedArena arena;
  float* shared = arena.take<float>(32);
  if (threadIdx.x >= 32) return;
  shared[threadIdx.x] = values[threadIdx.x];
  __syncthreads();
  values[threadIdx.x] = shared[31 - threadIdx.x];
}

__global__ void write_indices(int* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[i] = static_cast<int>(i);
}

}  // namespace

TEST_CASE("a block sums its values between barriers") {
  const TestStream stream;
  std::vector<float> values(5 * 128);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7);
  const DeviceArray<float> input(values, stream), sums(5);
  require_success(
      cuda::launch(sum_block, dim3(5), dim3(128), 128 * sizeof(float), stream.get(), input.data(), sums.data()));
  const std::vector<float> found = sums.read(stream);
  for (std::size_t block = 0; block < 5; ++block) {
    float expected = 0;
    for (std::size_t i = 0; i < 128; ++i) expected += values[block * 128 + i];
    CHECK(found[block] == expected);
  }
}

TEST_CASE("barriers count predicates") {
  const TestStream stream;
  std::vector<int> values(96, 2);
  values[40] = 3;
  const DeviceArray<int> input(values, stream), counts(3);
  require_success(cuda::launch(count_even, dim3(1), dim3(96), 0, stream.get(), input.data(), counts.data()));
  CHECK(counts.read(stream) == std::vector<int>{95, 0, 1});
}

TEST_CASE("threads that have left do not hold up a barrier") {
  const TestStream stream;
  std::vector<float> values(64, 1);
  values[3] = 5;
  const DeviceArray<float> array(values, stream);
  require_success(cuda::launch(leave_early, dim3(1), dim3(64), 32 * sizeof(float), stream.get(), array.data()));
  CHECK(array.read(stream)[28] == 5);
}

TEST_CASE("every thread of a grid in three dimensions runs once, with its indices") {
  const TestStream stream;
  const dim3 grid(3, 2, 2), block(4, 3, 5);
  const DeviceArray<int> out(12 * 60);
  require_success(cuda::launch(write_indices, grid, block, 0, stream.get(), out.data()));
  const std::vector<int> found = out.read(stream);
  for (std::size_t i = 0; i < found.size(); ++i) REQUIRE(found[i] == static_cast<int>(i));
}

}  // namespace kvreplay::testing
