// The runtime's functions about devices and errors.

#include <cuda_runtime.h>

#include <cstdio>
#include <string>

#include "tests/cuda_emulation/api_call.h"
#include "tests/cuda_emulation/device_heap.h"
#include "tests/cuda_emulation/device_limits.h"
#include "tests/cuda_emulation/stream_queue.h"

namespace kvreplay::emulation {
namespace {

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};

constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
};

const ErrorText& text_of(cudaError_t error) {
  for (const ErrorText& known : kErrors)
    if (known.error == error) return known;
  static constexpr ErrorText unknown{cudaErrorUnknown, "unrecognized error code", "unrecognized error code"};
  return unknown;
}

bool is_device(int device) { return device >= 0 && device < settings().devices; }

}  // namespace
}  // namespace kvreplay::emulation

using namespace kvreplay::emulation;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = settings().devices;
  return api_call([] { return cudaSuccess; });
}

cudaError_t cudaSetDevice(int device) {
  return api_call([&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    current_device() = device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return api_call([&] {
    *device = current_device();
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return api_call([&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    *properties = {};
    std::snprintf(properties->name, sizeof properties->name, "emulated device %d", device);
    properties->totalGlobalMem = settings().memory;
    properties->sharedMemPerBlock = kDefaultSharedBytes;
    properties->sharedMemPerBlockOptin = settings().shared;
    properties->sharedMemPerMultiprocessor = settings().shared + kReservedSharedBytes;
    properties->reservedSharedMemPerBlock = kReservedSharedBytes;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = kMaxBlockThreads;
    properties->maxThreadsPerMultiProcessor = kMaxMultiprocessorThreads;
    properties->maxBlocksPerMultiProcessor = kMaxMultiprocessorBlocks;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = kMaxBlockThreads;
    properties->maxThreadsDim[2] = kMaxBlockDepth;
    properties->maxGridSize[0] = kMaxGridWidth;
    properties->maxGridSize[1] = properties->maxGridSize[2] = kMaxGridHeight;
    properties->multiProcessorCount = kMultiprocessors;
    properties->major = kMajorVersion;
    properties->minor = kMinorVersion;
    properties->memoryPoolsSupported = 1;
    properties->unifiedAddressing = 1;
    properties->concurrentKernels = 1;
    properties->asyncEngineCount = 2;
    properties->l2CacheSize = 4 << 20;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return api_call([&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    switch (attribute) {
      case cudaDevAttrMaxThreadsPerBlock:
        *value = kMaxBlockThreads;
        break;
      case cudaDevAttrWarpSize:
        *value = 32;
        break;
      case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = kDefaultSharedBytes;
        break;
      case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(settings().shared);
        break;
      case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = static_cast<int>(settings().shared) + kReservedSharedBytes;
        break;
      case cudaDevAttrMultiProcessorCount:
        *value = kMultiprocessors;
        break;
      case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = kMaxMultiprocessorThreads;
        break;
      case cudaDevAttrComputeCapabilityMajor:
        *value = kMajorVersion;
        break;
      case cudaDevAttrComputeCapabilityMinor:
        *value = kMinorVersion;
        break;
      case cudaDevAttrL2CacheSize:
        *value = 4 << 20;
        break;
      case cudaDevAttrMemoryPoolsSupported:
        *value = 1;
        break;
      default:
        fatal("cudaDeviceGetAttribute: attribute " + std::to_string(attribute) + " is not emulated");
    }
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return api_call([&] {
    *total = settings().memory;
    *free = settings().memory - device_bytes_in_use(current_device());
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return api_call(Call::wait, cudaErrorIllegalAddress, [] {
    wait_for_device(current_device());
    return cudaSuccess;
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = lasting_error() != cudaSuccess ? lasting_error() : last_error();
  last_error() = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return lasting_error() != cudaSuccess ? lasting_error() : last_error(); }

const char* cudaGetErrorName(cudaError_t error) { return text_of(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return text_of(error).text; }

}  // extern "C"
