// The part of cuSOLVER that the product calls, on LAPACK. The prototypes come from NVIDIA's headers; what is not here
// does not link.

#include <cusolverDn.h>

#include "tests/cuda_emulation/device_heap.h"
#include "tests/cuda_emulation/library_call.h"
#include "tests/cuda_emulation/matrix_operand.h"
#include "tests/cuda_emulation/sanitizers.h"

// LAPACK, as OpenBLAS carries it.
extern "C" void dpotrf_(const char* triangle, const int* n, double* a, const int* lda, int* info);

struct cusolverDnContext : kvreplay::emulation::LibraryHandle {};

using namespace kvreplay::emulation;

extern "C" {

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* handle) {
  return library_call(CUSOLVER_STATUS_ALLOC_FAILED, [&] {
    *handle = new cusolverDnContext;
    ++n_library_handles();
    return CUSOLVER_STATUS_SUCCESS;
  });
}

cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
  if (handle == nullptr) return CUSOLVER_STATUS_NOT_INITIALIZED;
  --n_library_handles();
  delete handle;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream) {
  return library_call(CUSOLVER_STATUS_EXECUTION_FAILED, [&] {
    if (handle == nullptr) return CUSOLVER_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    return CUSOLVER_STATUS_SUCCESS;
  });
}

cusolverStatus_t cusolverDnDpotrfBatched(cusolverDnHandle_t handle, cublasFillMode_t triangle, int n, double* a[],
                                         int lda, int* info, int n_batch) {
  return library_call(CUSOLVER_STATUS_EXECUTION_FAILED, [&] {
    if (handle == nullptr) return CUSOLVER_STATUS_NOT_INITIALIZED;
    if (n < 0 || lda < n || lda < 1 || n_batch < 1) return CUSOLVER_STATUS_INVALID_VALUE;
    const int device = handle->device;
    const std::size_t array_bytes = static_cast<std::size_t>(n_batch) * sizeof(double*);
    const std::size_t info_bytes = static_cast<std::size_t>(n_batch) * sizeof(int);
    require_on_device(a, array_bytes, device, "cusolverDnDpotrfBatched: the array of matrices");
    require_on_device(info, info_bytes, device, "cusolverDnDpotrfBatched: info");
    enqueue_for(*handle, [=] {
      const MatrixLayout layout{CUDA_R_64F, n, n, lda};
      note_read(a, array_bytes);
      note_write(info, info_bytes);
      for (int i = 0; i < n_batch; ++i) {
        require_matrices(a[i], layout, 0, 1, device, "cusolverDnDpotrfBatched: a matrix");
        note_matrix_written(a[i], layout);
        dpotrf_(triangle == CUBLAS_FILL_MODE_LOWER ? "L" : "U", &n, a[i], &lda, &info[i]);
      }
    });
    return CUSOLVER_STATUS_SUCCESS;
  });
}

}  // extern "C"
