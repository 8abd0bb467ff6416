// Bugs of the host's code, one per test case. Each must fail in the way that CMakeLists.txt says; the line that a
// sanitizer must name has the word "planted" in it.

#include <cublas_v2.h>

#include <cstdio>

#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/selftest/device_array.h"
#include "tests/cuda_emulation/settings.h"

namespace kvreplay::testing {
namespace {

__global__ void fill_values(float* out, float value) { out[threadIdx.x] = value; }

void fill(const TestStream& stream, float* out, float value) {
  require_success(cuda::launch(fill_values, dim3(1), dim3(32), 0, stream.get(), out, value));
}

float* device_floats(std::size_t n) {
  float* memory = nullptr;
  require_success(cudaMalloc(&memory, n * sizeof(float)));
  return memory;
}

struct Hidden {
  float* out;
};
__global__ void write_hidden(Hidden hidden) { *hidden.out = 1; }

}  // namespace

TEST_CASE("copy on another stream without an event") {
  const TestStream first, second;
  const DeviceArray<float> array(32);
  fill(first, array.data(), 3);
  CHECK(array.read(second)[0] == 3);
}

TEST_CASE("host reads too early") {
  const TestStream stream;
  const DeviceArray<float> array(32);
  fill(stream, array.data(), 3);
  require_success(cudaMemcpyAsync(array.host(), array.data(), 128, cudaMemcpyDeviceToHost, stream.get()));
  CHECK(array.host()[0] == 3);  // planted
}

TEST_CASE("host writes while a copy reads") {
  const TestStream stream;
  const DeviceArray<float> array(32);
  array.host()[0] = 1;
  require_success(cudaMemcpyAsync(array.data(), array.host(), 128, cudaMemcpyHostToDevice, stream.get()));
  array.host()[0] = 2;  // planted
  stream.wait();
  CHECK(array.read(stream)[0] == 1);
}

TEST_CASE("cudaMemcpy does not wait for other streams") {
  const TestStream stream;
  const DeviceArray<float> array(32);
  fill(stream, array.data(), 3);
  float found = 0;
  require_success(cudaMemcpy(&found, array.data(), sizeof found, cudaMemcpyDeviceToHost));
  CHECK(found == 3);
}

TEST_CASE("use on a stream that the allocation is not ordered with") {
  const TestStream first, second;
  float* memory = nullptr;
  require_success(cudaMallocAsync(&memory, 128, first.get()));
  fill(second, memory, 1);
  second.wait();
  first.wait();
}

TEST_CASE("pinned memory freed while a copy reads it") {
  const TestStream stream;
  float *device = device_floats(32), *host = nullptr;
  require_success(cudaMallocHost(&host, 128));
  require_success(cudaMemcpyAsync(device, host, 128, cudaMemcpyHostToDevice, stream.get()));
  require_success(cudaFreeHost(host));
  stream.wait();
}

TEST_CASE("host reads device memory") {
  const float* const memory = device_floats(32);
  std::printf("%f\n", static_cast<double>(memory[0]));  // planted
}

TEST_CASE("kernel argument in host memory") {
  const TestStream stream;
  std::vector<float> host(32);
  fill(stream, host.data(), 1);
}

TEST_CASE("kernel argument in freed memory") {
  const TestStream stream;
  float* const memory = device_floats(32);
  require_success(cudaFree(memory));
  fill(stream, memory, 1);
}

TEST_CASE("memory of another device") {
  emulation::settings().devices = 2;
  float* const memory = device_floats(32);
  require_success(cudaSetDevice(1));
  const TestStream stream;
  fill(stream, memory, 1);
}

TEST_CASE("hidden memory of another device") {
  emulation::settings().devices = 2;
  const Hidden hidden{device_floats(32)};
  require_success(cudaSetDevice(1));
  const DeviceArray<float> own(1);
  const TestStream stream;
  require_success(cuda::launch(write_hidden, dim3(1), dim3(1), 0, stream.get(), hidden));
  stream.wait();
}

TEST_CASE("freed twice") {
  float* const memory = device_floats(32);
  require_success(cudaFree(memory));
  require_success(cudaFree(memory));
}

TEST_CASE("copy past the end") {
  const TestStream stream;
  const DeviceArray<float> array(32);
  require_success(cudaMemcpyAsync(array.host(), array.data() + 1, 128, cudaMemcpyDeviceToHost, stream.get()));
}

TEST_CASE("copy of the wrong kind") {
  const TestStream stream;
  const DeviceArray<float> array(32);
  require_success(cudaMemcpyAsync(array.data(), array.host(), 128, cudaMemcpyDeviceToHost, stream.get()));
}

TEST_CASE("asynchronous copy of pageable memory") {
  const TestStream stream;
  const DeviceArray<float> array(32);
  std::vector<float> host(32);
  require_success(cudaMemcpyAsync(array.data(), host.data(), 128, cudaMemcpyHostToDevice, stream.get()));
}

TEST_CASE("default stream") {
  const DeviceArray<float> array(32);
  require_success(cudaMemsetAsync(array.data(), 0, 128, nullptr));
}

TEST_CASE("blocking stream") {
  cudaStream_t stream = nullptr;
  require_success(cudaStreamCreate(&stream));
}

TEST_CASE("destroyed stream") {
  cudaStream_t destroyed = nullptr;
  {
    const TestStream stream;
    destroyed = stream.get();
  }
  require_success(cudaStreamSynchronize(destroyed));
}

TEST_CASE("matrix past the end of its memory") {
  const TestStream stream;
  const DeviceArray<float> a(std::vector<float>(16, 1.0f), stream), c(15);
  cublasHandle_t blas = nullptr;
  const float one = 1, zero = 0;
  REQUIRE(cublasCreate(&blas) == CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasSetStream(blas, stream.get()) == CUBLAS_STATUS_SUCCESS);
  cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 4, &one, a.data(), 4, a.data(), 4, &zero, c.data(), 4);
}

TEST_CASE("library call without a stream") {
  const TestStream stream;
  const DeviceArray<float> a(std::vector<float>(16, 1.0f), stream), c(16);
  stream.wait();
  cublasHandle_t blas = nullptr;
  const float one = 1, zero = 0;
  REQUIRE(cublasCreate(&blas) == CUBLAS_STATUS_SUCCESS);
  cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 4, &one, a.data(), 4, a.data(), 4, &zero, c.data(), 4);
}

TEST_CASE("matrix product races with a kernel") {
  const TestStream first, second;
  const DeviceArray<float> a(std::vector<float>(32, 1.0f), first), c(32);
  first.wait();
  cublasHandle_t blas = nullptr;
  const float one = 1, zero = 0;
  REQUIRE(cublasCreate(&blas) == CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasSetStream(blas, first.get()) == CUBLAS_STATUS_SUCCESS);
  fill(second, a.data(), 2);
  cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 4, &one, a.data(), 4, a.data(), 4, &zero, c.data(), 4);
  second.wait();
  first.wait();
  cublasDestroy(blas);
}

}  // namespace kvreplay::testing
