#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda/device.cuh"
#include "core/cuda/norms.h"

namespace kvreplay::cuda {
namespace {

constexpr unsigned kWarp = 32, kWarps = 8;
constexpr unsigned kColumnWarps = 16;  // of a block that walks down columns: there are few blocks
constexpr std::size_t kRowsInSinglePrecision = 16;

__device__ float to_float(__half x) { return __half2float(x); }
__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float to_float(float x) { return x; }

template <typename T>
__device__ T sum_of_warp(T sum) {
  for (int half = kWarp / 2; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
  return sum;
}

// A thread per column and sixteenth of the blocks of rows.
__global__ void __launch_bounds__(kWarp* kColumnWarps)
    column_squares(const float* rows, std::size_t n_rows, std::size_t n_cols, double* out) {
  SharedArena arena;
  double* parts = arena.take<double>(kWarp * kColumnWarps);
  const std::size_t column = blockIdx.x * std::size_t{kWarp} + threadIdx.x;
  double total = 0;
  if (column < n_cols)
    for (std::size_t begin = threadIdx.y * kRowsInSinglePrecision; begin < n_rows;
         begin += kColumnWarps * kRowsInSinglePrecision) {
      float sum = 0;
#pragma unroll
      for (std::size_t i = 0; i < kRowsInSinglePrecision; ++i) {
        const float x = begin + i < n_rows ? rows[(begin + i) * n_cols + column] : 0.0f;
        sum += x * x;
      }
      total += double{sum};
    }
  parts[threadIdx.y * kWarp + threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y > 0 || column >= n_cols) return;
  for (unsigned w = 1; w < kColumnWarps; ++w) total += parts[w * kWarp + threadIdx.x];
  out[column] = total;
}

// A warp per row.
template <typename Value>
__global__ void __launch_bounds__(kWarp* kWarps)
    row_norms(const Value* rows, std::size_t n_rows, std::size_t n_cols, std::size_t stride, bool l1, float* out) {
  const std::size_t row = blockIdx.x * std::size_t{kWarps} + threadIdx.y;
  if (row >= n_rows) return;  // whole warps
  float sum = 0;
  for (std::size_t c = threadIdx.x; c < n_cols; c += kWarp) {
    const float x = to_float(rows[row * stride + c]);
    sum += l1 ? fabsf(x) : x * x;
  }
  sum = sum_of_warp(sum);
  if (threadIdx.x == 0) out[row] = l1 ? sum : sqrtf(sum);
}

__global__ void __launch_bounds__(kWarp* kWarps)
    row_products(const double* a, const double* b, std::size_t n_rows, std::size_t n_cols, double* out) {
  const std::size_t row = blockIdx.x * std::size_t{kWarps} + threadIdx.y;
  if (row >= n_rows) return;
  double sum = 0;
  for (std::size_t c = threadIdx.x; c < n_cols; c += kWarp) sum += a[row * n_cols + c] * b[row * n_cols + c];
  sum = sum_of_warp(sum);
  if (threadIdx.x == 0) out[row] = sum;
}

__global__ void __launch_bounds__(kWarp* kWarps)
    log_diagonals(const double* factors, std::size_t n_matrices, std::size_t n, double* out) {
  const std::size_t matrix = blockIdx.x * std::size_t{kWarps} + threadIdx.y;
  if (matrix >= n_matrices) return;
  double sum = 0;
  for (std::size_t d = threadIdx.x; d < n; d += kWarp) sum += log(factors[(matrix * n + d) * n + d]);
  sum = sum_of_warp(sum);
  if (threadIdx.x == 0) out[matrix] = sum;
}

dim3 grid_of(std::size_t n) { return dim3(static_cast<unsigned>((n + kWarps - 1) / kWarps)); }

}  // namespace

cudaError_t squared_column_norms(const float* rows, std::size_t n_rows, std::size_t n_cols, double* out,
                                 cudaStream_t stream) {
  if (n_cols == 0) return cudaSuccess;
  return launch(column_squares, dim3(static_cast<unsigned>((n_cols + kWarp - 1) / kWarp)), dim3(kWarp, kColumnWarps),
                kWarp * kColumnWarps * sizeof(double), stream, rows, n_rows, n_cols, out);
}

cudaError_t row_norms(const void* rows, DType dtype, std::size_t n_rows, std::size_t n_cols, std::size_t stride,
                      bool l1, float* out, cudaStream_t stream) {
  if (n_rows == 0) return cudaSuccess;
  const dim3 grid = grid_of(n_rows), block(kWarp, kWarps);
  switch (dtype) {
    case DType::float16:
      return launch(row_norms<__half>, grid, block, 0, stream, static_cast<const __half*>(rows), n_rows, n_cols, stride,
                    l1, out);
    case DType::bfloat16:
      return launch(row_norms<__nv_bfloat16>, grid, block, 0, stream, static_cast<const __nv_bfloat16*>(rows), n_rows,
                    n_cols, stride, l1, out);
    case DType::float32:
      break;
  }
  return launch(row_norms<float>, grid, block, 0, stream, static_cast<const float*>(rows), n_rows, n_cols, stride, l1,
                out);
}

cudaError_t row_products(const double* a, const double* b, std::size_t n_rows, std::size_t n_cols, double* out,
                         cudaStream_t stream) {
  if (n_rows == 0) return cudaSuccess;
  return launch(row_products, grid_of(n_rows), dim3(kWarp, kWarps), 0, stream, a, b, n_rows, n_cols, out);
}

cudaError_t sum_log_diagonals(const double* factors, std::size_t n_matrices, std::size_t n, double* out,
                              cudaStream_t stream) {
  if (n_matrices == 0) return cudaSuccess;
  return launch(log_diagonals, grid_of(n_matrices), dim3(kWarp, kWarps), 0, stream, factors, n_matrices, n, out);
}

}  // namespace kvreplay::cuda
