#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "core/cuda/cell_sums.h"
#include "core/cuda/device.cuh"

namespace kvreplay::cuda {
namespace {

constexpr unsigned kTokensOfTile = 8;

// Blocks that a multiprocessor shall have room for: 8 warps or 12, which hide each other's waits. As many as registers
// permit without spilling, on every architecture.
template <unsigned kThreads>
constexpr unsigned kBlocksAtOnce = kThreads == 128 ? 3 : 256 / kThreads;

constexpr std::uint32_t kNoToken = ~0u;

// Four values as they lie in memory, 16 or 8 bytes: widened only when they are put into shared memory, for whoever
// converts a number first waits for it.
template <typename Value>
struct FourOf {
  using Bits = uint2;
};
template <>
struct FourOf<float> {
  using Bits = float4;
};

__device__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }

__device__ float4 widen(const float*, float4 x) { return x; }
__device__ float4 widen(const __half*, uint2 bits) {
  const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&bits.x));
  const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&bits.y));
  return make_float4(low.x, low.y, high.x, high.y);
}
__device__ float4 widen(const __nv_bfloat16*, uint2 bits) {
  return make_float4(__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xffff0000u),
                     __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xffff0000u));
}

// What a block multiplies: weights and values from its first column and dimension on.
template <typename Value>
struct TileSource {
  const float* weights;
  const Value* values;
  std::size_t first_key, weight_stride, value_stride;
  unsigned n_columns, n_dims;  // those beyond are 0
};

// A tile of kTokensOfTile tokens on its way to shared memory, in the registers of a block's threads.
template <unsigned kColumns, unsigned kDims, typename Value>
struct TileInFlight {
  static constexpr unsigned kThreads = kColumns * kDims / 64;
  static constexpr unsigned kWeightLoads = kTokensOfTile * kColumns / 4 / kThreads, kLanes = kColumns / 4;
  static constexpr unsigned kValueLoads = kTokensOfTile * kDims / 4 / kThreads, kValueLanes = kDims / 4;
  using Bits = typename FourOf<Value>::Bits;

  __device__ __forceinline__ void fetch(const TileSource<Value>& from, const std::uint32_t* tokens) {
#pragma unroll
    for (unsigned i = 0; i < kWeightLoads; ++i) {
      const unsigned at = threadIdx.x + i * kThreads, row = at / kLanes, column = at % kLanes * 4;
      const std::uint32_t token = tokens[row];
      weights[i] = token != kNoToken && column < from.n_columns
                       ? load4(from.weights + (token - from.first_key) * from.weight_stride + column)
                       : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (unsigned i = 0; i < kValueLoads; ++i) {
      const unsigned at = threadIdx.x + i * kThreads, row = at / kValueLanes, dim = at % kValueLanes * 4;
      const std::uint32_t token = tokens[row];
      values[i] = token != kNoToken && dim < from.n_dims
                      ? *reinterpret_cast<const Bits*>(from.values + token * from.value_stride + dim)
                      : Bits{};
    }
  }

  __device__ __forceinline__ void put(float* tile_weights, float* tile_values) const {
#pragma unroll
    for (unsigned i = 0; i < kWeightLoads; ++i)
      reinterpret_cast<float4*>(tile_weights)[threadIdx.x + i * kThreads] = weights[i];
#pragma unroll
    for (unsigned i = 0; i < kValueLoads; ++i)
      reinterpret_cast<float4*>(tile_values)[threadIdx.x + i * kThreads] =
          widen(static_cast<const Value*>(nullptr), values[i]);
  }

  float4 weights[kWeightLoads];
  Bits values[kValueLoads];
};

// The 8 x 8 sums that a thread has of a tile of kColumns x kDims: columns and dimensions [4 tx, 4 tx + 4) of both
// halves.
template <unsigned kColumns, unsigned kDims>
struct ThreadSums {
  __device__ __forceinline__ void add_tile(const float* weights, const float* values, bool adds_weights) {
#pragma unroll 2
    for (unsigned k = 0; k < kTokensOfTile; ++k) {
      float w[8], v[8];
      *reinterpret_cast<float4*>(w) = load4(weights + k * kColumns + tx * 4);
      *reinterpret_cast<float4*>(w + 4) = load4(weights + k * kColumns + kColumns / 2 + tx * 4);
      *reinterpret_cast<float4*>(v) = load4(values + k * kDims + ty * 4);
      *reinterpret_cast<float4*>(v + 4) = load4(values + k * kDims + kDims / 2 + ty * 4);
#pragma unroll
      for (unsigned d = 0; d < 8; ++d)
#pragma unroll
        for (unsigned c = 0; c < 8; ++c) products[d][c] += w[c] * v[d];
      if (adds_weights)
#pragma unroll
        for (unsigned c = 0; c < 8; ++c) of_weights[c] += w[c];
    }
  }

