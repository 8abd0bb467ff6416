// Bugs inside kernels, one per test case. Each must fail in the way that CMakeLists.txt says; the line that a sanitizer
// must name has the word "planted" in it.

#include <cuda_pipeline.h>
#include <mma.h>

#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/selftest/device_array.h"

namespace kvreplay::testing {
namespace {

// Reverses each tile of 64 values.
template <bool kBarrier>
__global__ void reverse_tiles(const float* from, float* to, int n_tiles) {
  cuda::SharedArena arena;
  float* tile = arena.take<float>(64);
  for (int t = 0; t < n_tiles; ++t) {
    if (kBarrier) __syncthreads();
    tile[threadIdx.x] = from[64 * t + static_cast<int>(threadIdx.x)];  // planted: others still read the last tile
    __syncthreads();
    to[64 * t + static_cast<int>(threadIdx.x)] = tile[63 - threadIdx.x];
  }
}

// Each lane adds its right neighbour's value, round after round.
__global__ void add_neighbours(float* values) {
  cuda::SharedArena arena;
  float* shared = arena.take<float>(32);
  shared[threadIdx.x] = values[threadIdx.x];
  __syncwarp();
  for (int i = 0; i < 3; ++i) {
    const float right = shared[(threadIdx.x + 1) % 32];
    // A __syncwarp is missing.
    shared[threadIdx.x] += right;  // planted
    __syncwarp();
  }
  values[threadIdx.x] = shared[threadIdx.x];
}

__global__ void barrier_in_branch(float* out) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();  // planted: not the barrier that the others wait at
  out[threadIdx.x] = 1;
}

__global__ void past_shared_array(float* out) {
  cuda::SharedArena arena;
  float* first = arena.take<float>(32);
  float* second = arena.take<float>(32);
  first[threadIdx.x] = second[threadIdx.x] = 0;
  if (threadIdx.x == 31) first[threadIdx.x + 1] = 1;  // planted: the first of the second array
  __syncwarp();
  out[threadIdx.x] = second[threadIdx.x];
}

__global__ void past_static_array(float* out, unsigned n) {
  __shared__ float array[32];
  for (unsigned i = threadIdx.x; i < n; i += 32) array[i] = 1;  // planted
  __syncwarp();
  out[threadIdx.x] = array[threadIdx.x];
}

__global__ void count_blocks(float* n) {
  if (threadIdx.x == 0) *n += 1;  // planted: blocks race
}

__global__ void write_at(float* out, unsigned i) { out[i] = 1; }  // planted

struct Hidden {
  float* out;
};
__global__ void write_hidden(Hidden hidden) { *hidden.out = 1; }  // planted

__global__ void shuffle_with_exited_lane(float* out) {
  if (threadIdx.x == 5) return;
  out[threadIdx.x] = __shfl_xor_sync(~0u, 1.0f, 1);  // planted
}

__global__ void shuffle_outside_mask(float* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 20);  // planted
}

__global__ void shuffle_meets_vote(float* out) {
  if (threadIdx.x < 16)
    out[threadIdx.x] = __shfl_sync(~0u, 1.0f, 0);
  else
    out[threadIdx.x] = static_cast<float>(__ballot_sync(~0u, 1));
}

__global__ void lane_left_out(float* out) {
  if (threadIdx.x != 7) __syncwarp();
  __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void read_unwritten(float* out) {
  cuda::SharedArena arena;
  float* array = arena.take<float>(32);
  if (threadIdx.x > 0) array[threadIdx.x] = 1;
  __syncwarp();
  out[threadIdx.x] = array[31 - threadIdx.x];
}

__global__ void read_before_arrival(const float* from, float* to) {
  cuda::SharedArena arena;
  float* array = arena.take<float>(32);
  __pipeline_memcpy_async(array + threadIdx.x, from + threadIdx.x, sizeof(float));
  __pipeline_commit();
  to[threadIdx.x] = array[threadIdx.x];
  __pipeline_wait_prior(0);
}

__global__ void load_misaligned(const float* from, float4* to) {
  to[threadIdx.x] = *reinterpret_cast<const float4*>(from + 1 + 4 * threadIdx.x);  // planted
}

__global__ void multiply_unconverted(const float* a, float* c) {
  using namespace nvcuda;
  wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::col_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  wmma::load_matrix_sync(left, a, 8);
  wmma::load_matrix_sync(right, a, 8);
  wmma::mma_sync(sum, left, right, sum);  // planted
  wmma::store_matrix_sync(c, sum, 16, wmma::mem_row_major);
}

// What the tile kernel should give.
template <typename Kernel>
void check_reversed(const Kernel& kernel) {
  const TestStream stream;
  std::vector<float> values;
  for (int i = 0; i < 4 * 64; ++i) values.push_back(static_cast<float>(i));
  const DeviceArray<float> from(values, stream), to(values.size());
  require_success(cuda::launch(kernel, dim3(1), dim3(64), 64 * sizeof(float), stream.get(), from.data(), to.data(), 4));
  const std::vector<float> found = to.read(stream);
  for (std::size_t i = 0; i < found.size(); ++i) REQUIRE(found[i] == values[i / 64 * 64 + 63 - i % 64]);
}

// Runs a kernel of one block on an array of 64.
template <typename... Parameters, typename... Arguments>
std::vector<float> run(void (*kernel)(float*, Parameters...), unsigned n_threads, std::size_t shared_bytes,
                       Arguments... arguments) {
  const TestStream stream;
  const DeviceArray<float> out(std::vector<float>(64, 0.0f), stream);
  require_success(cuda::launch(kernel, dim3(1), dim3(n_threads), shared_bytes, stream.get(), out.data(), arguments...));
  return out.read(stream);
}

}  // namespace

