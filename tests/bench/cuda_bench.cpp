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

#include "core/cpu/cpu_backend.h"
#include "core/cuda/cell_runs.h"
#include "core/cuda/cell_sums.h"
#include "core/cuda/cuda_backend.h"
#include "core/cuda/errors_at_budgets.h"
#include "core/cuda/gpu.h"
#include "core/cuda/weights.h"
#include "tests/bench/cuda_bench_parts.h"
#include "tools/replay/unit_replay.h"

using namespace kvreplay;
using namespace kvreplay::cuda;

namespace {

// Median seconds of some calls, by events on the slot's stream.
double seconds(StreamSlot& slot, const std::function<void()>& work) {
  cudaEvent_t begin = nullptr, end = nullptr;
  KVREPLAY_CUDA(cudaEventCreate(&begin));
  KVREPLAY_CUDA(cudaEventCreate(&end));
  work();  // warms up
  slot.wait();
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    KVREPLAY_CUDA(cudaEventRecord(begin, slot.stream()));
    work();
    KVREPLAY_CUDA(cudaEventRecord(end, slot.stream()));
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

Peaks measure_peaks(StreamSlot& slot) {
  constexpr int kSize = 8192;
  constexpr std::size_t kElements = std::size_t{kSize} * kSize;
  const DevicePointer<float> a = slot.room<float>(Room::keys, kElements), b = slot.room<float>(Room::values, kElements),
                             c = slot.room<float>(Room::weights, kElements);
  slot.clear(a, kElements);
  slot.clear(b, kElements);
  const float one = 1, zero = 0;
  const double flops = 2.0 * kSize * kSize * kSize;
  const auto multiply = [&](cudaDataType type) {
    return flops / seconds(slot, [&] {
             KVREPLAY_CUDA(cublasGemmStridedBatchedEx(
                 slot.blas(), CUBLAS_OP_T, CUBLAS_OP_N, kSize, kSize, kSize, &one, a.get(), type, kSize, 0, b.get(),
                 type, kSize, 0, &zero, c.get(), CUDA_R_32F, kSize, 0, 1, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
           });
  };
  Peaks peaks{.half = multiply(CUDA_R_16F), .single = multiply(CUDA_R_32F)};
  constexpr int kSmall = 4096;  // as many bytes of float64
  const double one64 = 1, zero64 = 0;
  peaks.full = 2.0 * kSmall * kSmall * kSmall / seconds(slot, [&] {
                 KVREPLAY_CUDA(cublasDgemm(slot.blas(), CUBLAS_OP_N, CUBLAS_OP_N, kSmall, kSmall, kSmall, &one64,
                                           reinterpret_cast<const double*>(a.get()), kSmall,
                                           reinterpret_cast<const double*>(b.get()), kSmall, &zero64,
                                           reinterpret_cast<double*>(c.get()), kSmall));
               });
  peaks.bandwidth = 2 * kElements * sizeof(float) / seconds(slot, [&] {
                      KVREPLAY_CUDA(cudaMemcpyAsync(b.get(), a.get(), kElements * sizeof(float),
                                                    cudaMemcpyDeviceToDevice, slot.stream()));
                    });
  report("cuBLAS, float16 products", 1e-12 * peaks.half, "TFLOP/s");
  report("cuBLAS, float32 products", 1e-12 * peaks.single, "TFLOP/s");
  report("cuBLAS, float64 products", 1e-12 * peaks.full, "TFLOP/s");
  report("copy on the device, read and written", 1e-9 * peaks.bandwidth, "GB/s");
  return peaks;
}

// The kernels of a replay, one after the other, on arrays of zeros.
class KernelBench {
 public:
  KernelBench(StreamSlot& slot, const Peaks& peaks, std::size_t n_tokens, DType dtype)
      : slot_(slot),
        peaks_(peaks),
        n_tokens_(n_tokens),
        dtype_(dtype),
        shape_(std::to_string(n_tokens) + " tokens, " + std::string(name_of(dtype))),
        n_weights_(kKvHeads * n_tokens * kColumns),
        weight_bytes_(static_cast<double>(n_weights_) * sizeof(float)) {
    const std::size_t row_bytes = kDim * size_of(dtype);
    keys_ = zeros(Room::keys, kKvHeads * n_tokens * row_bytes);
    values_ = zeros(Room::values, kKvHeads * n_tokens * row_bytes);
    queries_ = zeros(Room::queries, kQueryHeads * kQueries * row_bytes);
    weights_ = slot.room<float>(Room::weights, n_weights_);
    // A ranking in no order, 16 budgets: the cells of a plan.
    for (std::size_t b = 1; b <= kBudgets + 1; ++b) ends_.push_back(n_tokens * b / (kBudgets + 1));
    for (std::uint32_t h = 0; h < kPoliciesAtOnce * kKvHeads; ++h) {
      runs_.add(kDim, {h % static_cast<std::uint32_t>(kKvHeads), 0, static_cast<std::uint32_t>(kColumns)}, 0, ends_);
      walks_.push_back({.cells = h * ends_.size(),
                        .retained = 0,
                        .local = 0,
                        .out = h * kColumns / kPanelWidth,
                        .n_cells = static_cast<std::uint32_t>(ends_.size()),
                        .n_panels = static_cast<std::uint32_t>(kColumns / kPanelWidth),
                        .first_budget = 0,
                        .n_budgets = kBudgets});
    }
  }

  void run() {
    measure_logits();
    measure_weights();
    measure_cells();
    slot_.wait();
  }

 private:
  static constexpr std::size_t kColumns = kQueryHeads / kKvHeads * kQueries;

  DevicePointer<std::byte> zeros(Room room, std::size_t n_bytes) {
    const DevicePointer<std::byte> bytes = slot_.room<std::byte>(room, n_bytes);
    slot_.clear(bytes, n_bytes);
    return bytes;
  }

  void report_bandwidth(const std::string& what, double bytes, double time) {
    report(what + ", " + shape_, 1e-9 * bytes / time, "GB/s", 1e-9 * peaks_.bandwidth);
  }

  void measure_logits() {
    const DeviceStack stack{
        .data = keys_, .dtype = dtype_, .count = kKvHeads, .rows = n_tokens_, .cols = kDim, .spacing = n_tokens_};
    const double time =
        seconds(slot_, [&] { multiply_keys_queries(slot_, stack, 0, n_tokens_, queries_, kColumns, 1, weights_); });
    report("logits, " + shape_, 1e-12 * 2 * static_cast<double>(n_weights_) * kDim / time, "TFLOP/s",
           1e-12 * peaks_.half);
    report_bandwidth("logits written", weight_bytes_, time);
  }

  void measure_weights() {
    const SeenKeys seen = seen_keys({}, std::vector<std::size_t>(kQueries, n_tokens_ - 1), kQueries, {0, n_tokens_});
    Tables& tables = slot_.new_tables();
    const std::size_t first = tables.add(std::span<const std::int32_t>(seen.first)),
                      last = tables.add(std::span<const std::int32_t>(seen.last));
    tables.send(slot_);
    const LogitColumns columns{.logits = weights_.get(),
                               .n_batch = kKvHeads,
                               .n_keys = n_tokens_,
                               .n_columns = kColumns,
                               .first = tables.at<std::int32_t>(first),
                               .last = tables.at<std::int32_t>(last),
                               .n_lanes = kQueries,
                               .softcap = 0};
    const std::size_t per_chunk = kKvHeads * kColumns;
    const DevicePointer<float> maxima = slot_.room<float>(Room::maxima, (n_chunks(n_tokens_) + 2) * per_chunk);
    const DevicePointer<float> sums = maxima + per_chunk, chunks = sums + per_chunk;
    const auto measure = [&](const std::string& what, double bytes, const auto& work) {
      report_bandwidth(what, bytes, seconds(slot_, [&] { KVREPLAY_CUDA(work()); }));
    };
    const DevicePointer<double> totals = slot_.room<double>(Room::columns, kQueryHeads * n_tokens_);
    slot_.clear(totals, kQueryHeads * n_tokens_);
    measure("maxima of logits", weight_bytes_,
            [&] { return find_maxima(columns, chunks.get(), maxima.get(), slot_.stream()); });
    measure("sums of exponentials", weight_bytes_,
            [&] { return sum_exponentials(columns, maxima.get(), chunks.get(), sums.get(), slot_.stream()); });
    measure("column sums", weight_bytes_, [&] {
      return add_column_sums(columns, maxima.get(), sums.get(), kQueries, 0, n_tokens_, totals.get(), slot_.stream());
    });
    measure("weights", 2 * weight_bytes_, [&] { return write_weights(columns, maxima.get(), slot_.stream()); });
  }

  void measure_cells() {
    std::vector<std::uint32_t> ranking(n_tokens_);
    for (std::size_t i = 0; i < n_tokens_; ++i) ranking[i] = static_cast<std::uint32_t>(i * 40503 % n_tokens_);
    std::vector<std::uint16_t> retained;
    for (std::size_t c = 0; c < ends_.size(); ++c) retained.push_back(static_cast<std::uint16_t>(0xffffu << c));
    Tables& tables = slot_.new_tables();
    const std::size_t positions = tables.add(std::span<const std::uint32_t>(ranking)),
                      runs = tables.add(std::span<const Run>(runs_.runs)),
                      folds = tables.add(std::span<const Fold>(runs_.folds)),
                      offsets = tables.add(std::span<const std::uint64_t>(runs_.offsets)),
                      walks = tables.add(std::span<const PlanWalk>(walks_)),
                      at_retained = tables.add(std::span<const std::uint16_t>(retained));
    tables.send(slot_);

    const DevicePointer<float> partials = slot_.room<float>(Room::partials, runs_.n_floats);
    const CellSums cells{.weights = weights_.get(),
                         .n_keys = n_tokens_,
                         .n_columns = kColumns,
                         .first_key = 0,
                         .values = values_.get(),
                         .dtype = dtype_,
                         .n_tokens = n_tokens_,
                         .value_dim = kDim,
                         .value_stride = kDim,
                         .positions = tables.at<std::uint32_t>(positions),
                         .runs = tables.at<Run>(runs),
                         .n_runs = runs_.runs.size(),
                         .most_columns = runs_.most_columns,
                         .partials = partials.get()};
    double time = seconds(slot_, [&] { KVREPLAY_CUDA(sum_runs(cells, slot_.stream())); });
    report("cell sums, " + shape_, 1e-12 * 2 * kPoliciesAtOnce * static_cast<double>(n_weights_) * kDim / time,
           "TFLOP/s", 1e-12 * peaks_.single);
    report_bandwidth("cell sums, weights read", kPoliciesAtOnce * weight_bytes_, time);
    time = seconds(slot_, [&] {
      KVREPLAY_CUDA(
          fold_runs(tables.at<Fold>(folds), runs_.folds.size(), runs_.largest_fold(), partials.get(), slot_.stream()));
    });
    report("folds, " + shape_, 1e6 * time, "us");

    const std::size_t n_norms = kPoliciesAtOnce * kQueryHeads * kQueries * kBudgets;
    const DevicePointer<float> base = slot_.room<float>(Room::base, (kDim + 1) * kColumns);
    slot_.clear(base, (kDim + 1) * kColumns);
    const ErrorsAtBudgets errors{.walks = tables.at<PlanWalk>(walks),
                                 .n_walks = walks_.size(),
                                 .cells = partials.get(),
                                 .offsets = tables.at<std::uint64_t>(offsets),
                                 .retained = tables.at<std::uint16_t>(at_retained),
                                 .local = base.get(),
                                 .local_columns = kColumns,
                                 .value_dim = kDim,
                                 .n_budgets = kBudgets,
                                 .most_panels = kColumns / kPanelWidth,
                                 .squares = slot_.room<float>(Room::squares, n_norms).get(),
                                 .recall = slot_.room<float>(Room::recall, n_norms).get(),
                                 .errors = nullptr};
    time = seconds(slot_, [&] { KVREPLAY_CUDA(errors_at_budgets(errors, slot_.stream())); });
    report_bandwidth("errors of budgets",
                     static_cast<double>(walks_.size() * ends_.size() * (kDim + 1) * kColumns) * sizeof(float), time);
  }

  StreamSlot& slot_;
  const Peaks& peaks_;
  std::size_t n_tokens_;
  DType dtype_;
  std::string shape_;
  std::size_t n_weights_;
  double weight_bytes_;
  DevicePointer<std::byte> keys_, values_, queries_;
  DevicePointer<float> weights_;
  std::vector<std::size_t> ends_;
  CellRuns runs_;
  std::vector<PlanWalk> walks_;
};

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
    const StreamSlots::Lease slot(gpu.slots());
    peaks = measure_peaks(*slot);
    for (const std::size_t n_tokens : {4096u, 32768u, 131072u})
      KernelBench(*slot, peaks, n_tokens, DType::float16).run();
    KernelBench(*slot, peaks, 32768, DType::bfloat16).run();
    KernelBench(*slot, peaks, 32768, DType::float32).run();
  }
  const auto backend = make_cuda_backend({}), cpu = make_cpu_backend();
  measure_primitives(*backend, peaks);
  measure_units(*backend, *cpu);
  return 0;
}
