#include "core/cuda/device.cuh"
#include "core/cuda/errors_at_budgets.h"

namespace kvreplay::cuda {
namespace {

constexpr unsigned kWide = 32, kHigh = 8;

// A block has one panel of 32 queries; its 8 warps share the dimensions. Cells are read once for each 16 budgets: what
// a budget holds goes to its kept side, the rest to its evicted side, in the order of the cells.
// Grid: (panels of a walk, n_walks).
__global__ void __launch_bounds__(kWide* kHigh) measure_errors(ErrorsAtBudgets a) {
  SharedArena arena;
  float* norms = arena.take<float>(kBudgetsAtOnce * kHigh * kWide);
  const PlanWalk walk = a.walks[blockIdx.y];
  if (blockIdx.x >= walk.n_panels) return;  // the whole block
  const unsigned lane = threadIdx.x, warp = threadIdx.y,
                 n_chunks = (walk.n_budgets + kBudgetsAtOnce - 1) / kBudgetsAtOnce;
  const unsigned column = blockIdx.x * kWide + lane;
  const std::size_t n_columns = walk.n_panels * std::size_t{kWide};
  const float* local = a.local + walk.local + column;
  const std::size_t panel = walk.out + blockIdx.x;

  for (unsigned chunk = 0; chunk < n_chunks; ++chunk) {
    const unsigned n = min(kBudgetsAtOnce, walk.n_budgets - chunk * kBudgetsAtOnce);
    float kept[kBudgetsAtOnce], evicted[kBudgetsAtOnce];
    const auto sum_sides = [&](std::size_t row) {
      const float always = local[row * a.local_columns];
#pragma unroll
      for (unsigned b = 0; b < kBudgetsAtOnce; ++b) {
        kept[b] = always;
        evicted[b] = 0;
      }
      for (unsigned c = 0; c < walk.n_cells; ++c) {
        const float sum = a.cells[a.offsets[walk.cells + c] + row * n_columns + column];
        const unsigned retained = a.retained[walk.retained + c * n_chunks + chunk];
#pragma unroll
        for (unsigned b = 0; b < kBudgetsAtOnce; ++b)
          if (retained >> b & 1)
            kept[b] += sum;
          else
            evicted[b] += sum;
      }
    };
    sum_sides(a.value_dim);
    // error = N_S * (Z_E / (Z Z_S)) - N_E / Z; both factors are 0 where nothing is evicted.
    float of_kept[kBudgetsAtOnce], of_evicted[kBudgetsAtOnce], squares[kBudgetsAtOnce];
#pragma unroll
    for (unsigned b = 0; b < kBudgetsAtOnce; ++b) {
      const float total = kept[b] + evicted[b], share = evicted[b] / total;
      const bool loses = evicted[b] > 0;
      of_kept[b] = loses && kept[b] > 0 ? share / kept[b] : 0.0f;
      of_evicted[b] = loses ? share / evicted[b] : 0.0f;
      squares[b] = 0;
      if (b < n && warp == 0)
        a.recall[(panel * a.n_budgets + walk.first_budget + chunk * kBudgetsAtOnce + b) * kWide + lane] =
            loses ? kept[b] / total : 1.0f;
    }
    for (std::size_t d = warp; d < a.value_dim; d += kHigh) {
      sum_sides(d);
#pragma unroll
      for (unsigned b = 0; b < kBudgetsAtOnce; ++b) {
        const float error = kept[b] * of_kept[b] - evicted[b] * of_evicted[b];
        squares[b] += error * error;
        if (a.errors != nullptr && b < n)
          a.errors[((panel * a.n_budgets + walk.first_budget + chunk * kBudgetsAtOnce + b) * a.value_dim + d) * kWide +
                   lane] = error;
      }
    }
#pragma unroll
    for (unsigned b = 0; b < kBudgetsAtOnce; ++b) norms[(b * kHigh + warp) * kWide + lane] = squares[b];
    __syncthreads();
    // A warp adds up some of the budgets, always in the same order.
    for (unsigned b = warp; b < n; b += kHigh) {
      float sum = 0;
      for (unsigned w = 0; w < kHigh; ++w) sum += norms[(b * kHigh + w) * kWide + lane];
      a.squares[(panel * a.n_budgets + walk.first_budget + chunk * kBudgetsAtOnce + b) * kWide + lane] = sum;
    }
    __syncthreads();
  }
}

}  // namespace

cudaError_t errors_at_budgets(const ErrorsAtBudgets& errors, cudaStream_t stream) {
  constexpr std::size_t kMostRows = 65535;  // of a grid
  for (std::size_t first = 0; first < errors.n_walks; first += kMostRows) {
    ErrorsAtBudgets some = errors;
    some.walks += first;
    some.n_walks = errors.n_walks - first < kMostRows ? errors.n_walks - first : kMostRows;
    const dim3 grid(static_cast<unsigned>(errors.most_panels), static_cast<unsigned>(some.n_walks));
    const std::size_t shared = kBudgetsAtOnce * kHigh * kWide * sizeof(float);
    if (const cudaError_t status = launch(measure_errors, grid, dim3(kWide, kHigh), shared, stream, some);
        status != cudaSuccess)
      return status;
  }
  return cudaSuccess;
}

}  // namespace kvreplay::cuda
