#include <cublas_v2.h>
#include <cusolverDn.h>

#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/error_injection.h"
#include "tests/cuda_emulation/selftest/device_array.h"

namespace kvreplay::testing {
namespace {

using emulation::Call;

__global__ void count(int* n) { ++*n; }

}  // namespace

TEST_CASE("the n-th allocation fails, and no other") {
  void *first = nullptr, *second = nullptr;
  emulation::inject_error(Call::allocation, 2);
  CHECK(cudaMalloc(&first, 8) == cudaSuccess);
  CHECK(cudaMallocHost(&second, 8) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaMallocHost(&second, 8) == cudaSuccess);
  cudaFree(first);
  cudaFreeHost(second);
}

TEST_CASE("a launch that fails runs nothing") {
  const TestStream stream;
  const DeviceArray<int> n({0}, stream);
  const std::size_t before = emulation::n_calls(Call::launch);
  emulation::inject_error(Call::launch, 2);
  const auto launch = [&] { return cuda::launch(count, dim3(1), dim3(1), 0, stream.get(), n.data()); };
  CHECK(launch() == cudaSuccess);
  CHECK(launch() == cudaErrorLaunchOutOfResources);
  CHECK(cudaGetLastError() == cudaErrorLaunchOutOfResources);
  CHECK(launch() == cudaSuccess);
  CHECK(n.read(stream)[0] == 2);
  CHECK(emulation::n_calls(Call::launch) == before + 3);
}

TEST_CASE("a copy that fails copies nothing") {
  const TestStream stream;
  const DeviceArray<int> n({5}, stream);
  emulation::inject_errors("copy:1");
  CHECK(cudaMemsetAsync(n.data(), 0, sizeof(int), stream.get()) == cudaErrorInvalidValue);
  CHECK(n.read(stream)[0] == 5);
  cudaGetLastError();
}

TEST_CASE("creating a stream or an event can fail") {
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  emulation::inject_error(Call::stream, 1);
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaErrorMemoryAllocation);
  emulation::inject_error(Call::stream, 1);
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaErrorMemoryAllocation);
  cudaGetLastError();
}

TEST_CASE("after a kernel has failed every call fails, until the test is over") {
  const TestStream stream;
  emulation::inject_error(Call::wait, 1);
  CHECK(cudaStreamSynchronize(stream.get()) == cudaErrorIllegalAddress);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 8) == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  emulation::clear_injected_errors();
  CHECK(cudaMalloc(&memory, 8) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("library calls fail with statuses of their own") {
  cublasHandle_t blas = nullptr;
  cusolverDnHandle_t solver = nullptr;
  emulation::inject_error(Call::library, 1);
  CHECK(cublasCreate(&blas) == CUBLAS_STATUS_ALLOC_FAILED);
  CHECK(cublasCreate(&blas) == CUBLAS_STATUS_SUCCESS);
  emulation::inject_error(Call::library, 2);
  CHECK(cublasSetMathMode(blas, CUBLAS_DEFAULT_MATH) == CUBLAS_STATUS_SUCCESS);
  CHECK(cublasSetMathMode(blas, CUBLAS_DEFAULT_MATH) == CUBLAS_STATUS_EXECUTION_FAILED);
  emulation::inject_error(Call::library, 1);
  CHECK(cusolverDnCreate(&solver) == CUSOLVER_STATUS_ALLOC_FAILED);
  cublasDestroy(blas);
}

}  // namespace kvreplay::testing
