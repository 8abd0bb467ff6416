#pragma once
// The CUDA backend itself: cuBLAS for the dense products, our kernels for everything that follows a ranking.

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/scratch_pool.h"
#include "core/cuda/device_replay.h"
#include "core/cuda/gpu.h"
#include "core/cuda/weights.h"
#include "core/engine/backend.h"

namespace kvreplay::cuda {

class GpuBackend final : public Backend {
 public:
  explicit GpuBackend(std::span<const int> devices);

  std::string_view name() const override { return "cuda"; }

  // gpu_backend.cpp
  std::unique_ptr<Residency> hold(const LayerData& data, DType dtype) override;
  std::unique_ptr<Residency> hold(ConstMatrixView factor, const LayerData& data) override;
  void replay(const ReplayInput& input, std::span<const LayerSelection> selections, std::span<OutputSink* const> sinks,
              Tensor* outputs) override;
  void weigh(const AttentionRule& rule, const QueryPanels& panels, ConstMatrixView keys, Range key_range,
             PanelWeights& out) override;
  void sum_cells(const PanelWeights& weights, Range panels, ConstMatrixView values,
                 std::span<const std::uint32_t> positions, std::span<const std::size_t> cell_ends,
                 PanelSums& out) override;
  void errors_at_budgets(const CellPlan& plan, const SumsView& cells, const SumsView& local, std::size_t value_dim,
                         PanelErrors& out) override;

  // gpu_attention.cpp
  void attention_sums(const AttentionRule& rule, std::span<const std::size_t> positions,
                      std::span<const ColumnTask> tasks) override;
  void attention_rows(const AttentionRule& rule, std::span<const std::size_t> positions,
                      std::span<const RowTask> tasks) override;

  // gpu_algebra.cpp
  void sum_outer_products(ConstMatrixView left, ConstMatrixView right, std::span<const double> weights,
                          std::span<const std::uint32_t> rows, std::span<const std::size_t> cell_ends, bool with_sides,
                          OuterSums& out) override;
  void projected_norms(ConstMatrixView factor, FactorForm form, MatrixView x, std::span<double> norms) override;
  std::vector<std::optional<double>> half_log_dets(std::vector<Matrix64> matrices) override;
  Matrix64 gram(ConstMatrixView rows, std::span<const double> weights) override;
  std::vector<double> quadratic_forms(const Matrix64& matrix, ConstMatrixView rows) override;
  void row_norms(ConstMatrixView rows, Norm norm, std::span<float> out) override;

 private:
  // What a product of keys and queries reads: both in one format.
  struct Products {
    DeviceStack keys;                        // [n_groups]
    DevicePointer<const std::byte> queries;  // [n_groups * heads, n_lanes, stride], contiguous
  };

  std::shared_ptr<const HeldLayer> hold_on(Gpu& gpu, const LayerData& data, DType dtype);
  // The device that holds what a view shows, else the first.
  Gpu& gpu_of(ConstMatrixView view);
  static LogitColumns columns_of(StreamSlot& slot, Tables& tables, const SeenKeys& seen, DevicePointer<float> logits,
                                 std::size_t n_batch, std::size_t n_keys, std::size_t n_columns,
                                 const AttentionRule& rule);
  // Keys and queries on the device, in one format; queries filled up to n_lanes rows of each head.
  static Products resolve(Gpu& gpu, StreamSlot& slot, std::span<const ConstMatrixView> keys,
                          std::span<const ConstMatrixView> queries, std::size_t n_lanes);
  void sum_columns(const AttentionRule& rule, std::span<const std::size_t> positions, std::span<const ColumnTask> tasks,
                   std::size_t group);
  void write_rows(const AttentionRule& rule, std::span<const std::size_t> positions, std::span<const RowTask> tasks,
                  std::size_t group);

  std::vector<std::unique_ptr<Gpu>> gpus_;
  std::atomic<std::size_t> turn_ = 0;  // of the GPU that has the next work that belongs to no layer
  ScratchPool<PackedLayer> packed_;
  ScratchPool<ReplayResults> results_;
};

}  // namespace kvreplay::cuda
