#include "core/cuda/device.cuh"
#include "core/cuda/weights.h"

namespace kvreplay::cuda {
namespace {

// A warp is 32 columns wide, so that it reads 128 contiguous bytes of each key; 8 warps share a chunk of keys.
constexpr unsigned kWide = 32, kHigh = 8;

__device__ float capped(float logit, float softcap) { return softcap > 0 ? softcap * tanhf(logit / softcap) : logit; }

__device__ float weight(float logit, float max, float softcap) {
  const float x = capped(logit, softcap) - max;
  return x < -87.336544f ? 0.0f : expf(x);  // ln 2^-126: what is below counts as nothing, on every backend
}

struct Span {
  std::int32_t begin, end;  // keys
};

// What this thread's query sees of the block's chunk of keys.
__device__ Span seen_keys(const LogitColumns& a, std::size_t column) {
  const std::size_t lane = column % a.n_lanes;
  const auto begin = static_cast<std::int32_t>(blockIdx.y * kKeysOfChunk);
  const auto end = min(begin + static_cast<std::int32_t>(kKeysOfChunk), static_cast<std::int32_t>(a.n_keys));
  return {max(begin, a.first[lane]), min(end, a.last[lane] + 1)};
}

// The first key of the chunk that is this thread's turn, at or after span.begin.
__device__ std::int32_t first_turn(const Span& span) {
  const auto begin = static_cast<std::int32_t>(blockIdx.y * kKeysOfChunk + threadIdx.y);
  const std::int32_t behind = span.begin - begin;
  constexpr auto kStep = static_cast<std::int32_t>(kHigh);
  return behind <= 0 ? begin : begin + (behind + kStep - 1) / kStep * kStep;
}

// Grid: (n_columns / 32, chunks, n_batch).
__global__ void __launch_bounds__(kWide* kHigh) chunk_maxima(LogitColumns a, float* chunks) {
  SharedArena arena;
  float* rows = arena.take<float>(kWide * kHigh);
  const std::size_t column = blockIdx.x * kWide + threadIdx.x;
  const float* logits = a.logits + blockIdx.z * a.n_keys * a.n_columns + column;
  const Span span = seen_keys(a, column);
  float largest = -INFINITY;
  for (std::int32_t key = first_turn(span); key < span.end; key += static_cast<std::int32_t>(kHigh))
    largest = fmaxf(largest, capped(logits[static_cast<std::size_t>(key) * a.n_columns], a.softcap));
  rows[threadIdx.y * kWide + threadIdx.x] = largest;
  __syncthreads();
  if (threadIdx.y != 0) return;
  for (unsigned y = 1; y < kHigh; ++y) largest = fmaxf(largest, rows[y * kWide + threadIdx.x]);
  chunks[(blockIdx.z * gridDim.y + blockIdx.y) * a.n_columns + column] = largest;
}

// The same, of sums.
__global__ void __launch_bounds__(kWide* kHigh) chunk_sums(LogitColumns a, const float* maxima, float* chunks) {
  SharedArena arena;
  float* rows = arena.take<float>(kWide * kHigh);
  const std::size_t column = blockIdx.x * kWide + threadIdx.x;
  const float* logits = a.logits + blockIdx.z * a.n_keys * a.n_columns + column;
  const float max = maxima[blockIdx.z * a.n_columns + column];
  const Span span = seen_keys(a, column);
  float sum = 0;
  for (std::int32_t key = first_turn(span); key < span.end; key += static_cast<std::int32_t>(kHigh))
    sum += weight(logits[static_cast<std::size_t>(key) * a.n_columns], max, a.softcap);
  rows[threadIdx.y * kWide + threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0) return;
  for (unsigned y = 1; y < kHigh; ++y) sum += rows[y * kWide + threadIdx.x];
  chunks[(blockIdx.z * gridDim.y + blockIdx.y) * a.n_columns + column] = sum;
}

// One thread per column goes over the chunks, in order. Grid: (n_columns / 32, n_batch), one warp each.
template <bool kSum>
__global__ void __launch_bounds__(kWide)
    reduce_chunks(const float* chunks, unsigned n, std::size_t n_columns, float* out) {
  const std::size_t column = blockIdx.x * kWide + threadIdx.x;
  const float* own = chunks + blockIdx.y * n * n_columns + column;
  float result = own[0];
  for (unsigned i = 1; i < n; ++i) {
    const float next = own[i * n_columns];
    result = kSum ? result + next : fmaxf(result, next);
  }
  out[blockIdx.y * n_columns + column] = result;
}

// Grid as chunk_maxima().
__global__ void __launch_bounds__(kWide* kHigh) exponentials(LogitColumns a, const float* maxima) {
  const std::size_t column = blockIdx.x * kWide + threadIdx.x;
  float* logits = a.logits + blockIdx.z * a.n_keys * a.n_columns + column;
  const float max = maxima[blockIdx.z * a.n_columns + column];
  const Span span = seen_keys(a, column);
  const auto begin = static_cast<std::int32_t>(blockIdx.y * kKeysOfChunk);
  const auto end = min(begin + static_cast<std::int32_t>(kKeysOfChunk), static_cast<std::int32_t>(a.n_keys));
  for (std::int32_t key = begin + static_cast<std::int32_t>(threadIdx.y); key < end;
       key += static_cast<std::int32_t>(kHigh)) {
    float* logit = logits + static_cast<std::size_t>(key) * a.n_columns;
    *logit = key >= span.begin && key < span.end ? weight(*logit, max, a.softcap) : 0.0f;
  }
}

// A warp has 32 keys of a head and goes over the head's queries, 32 * kPanels of them, whose maxima and sums it keeps
// in registers. Lane i keeps the mass of its key i. Grid: (keys / 256, heads of a group, n_batch).
template <unsigned kPanels>
__global__ void __launch_bounds__(kWide* kHigh)
    column_sums(LogitColumns a, const float* maxima, const float* sums, unsigned n_queries, std::size_t first_key,
                std::size_t n_totals, double* totals) {
  const std::size_t key0 = (blockIdx.x * std::size_t{kHigh} + threadIdx.y) * kWide;
  if (key0 >= a.n_keys) return;  // a whole warp leaves
  const std::size_t head = blockIdx.y * a.n_lanes, batch = blockIdx.z;
  const float* logits = a.logits + (batch * a.n_keys + key0) * a.n_columns + head + threadIdx.x;
  float max[kPanels], share[kPanels];
  std::int32_t first[kPanels], last[kPanels];
#pragma unroll
  for (unsigned p = 0; p < kPanels; ++p) {
    const unsigned q = p * kWide + threadIdx.x;
    const bool used = q < n_queries;
    const std::size_t column = batch * a.n_columns + head + q;
    max[p] = used ? maxima[column] : 0.0f;
    share[p] = used ? 1 / sums[column] : 0.0f;
    // Counted from the warp's first key; a lane without a query sees none.
    first[p] = used ? a.first[q] - static_cast<std::int32_t>(key0) : 0;
    last[p] = used ? a.last[q] - static_cast<std::int32_t>(key0) : -1;
  }
  constexpr unsigned kKeysAtOnce = kPanels > 4 ? 2 : 4;  // their logits are on their way together
  const unsigned n = static_cast<unsigned>(min(std::size_t{kWide}, a.n_keys - key0));
  float own = 0;
  for (unsigned k = 0; k < n; k += kKeysAtOnce) {
    float mass[kKeysAtOnce] = {}, logit[kKeysAtOnce][kPanels];
    const auto seen = [&](unsigned i, unsigned p) {
      const auto key = static_cast<std::int32_t>(k + i);
      return k + i < n && key >= first[p] && key <= last[p];
    };
#pragma unroll
    for (unsigned i = 0; i < kKeysAtOnce; ++i)
#pragma unroll
      for (unsigned p = 0; p < kPanels; ++p)
        logit[i][p] = seen(i, p) ? logits[(k + i) * a.n_columns + p * kWide] : 0.0f;
#pragma unroll
    for (unsigned i = 0; i < kKeysAtOnce; ++i) {
#pragma unroll
      for (unsigned p = 0; p < kPanels; ++p)
        if (seen(i, p)) mass[i] += weight(logit[i][p], max[p], a.softcap) * share[p];
      for (int step = 16; step > 0; step /= 2) mass[i] += __shfl_xor_sync(~0u, mass[i], step);
      if (threadIdx.x == k + i) own = mass[i];
    }
  }
  if (threadIdx.x < n)
    totals[(batch * gridDim.y + blockIdx.y) * n_totals + first_key + key0 + threadIdx.x] += double{own};
}

dim3 chunk_grid(const LogitColumns& columns) {
  return dim3(static_cast<unsigned>(columns.n_columns / kWide), static_cast<unsigned>(n_chunks(columns.n_keys)),
              static_cast<unsigned>(columns.n_batch));
}

constexpr std::size_t kRowBytes = kWide * kHigh * sizeof(float);

template <bool kSum>
cudaError_t reduce(const LogitColumns& columns, const float* chunks, float* out, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(columns.n_columns / kWide), static_cast<unsigned>(columns.n_batch));
  return launch(reduce_chunks<kSum>, grid, dim3(kWide), 0, stream, chunks,
                static_cast<unsigned>(n_chunks(columns.n_keys)), columns.n_columns, out);
}

}  // namespace

