// The part of cuBLAS that the product calls, on OpenBLAS. The prototypes come from NVIDIA's headers; what is not here
// does not link.

#include <cblas.h>
#include <cublas_v2.h>

#include "tests/cuda_emulation/device_heap.h"
#include "tests/cuda_emulation/library_call.h"
#include "tests/cuda_emulation/matrix_operand.h"
#include "tests/cuda_emulation/sanitizers.h"

struct cublasContext : kvreplay::emulation::LibraryHandle {
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

namespace kvreplay::emulation {
namespace {

template <typename Body>
cublasStatus_t blas_call(cublasHandle_t handle, const Body& body) {
  return library_call(CUBLAS_STATUS_EXECUTION_FAILED, [&] {
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    return body();
  });
}

CBLAS_TRANSPOSE transposition(cublasOperation_t operation) {
  return operation == CUBLAS_OP_N ? CblasNoTrans : CblasTrans;
}

// How a matrix that is rows x columns after its operation lies in memory.
MatrixLayout layout_of(cublasOperation_t operation, int rows, int columns, cudaDataType type, int leading) {
  return operation == CUBLAS_OP_N ? MatrixLayout{type, rows, columns, leading}
                                  : MatrixLayout{type, columns, rows, leading};
}

// C = alpha op(A) op(B) + beta C.
struct Product {
  cublasOperation_t operation_a, operation_b;
  int m, n, k;
  double alpha, beta;
  MatrixLayout a, b, c;
  bool tf32 = false;  // float32 inputs are rounded, as tensor cores do

  bool is_valid() const {
    const auto fits = [](const MatrixLayout& layout) { return layout.leading >= (layout.rows > 1 ? layout.rows : 1); };
    return m >= 0 && n >= 0 && k >= 0 && fits(a) && fits(b) && fits(c);
  }

