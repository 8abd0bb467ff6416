#pragma once
// Arrays on a device for the tests of the emulation, with calls that must succeed.

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

namespace kvreplay::testing {

inline void require_success(cudaError_t status) { REQUIRE(status == cudaSuccess); }

/// A non-blocking stream.
class TestStream {
 public:
  TestStream() { require_success(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~TestStream() { cudaStreamDestroy(stream_); }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;

  cudaStream_t get() const { return stream_; }
  void wait() const { require_success(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Device memory with a pinned copy on the host.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t size) : size_(size) {
    require_success(cudaMalloc(&device_, size * sizeof(T)));
    require_success(cudaMallocHost(&host_, size * sizeof(T)));
  }
  DeviceArray(const std::vector<T>& values, const TestStream& stream) : DeviceArray(values.size()) {
    std::memcpy(static_cast<void*>(host_), values.data(), size_ * sizeof(T));
    require_success(cudaMemcpyAsync(device_, host_, size_ * sizeof(T), cudaMemcpyHostToDevice, stream.get()));
  }
  ~DeviceArray() {
    cudaFree(device_);
    cudaFreeHost(host_);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return device_; }
  T* host() const { return host_; }
  std::size_t size() const { return size_; }

  /// What the stream's work leaves in it.
  std::vector<T> read(const TestStream& stream) const {
    require_success(cudaMemcpyAsync(host_, device_, size_ * sizeof(T), cudaMemcpyDeviceToHost, stream.get()));
    stream.wait();
    return std::vector<T>(host_, host_ + size_);
  }

 private:
  std::size_t size_;
  T* device_ = nullptr;
  T* host_ = nullptr;
};

}  // namespace kvreplay::testing