  // Adds eight columns of a sum to a row of the result, or begins it with them.
  __device__ __forceinline__ void add_to(float* row, const float* part, unsigned n_columns, bool begins) const {
#pragma unroll
    for (unsigned side = 0; side < 2; ++side) {
      const unsigned column = side * kColumns / 2 + tx * 4;
      if (column >= n_columns) continue;
      float4* to = reinterpret_cast<float4*>(row + column);
      const float* from = part + side * 4;
      const float4 old = begins ? make_float4(0, 0, 0, 0) : *to;
      *to = make_float4(old.x + from[0], old.y + from[1], old.z + from[2], old.w + from[3]);
    }
  }

  unsigned tx, ty;
  float products[8][8] = {}, of_weights[8] = {};
};

// out[c, d] = sum over a run's tokens of weights[token, c] values[token, d], for a tile of kColumns x kDims. Each
// thread has 8 x 8 of it in registers; tiles of kTokensOfTile tokens go through shared memory, the next one being on
// its way in registers while this one is multiplied. A token's weights and its values are contiguous: 256 bytes of each
// or more are read together, whatever the order of the tokens.
template <unsigned kColumns, unsigned kDims, typename Value>
__global__ void __launch_bounds__(kColumns* kDims / 64, kBlocksAtOnce<kColumns * kDims / 64>) cell_sums(CellSums a) {
  constexpr unsigned kThreads = kColumns * kDims / 64;
  constexpr unsigned kWeightsOfTile = kTokensOfTile * kColumns, kValuesOfTile = kTokensOfTile * kDims;
  SharedArena arena;
  float* weights = arena.take<float>(2 * kWeightsOfTile);
  float* values = arena.take<float>(2 * kValuesOfTile);
  std::uint32_t* tokens = arena.take<std::uint32_t>(kTokensOfBlock);

  const unsigned n_dim_tiles = static_cast<unsigned>((a.value_dim + kDims - 1) / kDims);
  const unsigned n_column_tiles = static_cast<unsigned>((a.most_columns + kColumns - 1) / kColumns);
  const unsigned dim_tile = blockIdx.x % n_dim_tiles, rest = blockIdx.x / n_dim_tiles;
  const Run run = a.runs[rest / n_column_tiles];
  const unsigned column0 = rest % n_column_tiles * kColumns, dim0 = dim_tile * kDims;
  if (column0 >= run.n_columns) return;  // the whole block
  const TileSource<Value> source{
      .weights = a.weights + run.batch * a.n_keys * a.n_columns + run.first_column + column0,
      .values = static_cast<const Value*>(a.values) + run.batch * a.n_tokens * a.value_stride + dim0,
      .first_key = a.first_key,
      .weight_stride = a.n_columns,
      .value_stride = a.value_stride,
      .n_columns = min(kColumns, run.n_columns - column0),
      .n_dims = min(kDims, static_cast<unsigned>(a.value_stride) - dim0)};  // padding included

  const unsigned thread = threadIdx.x;
  const unsigned tx = thread % (kColumns / 8), ty = thread / (kColumns / 8);  // of the thread's part of the tile
  const bool adds_weights = dim_tile == 0 && ty == 0;
  float* out = a.partials + run.offset + column0;
  TileInFlight<kColumns, kDims, Value> next;

  unsigned begin = 0;
  do {
    const unsigned n = min(static_cast<unsigned>(kTokensOfBlock), run.count - begin);
    const unsigned n_tiles = (n + kTokensOfTile - 1) / kTokensOfTile;
    for (unsigned i = thread; i < n_tiles * kTokensOfTile; i += kThreads)
      tokens[i] = i < n ? a.positions[run.begin + begin + i] : kNoToken;
    __syncthreads();
    ThreadSums<kColumns, kDims> sums{.tx = tx, .ty = ty};
    if (n_tiles > 0) {
      next.fetch(source, tokens);
      next.put(weights, values);
    }
    __syncthreads();
    for (unsigned tile = 0; tile < n_tiles; ++tile) {
      const unsigned other = (tile + 1) % 2;
      if (tile + 1 < n_tiles) next.fetch(source, tokens + (tile + 1) * kTokensOfTile);
      sums.add_tile(weights + tile % 2 * kWeightsOfTile, values + tile % 2 * kValuesOfTile, adds_weights);
      if (tile + 1 < n_tiles) next.put(weights + other * kWeightsOfTile, values + other * kValuesOfTile);
      __syncthreads();
    }
    // Each sum belongs to one thread, so blocks of tokens are added in order.
    const auto add = [&](std::size_t row, const float* part) {
      sums.add_to(out + row * run.n_columns, part, source.n_columns, begin == 0);
    };
#pragma unroll
    for (unsigned d = 0; d < 8; ++d) {
      const std::size_t dim = dim0 + d / 4 * (kDims / 2) + ty * 4 + d % 4;
      if (dim < a.value_dim) add(dim, sums.products[d]);
    }
    if (adds_weights) add(a.value_dim, sums.of_weights);
    begin += static_cast<unsigned>(kTokensOfBlock);
  } while (begin < run.count);
}

template <unsigned kColumns, unsigned kDims, typename Value>
cudaError_t start(const CellSums& sums, cudaStream_t stream) {
  const std::size_t n_blocks =
      sums.n_runs * ((sums.most_columns + kColumns - 1) / kColumns) * ((sums.value_dim + kDims - 1) / kDims);
  constexpr std::size_t kShared = (2 * kTokensOfTile * (kColumns + kDims) + kTokensOfBlock) * sizeof(float);
  return launch(cell_sums<kColumns, kDims, Value>, dim3(static_cast<unsigned>(n_blocks)), dim3(kColumns * kDims / 64),
                kShared, stream, sums);
}

template <typename Value>
cudaError_t start(const CellSums& sums, cudaStream_t stream) {
  // Tiles of 64 dimensions, or of 32 where that wastes less.
  const std::size_t in_last = sums.value_dim % 64;
  const bool narrow = in_last > 0 && in_last <= 32;
  if (sums.most_columns <= 64) return narrow ? start<64, 32, Value>(sums, stream) : start<64, 64, Value>(sums, stream);
  return narrow ? start<128, 32, Value>(sums, stream) : start<128, 64, Value>(sums, stream);
}

constexpr unsigned kThreadsOfSums = 256;

__global__ void __launch_bounds__(kThreadsOfSums) fold(const Fold* folds, float* partials) {
  const Fold fold = folds[blockIdx.y];
  const std::size_t at = blockIdx.x * std::size_t{kThreadsOfSums} + threadIdx.x;
  if (at >= fold.size) return;
  float* own = partials + fold.offset + at;
  float sum = own[0];
  for (std::uint32_t r = 1; r < fold.n_runs; ++r) sum += own[r * std::size_t{fold.size}];
  own[0] = sum;
}

// Grid: (n_columns / 32, n_batch), threads (32, 8).
__global__ void __launch_bounds__(kThreadsOfSums)
    divide(const float* base, unsigned n_cells, unsigned value_dim, std::size_t n_columns, float* out) {
  const std::size_t set_size = (value_dim + std::size_t{1}) * n_columns;
  const float* own = base + blockIdx.y * n_cells * set_size + blockIdx.x * 32 + threadIdx.x;
  const auto sum = [&](std::size_t row) {
    float total = own[row * n_columns];
    for (unsigned s = 1; s < n_cells; ++s) total += own[s * set_size + row * n_columns];
    return total;
  };
  const float weight = sum(value_dim);
  float* panel = out + (blockIdx.y * gridDim.x + blockIdx.x) * value_dim * std::size_t{32} + threadIdx.x;
  for (unsigned d = threadIdx.y; d < value_dim; d += blockDim.y) panel[d * 32] = sum(d) / weight;
}

}  // namespace