  bool is_supported() const {
    if (a.type != b.type) return false;
    if (a.type == CUDA_R_64F) return c.type == CUDA_R_64F;
    return c.type == CUDA_R_32F || c.type == a.type;
  }
};

Product product(cublasOperation_t operation_a, cublasOperation_t operation_b, int m, int n, int k, double alpha,
                cudaDataType type_a, int lda, cudaDataType type_b, int ldb, double beta, cudaDataType type_c, int ldc) {
  return {operation_a,
          operation_b,
          m,
          n,
          k,
          alpha,
          beta,
          layout_of(operation_a, m, k, type_a, lda),
          layout_of(operation_b, k, n, type_b, ldb),
          {type_c, m, n, ldc}};
}

std::vector<float> input(const void* matrix, const MatrixLayout& layout, bool tf32) {
  std::vector<float> values = widened(matrix, layout);
  if (tf32)
    for (float& value : values) value = rounded_to_tf32(value);
  return values;
}

void multiply(const Product& p, const void* a, const void* b, void* c) {
  note_matrix_read(a, p.a);
  note_matrix_read(b, p.b);
  if (p.beta != 0) note_matrix_read(c, p.c);
  note_matrix_written(c, p.c);
  const CBLAS_TRANSPOSE transpose_a = transposition(p.operation_a), transpose_b = transposition(p.operation_b);
  if (p.a.type == CUDA_R_64F) {
    cblas_dgemm(CblasColMajor, transpose_a, transpose_b, p.m, p.n, p.k, p.alpha, static_cast<const double*>(a),
                p.a.leading, static_cast<const double*>(b), p.b.leading, p.beta, static_cast<double*>(c), p.c.leading);
    return;
  }
  const bool tf32 = p.tf32 && p.a.type == CUDA_R_32F;
  const std::vector<float> wide_a = input(a, p.a, tf32), wide_b = input(b, p.b, tf32);
  std::vector<float> wide_c = widened(c, p.c);
  cblas_sgemm(CblasColMajor, transpose_a, transpose_b, p.m, p.n, p.k, static_cast<float>(p.alpha), wide_a.data(),
              p.a.leading, wide_b.data(), p.b.leading, static_cast<float>(p.beta), wide_c.data(), p.c.leading);
  narrow(wide_c, c, p.c);
}

const void* advanced(const void* first, const MatrixLayout& layout, long long stride, int i) {
  return static_cast<const char*>(first) +
         static_cast<std::size_t>(stride) * static_cast<std::size_t>(i) * layout.element_bytes();
}

cublasStatus_t multiply_strided(cublasHandle_t handle, Product p, const void* a, long long stride_a, const void* b,
                                long long stride_b, void* c, long long stride_c, int n_batch) {
  if (!p.is_valid() || n_batch < 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (!p.is_supported()) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p.m == 0 || p.n == 0 || n_batch == 0) return CUBLAS_STATUS_SUCCESS;
  p.tf32 |= (handle->math & CUBLAS_TF32_TENSOR_OP_MATH) != 0;
  require_matrices(a, p.a, stride_a, n_batch, handle->device, "cuBLAS: A");
  require_matrices(b, p.b, stride_b, n_batch, handle->device, "cuBLAS: B");
  require_matrices(c, p.c, stride_c, n_batch, handle->device, "cuBLAS: C");
  enqueue_for(*handle, [=] {
    for (int i = 0; i < n_batch; ++i)
      multiply(p, advanced(a, p.a, stride_a, i), advanced(b, p.b, stride_b, i),
               const_cast<void*>(advanced(c, p.c, stride_c, i)));
  });
  return CUBLAS_STATUS_SUCCESS;
}

// The arrays of pointers are on the device: what they hold is known only when the product runs.
cublasStatus_t multiply_batched(cublasHandle_t handle, Product p, const void* const* a, const void* const* b,
                                void* const* c, int n_batch) {
  if (!p.is_valid() || n_batch < 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (!p.is_supported()) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p.m == 0 || p.n == 0 || n_batch == 0) return CUBLAS_STATUS_SUCCESS;
  p.tf32 |= (handle->math & CUBLAS_TF32_TENSOR_OP_MATH) != 0;
  const int device = handle->device;
  const std::size_t array_bytes = static_cast<std::size_t>(n_batch) * sizeof(void*);
  require_on_device(a, array_bytes, device, "cuBLAS: the array of A");
  require_on_device(b, array_bytes, device, "cuBLAS: the array of B");
  require_on_device(c, array_bytes, device, "cuBLAS: the array of C");
  enqueue_for(*handle, [=] {
    note_read(a, array_bytes);
    note_read(b, array_bytes);
    note_read(c, array_bytes);
    for (int i = 0; i < n_batch; ++i) {
      require_matrices(a[i], p.a, 0, 1, device, "cuBLAS: A of a batch");
      require_matrices(b[i], p.b, 0, 1, device, "cuBLAS: B of a batch");
      require_matrices(c[i], p.c, 0, 1, device, "cuBLAS: C of a batch");
      multiply(p, a[i], b[i], c[i]);
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}

// alpha and beta of the Ex functions, whose type goes by the type of computation; read at the call.
bool scalars(cublasComputeType_t compute, const void* alpha, const void* beta, Product& p) {
  switch (compute) {
    case CUBLAS_COMPUTE_32F_FAST_TF32:
      p.tf32 = true;
      [[fallthrough]];
    case CUBLAS_COMPUTE_32F:
    case CUBLAS_COMPUTE_32F_PEDANTIC:
      p.alpha = *static_cast<const float*>(alpha);
      p.beta = *static_cast<const float*>(beta);
      return p.a.type != CUDA_R_64F;
    case CUBLAS_COMPUTE_64F:
    case CUBLAS_COMPUTE_64F_PEDANTIC:
      p.alpha = *static_cast<const double*>(alpha);
      p.beta = *static_cast<const double*>(beta);
      return p.a.type == CUDA_R_64F;
    default:
      return false;
  }
}

}  // namespace

std::size_t& n_library_handles() {
  static std::size_t n = 0;
  return n;
}

}  // namespace kvreplay::emulation

using namespace kvreplay::emulation;

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  return library_call(CUBLAS_STATUS_ALLOC_FAILED, [&] {
    *handle = new cublasContext;
    ++n_library_handles();
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  --n_library_handles();
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  return blas_call(handle, [&] {
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  return blas_call(handle, [&] {
    handle->math = mode;
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, std::size_t n_bytes) {
  return blas_call(handle, [&] {
    if (reinterpret_cast<std::size_t>(workspace) % 256 != 0) return CUBLAS_STATUS_INVALID_VALUE;
    if (n_bytes > 0) require_on_device(workspace, n_bytes, handle->device, "cublasSetWorkspace: the workspace");
    return CUBLAS_STATUS_SUCCESS;
  });
}

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "unknown status";
  }
}

const char* cublasGetStatusString(cublasStatus_t status) { return cublasGetStatusName(status); }

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t operation_a, cublasOperation_t operation_b,
                              int m, int n, int k, const float* alpha, const float* a, int lda, const float* b, int ldb,
                              const float* beta, float* c, int ldc) {
  return cublasSgemmStridedBatched(handle, operation_a, operation_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc,
                                   0, 1);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t operation_a,
                                         cublasOperation_t operation_b, int m, int n, int k, const float* alpha,
                                         const float* a, int lda, long long stride_a, const float* b, int ldb,
                                         long long stride_b, const float* beta, float* c, int ldc, long long stride_c,
                                         int n_batch) {
  return blas_call(handle, [&] {
    const Product p =
        product(operation_a, operation_b, m, n, k, *alpha, CUDA_R_32F, lda, CUDA_R_32F, ldb, *beta, CUDA_R_32F, ldc);
    return multiply_strided(handle, p, a, stride_a, b, stride_b, c, stride_c, n_batch);
  });
}

cublasStatus_t cublasSgemmBatched(cublasHandle_t handle, cublasOperation_t operation_a, cublasOperation_t operation_b,
                                  int m, int n, int k, const float* alpha, const float* const a[], int lda,
                                  const float* const b[], int ldb, const float* beta, float* const c[], int ldc,
                                  int n_batch) {
  return blas_call(handle, [&] {
    const Product p =
        product(operation_a, operation_b, m, n, k, *alpha, CUDA_R_32F, lda, CUDA_R_32F, ldb, *beta, CUDA_R_32F, ldc);
    return multiply_batched(handle, p, reinterpret_cast<const void* const*>(a), reinterpret_cast<const void* const*>(b),
                            reinterpret_cast<void* const*>(c), n_batch);
  });
}

cublasStatus_t cublasDgemm_v2(cublasHandle_t handle, cublasOperation_t operation_a, cublasOperation_t operation_b,
                              int m, int n, int k, const double* alpha, const double* a, int lda, const double* b,
                              int ldb, const double* beta, double* c, int ldc) {
  return cublasDgemmStridedBatched(handle, operation_a, operation_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc,
                                   0, 1);
}

cublasStatus_t cublasDgemmStridedBatched(cublasHandle_t handle, cublasOperation_t operation_a,
                                         cublasOperation_t operation_b, int m, int n, int k, const double* alpha,
                                         const double* a, int lda, long long stride_a, const double* b, int ldb,
                                         long long stride_b, const double* beta, double* c, int ldc, long long stride_c,
                                         int n_batch) {
  return blas_call(handle, [&] {
    const Product p =
        product(operation_a, operation_b, m, n, k, *alpha, CUDA_R_64F, lda, CUDA_R_64F, ldb, *beta, CUDA_R_64F, ldc);
    return multiply_strided(handle, p, a, stride_a, b, stride_b, c, stride_c, n_batch);
  });
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t operation_a, cublasOperation_t operation_b, int m,
                            int n, int k, const void* alpha, const void* a, cudaDataType type_a, int lda, const void* b,
                            cudaDataType type_b, int ldb, const void* beta, void* c, cudaDataType type_c, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t algorithm) {
  return cublasGemmStridedBatchedEx(handle, operation_a, operation_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb,
                                    0, beta, c, type_c, ldc, 0, 1, compute, algorithm);
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t operation_a,
                                          cublasOperation_t operation_b, int m, int n, int k, const void* alpha,
                                          const void* a, cudaDataType type_a, int lda, long long stride_a,
                                          const void* b, cudaDataType type_b, int ldb, long long stride_b,
                                          const void* beta, void* c, cudaDataType type_c, int ldc, long long stride_c,
                                          int n_batch, cublasComputeType_t compute, cublasGemmAlgo_t) {
  return blas_call(handle, [&] {
    Product p = product(operation_a, operation_b, m, n, k, 0, type_a, lda, type_b, ldb, 0, type_c, ldc);
    if (!scalars(compute, alpha, beta, p)) return CUBLAS_STATUS_NOT_SUPPORTED;
    return multiply_strided(handle, p, a, stride_a, b, stride_b, c, stride_c, n_batch);
  });
}

cublasStatus_t cublasGemmBatchedEx(cublasHandle_t handle, cublasOperation_t operation_a, cublasOperation_t operation_b,
                                   int m, int n, int k, const void* alpha, const void* const a[], cudaDataType type_a,
                                   int lda, const void* const b[], cudaDataType type_b, int ldb, const void* beta,
                                   void* const c[], cudaDataType type_c, int ldc, int n_batch,
                                   cublasComputeType_t compute, cublasGemmAlgo_t) {
  return blas_call(handle, [&] {
    Product p = product(operation_a, operation_b, m, n, k, 0, type_a, lda, type_b, ldb, 0, type_c, ldc);
    if (!scalars(compute, alpha, beta, p)) return CUBLAS_STATUS_NOT_SUPPORTED;
    return multiply_batched(handle, p, a, b, c, n_batch);
  });
}

cublasStatus_t cublasDgemv_v2(cublasHandle_t handle, cublasOperation_t operation, int m, int n, const double* alpha,
                              const double* a, int lda, const double* x, int x_step, const double* beta, double* y,
                              int y_step) {
  return blas_call(handle, [&] {
    if (m < 0 || n < 0 || lda < (m > 1 ? m : 1) || x_step < 1 || y_step < 1) return CUBLAS_STATUS_INVALID_VALUE;
    if (m == 0 || n == 0) return CUBLAS_STATUS_SUCCESS;
    const bool plain = operation == CUBLAS_OP_N;
    const MatrixLayout a_layout{CUDA_R_64F, m, n, lda};
    const MatrixLayout x_layout{CUDA_R_64F, 1, plain ? n : m, x_step};
    const MatrixLayout y_layout{CUDA_R_64F, 1, plain ? m : n, y_step};
    require_matrices(a, a_layout, 0, 1, handle->device, "cublasDgemv: A");
    require_matrices(x, x_layout, 0, 1, handle->device, "cublasDgemv: x");
    require_matrices(y, y_layout, 0, 1, handle->device, "cublasDgemv: y");
    enqueue_for(*handle, [=, scale = *alpha, keep = *beta] {
      note_matrix_read(a, a_layout);
      note_matrix_read(x, x_layout);
      note_matrix_written(y, y_layout);
      cblas_dgemv(CblasColMajor, transposition(operation), m, n, scale, a, lda, x, x_step, keep, y, y_step);
    });
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasDsyrk_v2(cublasHandle_t handle, cublasFillMode_t triangle, cublasOperation_t operation, int n,
                              int k, const double* alpha, const double* a, int lda, const double* beta, double* c,
                              int ldc) {
  return blas_call(handle, [&] {
    const MatrixLayout a_layout = layout_of(operation, n, k, CUDA_R_64F, lda);
    const MatrixLayout c_layout{CUDA_R_64F, n, n, ldc};
    if (n < 0 || k < 0 || lda < a_layout.rows || ldc < n || lda < 1 || ldc < 1) return CUBLAS_STATUS_INVALID_VALUE;
    if (n == 0) return CUBLAS_STATUS_SUCCESS;
    require_matrices(a, a_layout, 0, 1, handle->device, "cublasDsyrk: A");
    require_matrices(c, c_layout, 0, 1, handle->device, "cublasDsyrk: C");
    enqueue_for(*handle, [=, scale = *alpha, keep = *beta] {
      note_matrix_read(a, a_layout);
      note_matrix_written(c, c_layout);  // also the other triangle, which nobody has business with meanwhile
      cblas_dsyrk(CblasColMajor, triangle == CUBLAS_FILL_MODE_LOWER ? CblasLower : CblasUpper, transposition(operation),
                  n, k, scale, a, lda, keep, c, ldc);
    });
    return CUBLAS_STATUS_SUCCESS;
  });
}

}  // extern "C"