TEST_CASE("no bug") { check_reversed(reverse_tiles<true>); }
TEST_CASE("missing barrier") { check_reversed(reverse_tiles<false>); }

TEST_CASE("missing syncwarp") {
  const TestStream stream;
  std::vector<float> values;
  for (int i = 0; i < 32; ++i) values.push_back(static_cast<float>(i));
  const DeviceArray<float> array(values, stream);
  require_success(cuda::launch(add_neighbours, dim3(1), dim3(32), 32 * sizeof(float), stream.get(), array.data()));
  const std::vector<float> found = array.read(stream);
  // (1 + shift)^3: binomial sums of the four values from each on.
  for (std::size_t i = 0; i < 32; ++i)
    CHECK(found[i] == values[i] + 3 * values[(i + 1) % 32] + 3 * values[(i + 2) % 32] + values[(i + 3) % 32]);
}

TEST_CASE("barrier in a branch") { run(barrier_in_branch, 64, 0); }
TEST_CASE("past a shared array") { run(past_shared_array, 32, 64 * sizeof(float)); }
TEST_CASE("past a static array") { run(past_static_array, 32, 0, 33u); }

TEST_CASE("blocks race") {
  const TestStream stream;
  const DeviceArray<float> n({0.0f}, stream);
  require_success(cuda::launch(count_blocks, dim3(8), dim3(32), 0, stream.get(), n.data()));
  CHECK(n.read(stream)[0] == 8);
}

TEST_CASE("past global memory") { run(write_at, 1, 0, 64u); }

TEST_CASE("hidden pointer to freed memory") {
  const TestStream stream;
  Hidden hidden{};
  require_success(cudaMalloc(&hidden.out, 64));
  require_success(cudaFree(hidden.out));
  require_success(cuda::launch(write_hidden, dim3(1), dim3(1), 0, stream.get(), hidden));
  stream.wait();
}

TEST_CASE("shuffle with a lane that has exited") { run(shuffle_with_exited_lane, 32, 0); }
TEST_CASE("shuffle from outside the mask") { run(shuffle_outside_mask, 32, 0); }
TEST_CASE("shuffle meets vote") { run(shuffle_meets_vote, 32, 0); }
TEST_CASE("a lane left out") { run(lane_left_out, 32, 0); }
TEST_CASE("too little shared memory") { run(read_unwritten, 32, 31 * sizeof(float)); }

TEST_CASE("shared memory that nobody wrote") { CHECK(run(read_unwritten, 32, 32 * sizeof(float))[31] == 0); }

TEST_CASE("asynchronous copy read too early") {
  const TestStream stream;
  const DeviceArray<float> from(std::vector<float>(32, 1.0f), stream), to(32);
  require_success(
      cuda::launch(read_before_arrival, dim3(1), dim3(32), 32 * sizeof(float), stream.get(), from.data(), to.data()));
  CHECK(to.read(stream)[0] == 1);
}

TEST_CASE("misaligned vector") {
  const TestStream stream;
  const DeviceArray<float> from(std::vector<float>(64, 1.0f), stream);
  const DeviceArray<float4> to(8);
  require_success(cuda::launch(load_misaligned, dim3(1), dim3(8), 0, stream.get(), from.data(), to.data()));
  stream.wait();
}

TEST_CASE("float32 for tf32") {
  const TestStream stream;
  const DeviceArray<float> a(std::vector<float>(16 * 8, 0.1f), stream), c(16 * 16);
  require_success(cuda::launch(multiply_unconverted, dim3(1), dim3(32), 0, stream.get(), a.data(), c.data()));
  stream.wait();
}

}  // namespace kvreplay::testing
