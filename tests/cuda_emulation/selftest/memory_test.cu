#include <cuda_fp16.h>
#include <cuda_pipeline.h>

#include <cmath>

#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/live_resources.h"
#include "tests/cuda_emulation/selftest/device_array.h"
#include "tests/cuda_emulation/settings.h"

namespace kvreplay::testing {
namespace {

__global__ void copy_vectors(const float4* from, float4* to, const __half2* halves, float2* wide) {
  to[threadIdx.x] = from[threadIdx.x];
  wide[threadIdx.x] = __half22float2(halves[threadIdx.x]);
}

// Reverses tiles of 64 floats, the next tile being on its way while one is written.
__global__ void reverse_tiles(const float* from, float* to, int n_tiles) {
  cuda::SharedArena arena;
  float* tiles = arena.take<float>(2 * 64);
  const auto fetch = [&](int tile) {
    if (tile < n_tiles)
      __pipeline_memcpy_async(tiles + tile % 2 * 64 + 4 * static_cast<int>(threadIdx.x),
                              from + 64 * tile + 4 * static_cast<int>(threadIdx.x), 16);
    __pipeline_commit();
  };
  fetch(0);
  for (int tile = 0; tile < n_tiles; ++tile) {
    fetch(tile + 1);
    __pipeline_wait_prior(1);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < 64; i += 16) to[64 * tile + i] = tiles[tile % 2 * 64 + 63 - i];
    __syncthreads();
  }
}

__global__ void read_shared(float* out) {
  cuda::SharedArena arena;
  out[threadIdx.x] = arena.take<float>(32)[threadIdx.x];
}

}  // namespace

TEST_CASE("vectors of float and half are loaded and stored whole") {
  const TestStream stream;
  std::vector<float4> values;
  std::vector<__half2> halves;
  for (int i = 0; i < 32; ++i) {
    const auto x = static_cast<float>(i);
    values.push_back(make_float4(x, x + 0.25f, x + 0.5f, x + 0.75f));
    halves.push_back(__floats2half2_rn(x, x + 0.5f));
  }
  const DeviceArray<float4> from(values, stream), to(32);
  const DeviceArray<__half2> narrow(halves, stream);
  const DeviceArray<float2> wide(32);
  require_success(cuda::launch(copy_vectors, dim3(1), dim3(32), 0, stream.get(), from.data(), to.data(), narrow.data(),
                               wide.data()));
  const std::vector<float4> found = to.read(stream);
  const std::vector<float2> widened = wide.read(stream);
  for (std::size_t i = 0; i < 32; ++i) {
    CHECK(found[i].w == values[i].w);
    CHECK(widened[i].y == static_cast<float>(i) + 0.5f);
  }
}

TEST_CASE("asynchronous copies into shared memory arrive when they are waited for") {
  const TestStream stream;
  std::vector<float> values;
  for (int i = 0; i < 64 * 5; ++i) values.push_back(static_cast<float>(i));
  const DeviceArray<float> from(values, stream), to(values.size());
  require_success(
      cuda::launch(reverse_tiles, dim3(1), dim3(16), 128 * sizeof(float), stream.get(), from.data(), to.data(), 5));
  const std::vector<float> found = to.read(stream);
  for (std::size_t i = 0; i < found.size(); ++i) REQUIRE(found[i] == values[i / 64 * 64 + 63 - i % 64]);
}

TEST_CASE("memory that nobody wrote holds NaN") {
  const TestStream stream;
  const DeviceArray<float> out(32), untouched(8);
  require_success(cuda::launch(read_shared, dim3(1), dim3(32), 128, stream.get(), out.data()));
  for (const float value : out.read(stream)) CHECK(std::isnan(value));
  for (const float value : untouched.read(stream)) CHECK(std::isnan(value));
}

TEST_CASE("copies of rows keep what lies between them") {
  const TestStream stream;
  const DeviceArray<int> narrow({1, 2, 3, 4, 5, 6}, stream), wide({0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, stream);
  // Three rows of two into rows that are four apart.
  require_success(cudaMemcpy2DAsync(wide.data(), 4 * sizeof(int), narrow.data(), 2 * sizeof(int), 2 * sizeof(int), 3,
                                    cudaMemcpyDeviceToDevice, stream.get()));
  CHECK(wide.read(stream) == std::vector<int>{1, 2, 0, 0, 3, 4, 0, 0, 5, 6});
  CHECK(cudaMemcpy2DAsync(wide.data(), 4, narrow.data(), 8, 8, 1, cudaMemcpyDeviceToDevice, stream.get()) ==
        cudaErrorInvalidPitchValue);
}

TEST_CASE("cudaMemsetAsync fills bytes, cudaMemcpy waits for itself") {
  const TestStream stream;
  const DeviceArray<int> array({1, 2, 3}, stream);
  require_success(cudaMemsetAsync(array.data(), 0x11, 2 * sizeof(int), stream.get()));
  stream.wait();
  int found[3] = {};
  require_success(cudaMemcpy(found, array.data(), sizeof found, cudaMemcpyDefault));
  CHECK(found[0] == 0x11111111);
  CHECK(found[1] == 0x11111111);
  CHECK(found[2] == 3);
}

TEST_CASE("a device gives no more memory than it has, and all that it gave can be given back") {
  const TestStream stream;
  const emulation::LiveResources before = emulation::live_resources();
  std::size_t free = 0, total = 0, now = 0;
  require_success(cudaMemGetInfo(&free, &total));
  void *first = nullptr, *second = nullptr;
  CHECK(cudaMalloc(&first, free + 1) == cudaErrorMemoryAllocation);
  CHECK(first == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);
  require_success(cudaMallocAsync(&first, 1000, stream.get()));
  require_success(cudaMalloc(&second, 24));
  require_success(cudaMemGetInfo(&now, &total));
  CHECK(free - now == 1024);
  require_success(cudaFreeAsync(first, stream.get()));
  require_success(cudaFree(second));
  stream.wait();
  CHECK(emulation::live_resources() == before);
}

TEST_CASE("copies of pageable memory take it as it is at the call, where they are allowed") {
  emulation::settings().staged_copies = true;
  {
    const TestStream stream;
    const DeviceArray<int> array(2);
    std::vector<int> values{1, 2}, found(2);
    require_success(
        cudaMemcpyAsync(array.data(), values.data(), 2 * sizeof(int), cudaMemcpyHostToDevice, stream.get()));
    values[0] = 9;
    require_success(cudaMemcpyAsync(found.data(), array.data(), 2 * sizeof(int), cudaMemcpyDeviceToHost, stream.get()));
    CHECK(found == std::vector<int>{1, 2});
  }
  emulation::settings().staged_copies = false;
}

}  // namespace kvreplay::testing
