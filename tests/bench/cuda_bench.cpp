// Speed of the CUDA backend, kernel by kernel, beside what cuBLAS and a plain copy reach on the same device. Writes one
// line per measurement: name, value, unit, what it is a share of. Has a main of its own: no libraries but the backend's
// are needed where it runs.

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "core/cuda/budget_errors.h"
#include "core/cuda/cell_sums.h"
#include "core/cuda/cuda_backend.h"
#include "core/cuda/gpu.h"
#include "core/cuda/set_runs.h"
#include "core/cuda/weights.h"
#include "tests/bench/cuda_bench_parts.h"
#include "tools/replay/unit_replay.h"

using namespace kvreplay;
using namespace kvreplay::cuda;

namespace {

// Median seconds of some calls, by events on the lane's stream.
double seconds(Lane& lane, const std::function<void()>& work) {
  cudaEvent_t begin = nullptr, end = nullptr;
  KVREPLAY_CUDA(cudaEventCreate(&begin));
  KVREPLAY_CUDA(cudaEventCreate(&end));
  work();  // warms up
  lane.wait();
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    KVREPLAY_CUDA(cudaEventRecord(begin, lane.stream()));
    work();
    KVREPLAY_CUDA(cudaEventRecord(end, lane.stream()));
    KVREPLAY_CUDA(cudaEventSynchronize(end));
    float milliseconds = 0;
    KVREPLAY_CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
    times.push_back(1e-3 * milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::ranges::nth_element(times, times.begin() + 2);
  return times[2];
}

Peaks measure_peaks(Lane& lane) {
  constexpr int kSize = 8192;
  constexpr std::size_t kElements = std::size_t{kSize} * kSize;
  const DevicePointer<float> a = lane.room<float>(Room::keys, kElements), b = lane.room<float>(Room::values, kElements),
                             c = lane.room<float>(Room::weights, kElements);
  lane.clear(a, kElements);
  lane.clear(b, kElements);
  const float one = 1, zero = 0;
  const double flops = 2.0 * kSize * kSize * kSize;
  const auto multiply = [&](cudaDataType type) {
    return flops / seconds(lane, [&] {
             KVREPLAY_CUDA(cublasGemmStridedBatchedEx(
                 lane.blas(), CUBLAS_OP_T, CUBLAS_OP_N, kSize, kSize, kSize, &one, a.get(), type, kSize, 0, b.get(),
                 type, kSize, 0, &zero, c.get(), CUDA_R_32F, kSize, 0, 1, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
           });
  };
  Peaks peaks{.half = multiply(CUDA_R_16F), .single = multiply(CUDA_R_32F)};
  constexpr int kSmall = 4096;  // as many bytes of float64
  const double one64 = 1, zero64 = 0;
  peaks.full = 2.0 * kSmall * kSmall * kSmall / seconds(lane, [&] {
                 KVREPLAY_CUDA(cublasDgemm(lane.blas(), CUBLAS_OP_N, CUBLAS_OP_N, kSmall, kSmall, kSmall, &one64,
                                           reinterpret_cast<const double*>(a.get()), kSmall,
                                           reinterpret_cast<const double*>(b.get()), kSmall, &zero64,
                                           reinterpret_cast<double*>(c.get()), kSmall));
               });
  peaks.bandwidth = 2 * kElements * sizeof(float) / seconds(lane, [&] {
                      KVREPLAY_CUDA(cudaMemcpyAsync(b.get(), a.get(), kElements * sizeof(float),
                                                    cudaMemcpyDeviceToDevice, lane.stream()));
                    });
  report("cuBLAS, float16 products", 1e-12 * peaks.half, "TFLOP/s");
  report("cuBLAS, float32 products", 1e-12 * peaks.single, "TFLOP/s");
  report("cuBLAS, float64 products", 1e-12 * peaks.full, "TFLOP/s");
  report("copy on the device, read and written", 1e-9 * peaks.bandwidth, "GB/s");
  return peaks;
}

void measure_kernels(Lane& lane, const Peaks& peaks, std::size_t n_tokens, DType dtype) {
  const std::size_t group = kQueryHeads / kKvHeads, n_columns = group * kQueries;
  const std::string shape = std::to_string(n_tokens) + " tokens, " + std::string(name_of(dtype));
  const std::size_t row_bytes = kDim * size_of(dtype);
  const DevicePointer<std::byte> keys = lane.room<std::byte>(Room::keys, kKvHeads * n_tokens * row_bytes),
                                 values = lane.room<std::byte>(Room::values, kKvHeads * n_tokens * row_bytes),
                                 queries = lane.room<std::byte>(Room::queries, kQueryHeads * kQueries * row_bytes);
  lane.clear(keys, kKvHeads * n_tokens * row_bytes);
  lane.clear(values, kKvHeads * n_tokens * row_bytes);
  lane.clear(queries, kQueryHeads * kQueries * row_bytes);
  const std::size_t n_weights = kKvHeads * n_tokens * n_columns;
  const DevicePointer<float> weights = lane.room<float>(Room::weights, n_weights);
  const DeviceStack stack{
      .data = keys, .dtype = dtype, .count = kKvHeads, .rows = n_tokens, .cols = kDim, .spacing = n_tokens};
  const double weight_bytes = static_cast<double>(n_weights) * sizeof(float);

  double time = seconds(lane, [&] { multiply_keys_queries(lane, stack, 0, n_tokens, queries, n_columns, 1, weights); });
  report("logits, " + shape, 1e-12 * 2 * static_cast<double>(n_weights) * kDim / time, "TFLOP/s", 1e-12 * peaks.half);
  report("logits written, " + shape, 1e-9 * weight_bytes / time, "GB/s", 1e-9 * peaks.bandwidth);

  // A ranking in no order, 16 budgets: the cells of a plan.
  std::vector<std::uint32_t> ranking(n_tokens);
  for (std::size_t i = 0; i < n_tokens; ++i) ranking[i] = static_cast<std::uint32_t>(i * 40503 % n_tokens);
  std::vector<std::size_t> ends;
  for (std::size_t b = 1; b <= kBudgets + 1; ++b) ends.push_back(n_tokens * b / (kBudgets + 1));
  SetRuns sets;
  std::vector<PlanWalk> walks;
  std::vector<std::uint16_t> held;
  for (std::uint32_t h = 0; h < kPoliciesAtOnce * kKvHeads; ++h) {
    sets.add(kDim, {h % static_cast<std::uint32_t>(kKvHeads), 0, static_cast<std::uint32_t>(n_columns)}, 0, ends);
    walks.push_back({.cells = h * ends.size(),
                     .held = 0,
                     .local = 0,
                     .out = h * n_columns / kPanelWidth,
                     .n_cells = static_cast<std::uint32_t>(ends.size()),
                     .n_panels = static_cast<std::uint32_t>(n_columns / kPanelWidth),
                     .first_budget = 0,
                     .n_budgets = kBudgets});
  }
  for (std::size_t c = 0; c < ends.size(); ++c) held.push_back(static_cast<std::uint16_t>(0xffffu << c));
  const SeenKeys seen = seen_keys({}, std::vector<std::size_t>(kQueries, n_tokens - 1), kQueries, {0, n_tokens});
  Tables& tables = lane.new_tables();
  const std::size_t first = tables.add(std::span<const std::int32_t>(seen.first)),
                    last = tables.add(std::span<const std::int32_t>(seen.last)),
                    positions = tables.add(std::span<const std::uint32_t>(ranking)),
                    runs = tables.add(std::span<const Run>(sets.runs)),
                    folds = tables.add(std::span<const Fold>(sets.folds)),
                    slots = tables.add(std::span<const std::uint64_t>(sets.slots)),
                    at_walks = tables.add(std::span<const PlanWalk>(walks)),
                    at_held = tables.add(std::span<const std::uint16_t>(held));
  tables.send(lane);

  const LogitColumns columns{.logits = weights.get(),
                             .n_batch = kKvHeads,
                             .n_keys = n_tokens,
                             .n_columns = n_columns,
                             .first = tables.at<std::int32_t>(first),
                             .last = tables.at<std::int32_t>(last),
                             .n_lanes = kQueries,
                             .softcap = 0};
  const std::size_t per_chunk = kKvHeads * n_columns;
  const DevicePointer<float> maxima = lane.room<float>(Room::maxima, (n_chunks(n_tokens) + 2) * per_chunk);
  const DevicePointer<float> sums = maxima + per_chunk, chunks = sums + per_chunk;
  time = seconds(lane, [&] { KVREPLAY_CUDA(find_maxima(columns, chunks.get(), maxima.get(), lane.stream())); });
  report("maxima of logits, " + shape, 1e-9 * weight_bytes / time, "GB/s", 1e-9 * peaks.bandwidth);
  const DevicePointer<double> totals = lane.room<double>(Room::columns, kQueryHeads * n_tokens);
  lane.clear(totals, kQueryHeads * n_tokens);
  time = seconds(
      lane, [&] { KVREPLAY_CUDA(sum_exponentials(columns, maxima.get(), chunks.get(), sums.get(), lane.stream())); });
  report("sums of exponentials, " + shape, 1e-9 * weight_bytes / time, "GB/s", 1e-9 * peaks.bandwidth);
  time = seconds(lane, [&] {
    KVREPLAY_CUDA(
        add_column_sums(columns, maxima.get(), sums.get(), kQueries, 0, n_tokens, totals.get(), lane.stream()));
  });
  report("column sums, " + shape, 1e-9 * weight_bytes / time, "GB/s", 1e-9 * peaks.bandwidth);
  time = seconds(lane, [&] { KVREPLAY_CUDA(write_weights(columns, maxima.get(), lane.stream())); });
  report("weights, " + shape, 1e-9 * 2 * weight_bytes / time, "GB/s", 1e-9 * peaks.bandwidth);

  const DevicePointer<float> partials = lane.room<float>(Room::partials, sets.n_floats);
  const CellSums cells{.weights = weights.get(),
                       .n_keys = n_tokens,
                       .n_columns = n_columns,
                       .first_key = 0,
                       .values = values.get(),
                       .dtype = dtype,
                       .n_tokens = n_tokens,
                       .value_dim = kDim,
                       .value_stride = kDim,
                       .positions = tables.at<std::uint32_t>(positions),
                       .runs = tables.at<Run>(runs),
                       .n_runs = sets.runs.size(),
                       .most_columns = sets.most_columns,
                       .partials = partials.get()};
  time = seconds(lane, [&] { KVREPLAY_CUDA(sum_runs(cells, lane.stream())); });
  report("cell sums, " + shape, 1e-12 * 2 * kPoliciesAtOnce * static_cast<double>(n_weights) * kDim / time, "TFLOP/s",
         1e-12 * peaks.single);
  report("cell sums, weights read, " + shape, 1e-9 * kPoliciesAtOnce * weight_bytes / time, "GB/s",
         1e-9 * peaks.bandwidth);
  time = seconds(lane, [&] {
    KVREPLAY_CUDA(
        fold_runs(tables.at<Fold>(folds), sets.folds.size(), sets.largest_fold(), partials.get(), lane.stream()));
  });
  report("folds, " + shape, 1e6 * time, "us");
  const std::size_t n_panels = kPoliciesAtOnce * kQueryHeads * kQueries / kPanelWidth,
                    n_norms = n_panels * kBudgets * kPanelWidth;
  const DevicePointer<float> base = lane.room<float>(Room::base, (kDim + 1) * n_columns);
  lane.clear(base, (kDim + 1) * n_columns);
  const BudgetErrors errors{.walks = tables.at<PlanWalk>(at_walks),
                            .n_walks = walks.size(),
                            .cells = partials.get(),
                            .slots = tables.at<std::uint64_t>(slots),
                            .held = tables.at<std::uint16_t>(at_held),
                            .local = base.get(),
                            .local_columns = n_columns,
                            .value_dim = kDim,
                            .n_budgets = kBudgets,
                            .most_panels = n_columns / kPanelWidth,
                            .squares = lane.room<float>(Room::squares, n_norms).get(),
                            .recall = lane.room<float>(Room::recall, n_norms).get(),
                            .errors = nullptr};
  time = seconds(lane, [&] { KVREPLAY_CUDA(measure_budgets(errors, lane.stream())); });
  const double cell_bytes = static_cast<double>(walks.size() * ends.size() * (kDim + 1) * n_columns) * sizeof(float);
  report("errors of budgets, " + shape, 1e-9 * cell_bytes / time, "GB/s", 1e-9 * peaks.bandwidth);
  lane.wait();
}

// The whole unit, as `kvreplay replay` does it. Policies whose ranking costs little: time is the replay's.
void measure_units(Backend& backend, Backend& cpu) {
  const std::vector<ChosenMetric> metrics = {ChosenMetric("output_error"), ChosenMetric("attention_recall")};
  BudgetGrid budgets{.kind = BudgetKind::fraction, .values = {}};
  for (std::size_t b = 1; b <= kBudgets; ++b) budgets.values.push_back(static_cast<double>(b) / kBudgets);
  const std::vector<Span> spans;
  for (const std::size_t n_tokens : {4096u, 32768u, 131072u}) {
    const LayerData data = make_layer(n_tokens);
    std::vector<std::vector<MetricSums>> sums;
    double times[2] = {};
    for (const std::size_t n_policies : {1u, 9u}) {
      std::vector<Policy> policies;
      for (std::size_t p = 0; p < n_policies; ++p)
        policies.emplace_back(p == 0 ? "streaming-llm" : "random:draw=" + std::to_string(p));
      const auto replayed = [&](Backend& on) {
        return replay_unit({.data = &data,
                            .dtype = DType::float16,
                            .spans = &spans,
                            .compression_point = n_tokens - kQueries,
                            .policies = &policies,
                            .budgets = &budgets,
                            .metrics = metrics,
                            .identity = {}},
                           on)
            .sums;
      };
      replayed(backend);  // warms up
      times[n_policies == 1 ? 0 : 1] = wall_seconds([&] { sums.push_back(replayed(backend)); });
      if (n_tokens == 4096 && n_policies == 1) {
        const double of_cpu = wall_seconds([&] { sums.push_back(replayed(cpu)); });
        report("unit of 4096 tokens, 1 policy, on the CPU", 1e3 * of_cpu, "ms");
        double worst = 0;
        for (std::size_t m = 0; m < metrics.size(); ++m)
          for (std::size_t i = 0; i < sums[0][m].numerator.size(); ++i)
            if (sums[1][m].numerator[i] > 1e-9)
              worst = std::max(worst, std::abs(sums[0][m].numerator[i] / sums[1][m].numerator[i] - 1));
        report("  largest relative difference of a sum, 1e-6", 1e6 * worst, "");
      }
    }
    const std::string name = "unit of " + std::to_string(n_tokens) + " tokens";
    report(name + ", 1 policy", 1e3 * times[0], "ms");
    report(name + ", each further policy", 1e3 * (times[1] - times[0]) / 8, "ms");
  }
}

}  // namespace

int main() {
  const CudaDevices found = cuda_devices();
  if (found.devices.empty()) {
    std::printf("SKIPPED: %s\n", found.why_none.c_str());
    return 77;
  }
  std::printf("device: %s, %.1f GB\n", found.devices[0].name.c_str(),
              static_cast<double>(found.devices[0].memory) / 1e9);
  Peaks peaks;
  {
    Gpu gpu(found.devices[0].index);
    const Lanes::Lease lane(gpu.lanes());
    peaks = measure_peaks(*lane);
    for (const std::size_t n_tokens : {4096u, 32768u, 131072u}) measure_kernels(*lane, peaks, n_tokens, DType::float16);
    measure_kernels(*lane, peaks, 32768, DType::bfloat16);
    measure_kernels(*lane, peaks, 32768, DType::float32);
  }
  const auto backend = make_cuda_backend({}), cpu = make_cpu_backend();
  measure_primitives(*backend, peaks);
  measure_units(*backend, *cpu);
  return 0;
}
