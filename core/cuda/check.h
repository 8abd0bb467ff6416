#pragma once
// Every call into CUDA and its libraries goes through KVREPLAY_CUDA: what fails is thrown with its text and its place.

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cusolverDn.h>

namespace kvreplay::cuda {

/// Throws DeviceError: "cudaMalloc(&p, n) at core/cuda/device_memory.cpp:31: out of memory".
void check(cudaError_t status, const char* call, const char* file, int line);
void check(cublasStatus_t status, const char* call, const char* file, int line);
void check(cusolverStatus_t status, const char* call, const char* file, int line);

}  // namespace kvreplay::cuda

#define KVREPLAY_CUDA(call) ::kvreplay::cuda::check((call), #call, __FILE__, __LINE__)