cudaError_t find_maxima(const LogitColumns& columns, float* chunks, float* maxima, cudaStream_t stream) {
  if (const cudaError_t status =
          launch(chunk_maxima, chunk_grid(columns), dim3(kWide, kHigh), kRowBytes, stream, columns, chunks);
      status != cudaSuccess)
    return status;
  return reduce<false>(columns, chunks, maxima, stream);
}

cudaError_t write_weights(const LogitColumns& columns, const float* maxima, cudaStream_t stream) {
  return launch(exponentials, chunk_grid(columns), dim3(kWide, kHigh), 0, stream, columns, maxima);
}

cudaError_t sum_exponentials(const LogitColumns& columns, const float* maxima, float* chunks, float* sums,
                             cudaStream_t stream) {
  if (const cudaError_t status =
          launch(chunk_sums, chunk_grid(columns), dim3(kWide, kHigh), kRowBytes, stream, columns, maxima, chunks);
      status != cudaSuccess)
    return status;
  return reduce<true>(columns, chunks, sums, stream);
}

cudaError_t add_column_sums(const LogitColumns& columns, const float* maxima, const float* sums, std::size_t n_queries,
                            std::size_t first_key, std::size_t n_totals, double* totals, cudaStream_t stream) {
  constexpr std::size_t kKeysOfBlock = kWide * kHigh;
  const dim3 grid(static_cast<unsigned>((columns.n_keys + kKeysOfBlock - 1) / kKeysOfBlock),
                  static_cast<unsigned>(columns.n_columns / columns.n_lanes), static_cast<unsigned>(columns.n_batch));
  const auto start = [&](auto kernel) {
    return launch(kernel, grid, dim3(kWide, kHigh), 0, stream, columns, maxima, sums, static_cast<unsigned>(n_queries),
                  first_key, n_totals, totals);
  };
  static_assert(kMostLanesOfSums == 8 * kWide);
  if (n_queries <= kWide) return start(column_sums<1>);
  if (n_queries <= 2 * kWide) return start(column_sums<2>);
  if (n_queries <= 4 * kWide) return start(column_sums<4>);
  return start(column_sums<8>);
}

}  // namespace kvreplay::cuda