cudaError_t sum_runs(const CellSums& sums, cudaStream_t stream) {
  if (sums.n_runs == 0) return cudaSuccess;
  switch (sums.dtype) {
    case DType::float16:
      return start<__half>(sums, stream);
    case DType::bfloat16:
      return start<__nv_bfloat16>(sums, stream);
    case DType::float32:
      break;
  }
  return start<float>(sums, stream);
}

cudaError_t fold_runs(const Fold* folds, std::size_t n_folds, std::size_t most, float* partials, cudaStream_t stream) {
  constexpr std::size_t kMostRows = 65535;  // of a grid
  for (std::size_t first = 0; first < n_folds; first += kMostRows) {
    const dim3 grid(static_cast<unsigned>((most + kThreadsOfSums - 1) / kThreadsOfSums),
                    static_cast<unsigned>(std::min(kMostRows, n_folds - first)));
    if (const cudaError_t status = launch(fold, grid, dim3(kThreadsOfSums), 0, stream, folds + first, partials);
        status != cudaSuccess)
      return status;
  }
  return cudaSuccess;
}

cudaError_t divide_sums(const float* base, std::size_t n_batch, std::size_t n_cells, std::size_t value_dim,
                        std::size_t n_columns, float* out, cudaStream_t stream) {
  return launch(divide, dim3(static_cast<unsigned>(n_columns / 32), static_cast<unsigned>(n_batch)), dim3(32, 8), 0,
                stream, base, static_cast<unsigned>(n_cells), static_cast<unsigned>(value_dim), n_columns, out);
}

}  // namespace kvreplay::cuda
