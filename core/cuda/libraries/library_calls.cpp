// What the backend calls of cuBLAS and cuSOLVER, opened when it is first called. Linked, the two would cost every run
// of the program a quarter of a gigabyte, GPU or not, and keep it from starting where they are not installed.
//
// NVIDIA's headers declare these functions: a definition here that differs from them does not compile, and a function
// that the backend calls without one here does not link.

#include <cublas_v2.h>
#include <cusolverDn.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "core/base/error.h"

namespace kvreplay::cuda {
namespace {

class Library {
 public:
  // Where the system looks for libraries, then where the toolkit of the build lies.
  Library(const char* name, int version) : file_(fmt::format("lib{}.so.{}", name, version)) {
    for (const std::string& path : {file_, KVREPLAY_CUDA_LIBRARIES "/" + file_})
      if (handle_ == nullptr) handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  }

  void* find(const char* function) const {
    if (handle_ == nullptr) throw DeviceError(fmt::format("{} is not to be found, and CUDA's work needs it", file_));
    void* const found = dlsym(handle_, function);
    if (found == nullptr) throw DeviceError(fmt::format("{} has no {}", file_, function));
    return found;
  }

 private:
  std::string file_;
  void* handle_ = nullptr;
};

const Library& blas() {
  static const Library library("cublas", CUBLAS_VER_MAJOR);
  return library;
}

const Library& solver() {
  static const Library library("cusolver", CUSOLVER_VER_MAJOR);
  return library;
}

}  // namespace
}  // namespace kvreplay::cuda

#define KVREPLAY_FORWARD(library, result, name, parameters, arguments)                                          \
  extern "C" result name parameters {                                                                           \
    static const auto function = reinterpret_cast<result(*) parameters>(kvreplay::cuda::library().find(#name)); \
    return function arguments;                                                                                  \
  }

KVREPLAY_FORWARD(blas, cublasStatus_t, cublasCreate_v2, (cublasHandle_t * handle), (handle))
KVREPLAY_FORWARD(blas, cublasStatus_t, cublasDestroy_v2, (cublasHandle_t handle), (handle))
KVREPLAY_FORWARD(blas, cublasStatus_t, cublasSetStream_v2, (cublasHandle_t handle, cudaStream_t stream),
                 (handle, stream))
KVREPLAY_FORWARD(blas, const char*, cublasGetStatusString, (cublasStatus_t status), (status))
KVREPLAY_FORWARD(blas, cublasStatus_t, cublasGemmStridedBatchedEx,
                 (cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
                  const void* alpha, const void* a, cudaDataType a_type, int lda, long long a_spacing, const void* b,
                  cudaDataType b_type, int ldb, long long b_spacing, const void* beta, void* c, cudaDataType c_type,
                  int ldc, long long c_spacing, int count, cublasComputeType_t compute, cublasGemmAlgo_t algorithm),
                 (handle, transa, transb, m, n, k, alpha, a, a_type, lda, a_spacing, b, b_type, ldb, b_spacing, beta, c,
                  c_type, ldc, c_spacing, count, compute, algorithm))
KVREPLAY_FORWARD(blas, cublasStatus_t, cublasSgemm_v2,
                 (cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
                  const float* alpha, const float* a, int lda, const float* b, int ldb, const float* beta, float* c,
                  int ldc),
                 (handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))
KVREPLAY_FORWARD(blas, cublasStatus_t, cublasDsyrk_v2,
                 (cublasHandle_t handle, cublasFillMode_t uplo, cublasOperation_t trans, int n, int k,
                  const double* alpha, const double* a, int lda, const double* beta, double* c, int ldc),
                 (handle, uplo, trans, n, k, alpha, a, lda, beta, c, ldc))
KVREPLAY_FORWARD(blas, cublasStatus_t, cublasDgemm_v2,
                 (cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
                  const double* alpha, const double* a, int lda, const double* b, int ldb, const double* beta,
                  double* c, int ldc),
                 (handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))
KVREPLAY_FORWARD(blas, cublasStatus_t, cublasDgemv_v2,
                 (cublasHandle_t handle, cublasOperation_t trans, int m, int n, const double* alpha, const double* a,
                  int lda, const double* x, int incx, const double* beta, double* y, int incy),
                 (handle, trans, m, n, alpha, a, lda, x, incx, beta, y, incy))
KVREPLAY_FORWARD(solver, cusolverStatus_t, cusolverDnCreate, (cusolverDnHandle_t * handle), (handle))
KVREPLAY_FORWARD(solver, cusolverStatus_t, cusolverDnDestroy, (cusolverDnHandle_t handle), (handle))
KVREPLAY_FORWARD(solver, cusolverStatus_t, cusolverDnSetStream, (cusolverDnHandle_t handle, cudaStream_t stream),
                 (handle, stream))
KVREPLAY_FORWARD(solver, cusolverStatus_t, cusolverDnDpotrfBatched,
                 (cusolverDnHandle_t handle, cublasFillMode_t uplo, int n, double* a[], int lda, int* infos, int count),
                 (handle, uplo, n, a, lda, infos, count))
