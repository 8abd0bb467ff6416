#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda/device.cuh"
#include "core/cuda/pack.h"

namespace kvreplay::cuda {
namespace {

constexpr unsigned kThreads = 256;

unsigned n_blocks(std::size_t n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }

__global__ void __launch_bounds__(kThreads) pack(RowPacking a) {
  const std::size_t at = blockIdx.x * std::size_t{kThreads} + threadIdx.x;
  if (at >= a.n_matrices * a.n_lanes * a.row_words) return;
  const std::size_t word = at % a.row_words, row = at / a.row_words % a.n_lanes, matrix = at / a.row_words / a.n_lanes;
  a.out[at] = row < a.n ? a.from[(matrix * a.n_rows + a.first + row) * a.row_words + word] : make_uint4(0, 0, 0, 0);
}

__device__ float to_float(__half x) { return __half2float(x); }
__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float to_float(float x) { return x; }

template <typename Value>
__global__ void __launch_bounds__(kThreads) widen_values(const Value* from, std::size_t n, float* out) {
  const std::size_t at = blockIdx.x * std::size_t{kThreads} + threadIdx.x;
  if (at < n) out[at] = to_float(from[at]);
}

__global__ void __launch_bounds__(kThreads) gather(RowGathering a) {
  const std::size_t at = blockIdx.x * std::size_t{kThreads} + threadIdx.x;
  if (at >= a.n * a.cols) return;
  const std::size_t row = a.index == nullptr ? at / a.cols : a.index[at / a.cols];
  const double factor = a.factors == nullptr ? 1.0 : a.factors[row];
  a.out[at] = (a.roots ? sqrt(factor) : factor) * double{a.rows[row * a.stride + at % a.cols]};
}

// One block per row: its maximum, its sum, its quotients.
__global__ void __launch_bounds__(kThreads)
    softmax(float* rows, std::size_t n_rows, std::size_t n_keys, const std::int32_t* first, const std::int32_t* last,
            float softcap) {
  SharedArena arena;
  float* parts = arena.take<float>(kThreads);
  float* row = rows + blockIdx.x * n_keys;
  const auto begin = static_cast<std::size_t>(first[blockIdx.x % n_rows]);
  const auto end = static_cast<std::size_t>(last[blockIdx.x % n_rows]) + 1;
  float largest = -INFINITY;
  for (std::size_t i = threadIdx.x; i < n_keys; i += kThreads) {
    if (i < begin || i >= end) continue;
    if (softcap > 0) row[i] = softcap * tanhf(row[i] / softcap);
    largest = fmaxf(largest, row[i]);
  }
  parts[threadIdx.x] = largest;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) parts[threadIdx.x] = fmaxf(parts[threadIdx.x], parts[threadIdx.x + half]);
    __syncthreads();
  }
  largest = parts[0];
  __syncthreads();
  float sum = 0;
  for (std::size_t i = threadIdx.x; i < n_keys; i += kThreads) {
    row[i] = i < begin || i >= end ? 0.0f : expf(row[i] - largest);
    sum += row[i];
  }
  parts[threadIdx.x] = sum;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    __syncthreads();
  }
  const float share = 1 / parts[0];
  for (std::size_t i = threadIdx.x; i < n_keys; i += kThreads) row[i] *= share;
}

}  // namespace

cudaError_t pack_rows(const RowPacking& packing, cudaStream_t stream) {
  const std::size_t n = packing.n_matrices * packing.n_lanes * packing.row_words;
  return n == 0 ? cudaSuccess : launch(pack, dim3(n_blocks(n)), dim3(kThreads), 0, stream, packing);
}

cudaError_t widen(const void* from, DType dtype, std::size_t n, float* out, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  const dim3 grid(n_blocks(n)), block(kThreads);
  switch (dtype) {
    case DType::float16:
      return launch(widen_values<__half>, grid, block, 0, stream, static_cast<const __half*>(from), n, out);
    case DType::bfloat16:
      return launch(widen_values<__nv_bfloat16>, grid, block, 0, stream, static_cast<const __nv_bfloat16*>(from), n,
                    out);
    case DType::float32:
      break;
  }
  return launch(widen_values<float>, grid, block, 0, stream, static_cast<const float*>(from), n, out);
}

cudaError_t gather_rows(const RowGathering& gathering, cudaStream_t stream) {
  const std::size_t n = gathering.n * gathering.cols;
  return n == 0 ? cudaSuccess : launch(gather, dim3(n_blocks(n)), dim3(kThreads), 0, stream, gathering);
}

cudaError_t softmax_rows(float* rows, std::size_t n_matrices, std::size_t n_rows, std::size_t n_keys,
                         const std::int32_t* first, const std::int32_t* last, float softcap, cudaStream_t stream) {
  if (n_matrices * n_rows == 0) return cudaSuccess;
  return launch(softmax, dim3(static_cast<unsigned>(n_matrices * n_rows)), dim3(kThreads), kThreads * sizeof(float),
                stream, rows, n_rows, n_keys, first, last, softcap);
}

}  // namespace kvreplay::cuda
