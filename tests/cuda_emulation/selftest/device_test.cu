#include <string>
#include <thread>

#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/selftest/device_array.h"
#include "tests/cuda_emulation/settings.h"

namespace kvreplay::testing {
namespace {

__global__ void fill(float* out, float value) { out[threadIdx.x] = value; }

__global__ void use_shared(float* out) {
  cuda::SharedArena arena;
  arena.take<float>(15000)[14999 - threadIdx.x] = 1;
  if (threadIdx.x == 0) *out = 1;
}

// More GPUs for one test.
class Devices {
 public:
  explicit Devices(int n) : before_(emulation::settings().devices) { emulation::settings().devices = n; }
  ~Devices() {
    emulation::settings().devices = before_;
    cudaSetDevice(0);
  }
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;

 private:
  int before_;
};

}  // namespace

TEST_CASE("several devices have memory and streams of their own") {
  const Devices two(2);
  int count = 0;
  require_success(cudaGetDeviceCount(&count));
  CHECK(count == 2);
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  CHECK(cudaGetLastError() == cudaErrorInvalidDevice);
  const TestStream first;
  const DeviceArray<float> here(32);
  require_success(cudaSetDevice(1));
  {
    const TestStream second;
    const DeviceArray<float> there(32);
    require_success(cuda::launch(fill, dim3(1), dim3(32), 0, second.get(), there.data(), 2.0f));
    CHECK(there.read(second)[31] == 2);
    CHECK(cuda::launch(fill, dim3(1), dim3(32), 0, first.get(), there.data(), 2.0f) == cudaErrorInvalidResourceHandle);
    cudaGetLastError();
  }
  require_success(cudaSetDevice(0));
  require_success(cuda::launch(fill, dim3(1), dim3(32), 0, first.get(), here.data(), 1.0f));
  CHECK(here.read(first)[0] == 1);
}

TEST_CASE("each host thread has a current device, and works beside the others") {
  const Devices two(2);
  float found[2] = {};
  const auto work = [&](int device) {
    // No doctest here: its checks are not for threads.
    float *memory = nullptr, *host = nullptr;
    cudaStream_t stream = nullptr;
    cudaSetDevice(device);
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaMalloc(&memory, 32 * sizeof(float));
    cudaMallocHost(&host, sizeof(float));
    for (int i = 0; i < 20; ++i)
      cuda::launch(fill, dim3(1), dim3(32), 0, stream, memory, static_cast<float>(device + i));
    cudaMemcpyAsync(host, memory, sizeof(float), cudaMemcpyDeviceToHost, stream);
    cudaStreamSynchronize(stream);
    found[device] = *host;
    cudaFreeHost(host);
    cudaFree(memory);
    cudaStreamDestroy(stream);
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  CHECK(found[0] == 19);
  CHECK(found[1] == 20);
}

TEST_CASE("without a device every call says so") {
  const Devices none(0);
  int count = -1;
  CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
  CHECK(count == 0);
  CHECK(cudaSetDevice(0) == cudaErrorNoDevice);
  CHECK(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorNoDevice");
}

TEST_CASE("more than 48 KiB of shared memory must be asked for") {
  const TestStream stream;
  const DeviceArray<float> out(1);
  constexpr std::size_t bytes = 15000 * sizeof(float);
  CHECK(cuda::launch(use_shared, dim3(1), dim3(32), bytes, stream.get(), out.data()) == cudaErrorInvalidValue);
  CHECK(cudaPeekAtLastError() == cudaErrorInvalidValue);
  cudaGetLastError();
  int limit = 0;
  require_success(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  CHECK(cudaFuncSetAttribute(use_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, limit + 1) ==
        cudaErrorInvalidValue);
  cudaGetLastError();
  require_success(cudaFuncSetAttribute(use_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  require_success(cuda::launch(use_shared, dim3(1), dim3(32), bytes, stream.get(), out.data()));
  CHECK(out.read(stream)[0] == 1);
}

TEST_CASE("launches that no device takes are refused") {
  const TestStream stream;
  const DeviceArray<float> out(32);
  CHECK(cuda::launch(fill, dim3(1), dim3(1025), 0, stream.get(), out.data(), 1.0f) == cudaErrorInvalidConfiguration);
  CHECK(cuda::launch(fill, dim3(0), dim3(32), 0, stream.get(), out.data(), 1.0f) == cudaErrorInvalidConfiguration);
  CHECK(cuda::launch(fill, dim3(1, 65536), dim3(32), 0, stream.get(), out.data(), 1.0f) ==
        cudaErrorInvalidConfiguration);
  cudaGetLastError();
}

TEST_CASE("a device tells of itself") {
  cudaDeviceProp properties;
  require_success(cudaGetDeviceProperties(&properties, 0));
  CHECK(properties.warpSize == 32);
  int blocks = 0, version = 0;
  require_success(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, fill, 256, 0));
  CHECK(blocks == 6);
  require_success(cudaRuntimeGetVersion(&version));
  CHECK(version == CUDART_VERSION);
}

}  // namespace kvreplay::testing
