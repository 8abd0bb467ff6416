// The CUDA backend: cuBLAS for the dense products, our kernels for everything that follows a ranking.

#include "core/cuda/cuda_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "core/cuda/budget_errors.h"
#include "core/cuda/cell_sums.h"
#include "core/cuda/device_replay.h"
#include "core/cuda/gpu.h"
#include "core/cuda/norms.h"
#include "core/cuda/pack.h"
#include "core/cuda/set_runs.h"
#include "core/cuda/weights.h"
#include "core/error.h"

namespace kvreplay {
namespace cuda {
namespace {

// A layer on a device for as long as this, or another that holds it, lives.
class HeldOnDevice final : public Residency {
 public:
  HeldOnDevice(Gpu& gpu, std::shared_ptr<const HeldLayer> layer) : gpu_(gpu), layer_(std::move(layer)) {}

  std::string device() const override { return gpu_.name(); }

 private:
  Gpu& gpu_;
  std::shared_ptr<const HeldLayer> layer_;
};

std::unique_ptr<HeldLayer> send_layer(Gpu& gpu, const LayerData& data, const PackedLayer& packed) {
  auto layer = std::make_unique<HeldLayer>();
  layer->memory = DeviceBuffer<std::byte>(gpu.pool());
  layer->memory.reserve_discard(packed.begins[3]);
  {
    const Lanes::Lease lane(gpu.lanes());
    lane->upload(layer->memory.data(), packed.bytes, packed.begins[3]);
    lane->wait();
  }
  const auto tensor = [&](const Tensor& host, std::size_t begin) {
    return HeldTensor{.host = host.values().data(),
                      .count = host.count(),
                      .rows = host.rows(),
                      .cols = host.cols(),
                      .dtype = packed.dtype,
                      .device = DevicePointer<const std::byte>(layer->memory.data()) + begin};
  };
  layer->queries = tensor(data.queries, packed.begins[0]);
  layer->keys = tensor(data.keys, packed.begins[1]);
  layer->values = tensor(data.values, packed.begins[2]);
  return layer;
}

// A matrix on a device for as long as this lives, in float32.
class HeldFactor final : public Residency {
 public:
  HeldFactor(Gpu& gpu, ConstMatrixView factor) : gpu_(gpu) {
    const std::size_t bytes = factor.rows * padded(factor.cols) * sizeof(float);
    std::vector<std::byte> packed(bytes);
    pack_rows(factor, factor.rows, DType::float32, packed.data());
    memory_ = DeviceBuffer<std::byte>(gpu.pool());
    memory_.reserve_discard(bytes);
    {
      const Lanes::Lease lane(gpu.lanes());
      lane->upload(memory_.data(), std::span<const std::byte>(packed));
      lane->wait();
    }
    tensor_ = {.host = factor.data,
               .count = 1,
               .rows = factor.rows,
               .cols = factor.cols,
               .dtype = DType::float32,
               .device = memory_.data()};
    gpu_.held().add(tensor_);
  }
  ~HeldFactor() override { gpu_.held().remove(tensor_); }

  std::string device() const override { return gpu_.name(); }

 private:
  Gpu& gpu_;
  DeviceBuffer<std::byte> memory_;
  HeldTensor tensor_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(std::span<const int> devices) {
    for (const int device : devices) gpus_.push_back(std::make_unique<Gpu>(device));
  }

  std::string_view name() const override { return "cuda"; }

  std::unique_ptr<Residency> hold(const LayerData& data, DType dtype) override {
    for (const auto& gpu : gpus_)
      if (std::shared_ptr<const HeldLayer> layer = gpu->held().find(data))
        return std::make_unique<HeldOnDevice>(*gpu, std::move(layer));
    Gpu& fewest = **std::ranges::min_element(gpus_, {}, [](const auto& gpu) { return gpu->held().size(); });
    return std::make_unique<HeldOnDevice>(fewest, hold_on(fewest, data, dtype));
  }

  std::unique_ptr<Residency> hold(ConstMatrixView factor, const LayerData& data) override {
    if (factor.rows * factor.cols == 0 || factor.stride != factor.cols) return nullptr;
    return std::make_unique<HeldFactor>(gpu_of(data.keys.matrix(0)), factor);
  }

  void replay(const ReplayInput& input, std::span<const LayerSelection> selections,
              std::span<MetricAccumulator* const> accumulators, Tensor* outputs) override {
    if (input.query_rows.size() == 0) return;
    for (const auto& gpu : gpus_)
      if (const std::shared_ptr<const HeldLayer> layer = gpu->held().find(*input.layer))
        return replay_on_device(input, selections, accumulators, outputs, *gpu, *layer, results_);
    const auto layer = hold_on(*gpus_.front(), *input.layer, DType::float32);
    replay_on_device(input, selections, accumulators, outputs, *gpus_.front(), *layer, results_);
  }

  void weigh(const AttentionRule& rule, const QueryPanels& panels, ConstMatrixView keys, Range key_range,
             PanelWeights& out) override {
    Gpu& gpu = gpu_of(keys);
    const Lanes::Lease lane(gpu.lanes());
    out.first_key = key_range.begin;
    out.n_keys = key_range.size();
    out.n_panels = panels.queries.size();
    out.n_queries = panels.positions.size();
    const std::size_t n_columns = out.n_panels * kPanelWidth, n = out.n_keys * n_columns;
    out.weights.reserve_discard(n);
    if (n == 0) return;

    Products products = resolve(gpu, *lane, {&keys, 1}, panels.queries, kPanelWidth);
    const DevicePointer<float> weights = lane->room<float>(Room::weights, n);
    multiply_keys_queries(*lane, products.keys, key_range.begin, key_range.size(), products.queries, n_columns,
                          rule.scale, weights);
    const SeenKeys seen = seen_keys(rule, panels.positions, kPanelWidth, key_range);
    Tables& tables = lane->new_tables();
    const LogitColumns columns = columns_of(*lane, tables, seen, weights, 1, out.n_keys, n_columns, rule);
    const DevicePointer<float> maxima = lane->room<float>(Room::maxima, (n_chunks(out.n_keys) + 1) * n_columns);
    KVREPLAY_CUDA(find_maxima(columns, (maxima + n_columns).get(), maxima.get(), lane->stream()));
    KVREPLAY_CUDA(write_weights(columns, maxima.get(), lane->stream()));
    lane->download(std::span(out.weights.data(), n), weights);
    lane->wait();
  }

  void sum_sets(const PanelWeights& weights, Range panels, ConstMatrixView values,
                std::span<const std::uint32_t> positions, std::span<const std::size_t> set_ends,
                PanelSums& out) override {
    Gpu& gpu = gpu_of(values);
    const Lanes::Lease lane(gpu.lanes());
    const std::size_t dim = values.cols, n_sets = set_ends.size(), n_panels = panels.size();
    const std::size_t n_columns = n_panels * kPanelWidth, all_columns = weights.n_panels * kPanelWidth;
    out.n_sets = n_sets;
    out.value_dim = dim;
    out.values.reserve_discard(n_panels * n_sets * dim * kPanelWidth);
    out.weights.reserve_discard(n_panels * n_sets * kPanelWidth);
    if (n_sets * n_panels == 0) return;

    SetRuns sets;
    sets.add(dim, {0, static_cast<std::uint32_t>(panels.begin * kPanelWidth), static_cast<std::uint32_t>(n_columns)}, 0,
             set_ends);
    Tables& tables = lane->new_tables();
    const std::size_t at_positions = tables.add(positions), at_runs = tables.add(std::span<const Run>(sets.runs)),
                      at_folds = tables.add(std::span<const Fold>(sets.folds));
    tables.send(*lane);
    const DeviceStack stack = stack_of(gpu, *lane, {&values, 1}, Room::values, DType::float32);
    const DevicePointer<float> device_weights = lane->room<float>(Room::weights, weights.n_keys * all_columns);
    lane->upload(device_weights, std::span<const float>(weights.weights.data(), weights.n_keys * all_columns));
    const DevicePointer<float> partials = lane->room<float>(Room::partials, sets.n_floats);
    KVREPLAY_CUDA(sum_runs({.weights = device_weights.get(),
                            .n_keys = weights.n_keys,
                            .n_columns = all_columns,
                            .first_key = weights.first_key,
                            .values = stack.data.get(),
                            .dtype = stack.dtype,
                            .n_tokens = values.rows,
                            .value_dim = dim,
                            .value_stride = stack.stride(),
                            .positions = tables.at<std::uint32_t>(at_positions),
                            .runs = tables.at<Run>(at_runs),
                            .n_runs = sets.runs.size(),
                            .most_columns = sets.most_columns,
                            .partials = partials.get()},
                           lane->stream()));
    KVREPLAY_CUDA(
        fold_runs(tables.at<Fold>(at_folds), sets.folds.size(), sets.largest_fold(), partials.get(), lane->stream()));
    const std::size_t size = (dim + 1) * n_columns;
    std::vector<float> sums(n_sets * size);
    for (std::size_t s = 0; s < n_sets; ++s)
      lane->download(std::span(sums).subspan(s * size, size), partials + sets.slots[s]);
    lane->wait();
    for (std::size_t s = 0; s < n_sets; ++s)
      for (std::size_t p = 0; p < n_panels; ++p)
        for (std::size_t d = 0; d <= dim; ++d)
          std::copy_n(sums.data() + s * size + d * n_columns + p * kPanelWidth, kPanelWidth,
                      d < dim ? out.values.data() + ((p * n_sets + s) * dim + d) * kPanelWidth
                              : out.weights.data() + (p * n_sets + s) * kPanelWidth);
  }

  void combine(const CellPlan& plan, const SumsView& cells, const SumsView& local, std::size_t value_dim,
               PanelErrors& out) override {
    const Lanes::Lease lane(gpus_.front()->lanes());
    const std::size_t n_cells = plan.n_cells(), n_budgets = plan.n_budgets(), size = value_dim * kPanelWidth;
    out.errors.reserve_discard(n_budgets * size);
    out.squared_errors.reserve_discard(n_budgets * kPanelWidth);
    out.recall.reserve_discard(n_budgets * kPanelWidth);
    if (n_budgets == 0) return;

    // [n_cells + 1][value_dim + 1, kPanelWidth], the local tokens last
    std::vector<float> sums;
    std::vector<std::uint64_t> slots;
    const auto append = [&](const SumsView& from, std::size_t s) {
      slots.push_back(sums.size());
      sums.insert(sums.end(), from.values + s * size, from.values + (s + 1) * size);
      sums.insert(sums.end(), from.weights + s * kPanelWidth, from.weights + (s + 1) * kPanelWidth);
    };
    for (std::size_t c = 0; c < n_cells; ++c) append(cells, c);
    append(local, 0);
    std::vector<std::uint16_t> held;
    for (std::size_t c = 0; c < n_cells; ++c)
      for (std::size_t b = 0; b < n_budgets; b += kBudgetsAtOnce) {
        unsigned bits = 0;
        for (std::size_t i = b; i < std::min<std::size_t>(b + kBudgetsAtOnce, n_budgets); ++i)
          bits |= plan.holds(c, i) ? 1u << (i - b) : 0u;
        held.push_back(static_cast<std::uint16_t>(bits));
      }
    const PlanWalk walk{.cells = 0,
                        .held = 0,
                        .local = slots.back(),
                        .out = 0,
                        .n_cells = static_cast<std::uint32_t>(n_cells),
                        .n_panels = 1,
                        .first_budget = 0,
                        .n_budgets = static_cast<std::uint32_t>(n_budgets)};
    Tables& tables = lane->new_tables();
    const std::size_t at_walk = tables.add(std::span(&walk, 1)), at_sums = tables.add(std::span<const float>(sums)),
                      at_slots = tables.add(std::span<const std::uint64_t>(slots)),
                      at_held = tables.add(std::span<const std::uint16_t>(held));
    tables.send(*lane);
    const DevicePointer<float> squares = lane->room<float>(Room::squares, n_budgets * kPanelWidth);
    const DevicePointer<float> recall = lane->room<float>(Room::recall, n_budgets * kPanelWidth);
    const DevicePointer<float> errors = lane->room<float>(Room::errors, n_budgets * size);
    KVREPLAY_CUDA(measure_budgets({.walks = tables.at<PlanWalk>(at_walk),
                                   .n_walks = 1,
                                   .cells = tables.at<float>(at_sums),
                                   .slots = tables.at<std::uint64_t>(at_slots),
                                   .held = tables.at<std::uint16_t>(at_held),
                                   .local = tables.at<float>(at_sums),
                                   .local_columns = kPanelWidth,
                                   .value_dim = value_dim,
                                   .n_budgets = n_budgets,
                                   .most_panels = 1,
                                   .squares = squares.get(),
                                   .recall = recall.get(),
                                   .errors = errors.get()},
                                  lane->stream()));
    lane->download(std::span(out.squared_errors.data(), n_budgets * kPanelWidth), squares);
    lane->download(std::span(out.recall.data(), n_budgets * kPanelWidth), recall);
    lane->download(std::span(out.errors.data(), n_budgets * size), errors);
    lane->wait();
  }

  void attention_sums(const AttentionRule& rule, std::span<const std::size_t> positions,
                      std::span<const ColumnTask> tasks) override {
    for_each_batch(tasks, [&](std::span<const ColumnTask> batch, std::size_t group) {
      sum_columns(rule, positions, batch, group);
    });
  }

  void attention_rows(const AttentionRule& rule, std::span<const std::size_t> positions,
                      std::span<const RowTask> tasks) override {
    for_each_batch(
        tasks, [&](std::span<const RowTask> batch, std::size_t group) { write_rows(rule, positions, batch, group); });
  }

  void sum_outer_products(ConstMatrixView left, ConstMatrixView right, std::span<const double> weights,
                          std::span<const std::uint32_t> rows, std::span<const std::size_t> set_ends, bool with_sides,
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

  std::shared_ptr<const HeldLayer> hold_on(Gpu& gpu, const LayerData& data, DType dtype) {
    // Packed before a lane is asked for: parallel_for() is inside.
    PackedLayer packed = packed_.take();
    pack_layer(data, dtype, packed);
    std::unique_ptr<HeldLayer> layer = send_layer(gpu, data, packed);
    packed_.give(std::move(packed));
    return gpu.held().add(std::move(layer));
  }

  // The device that holds what a view shows, else the first.
  Gpu& gpu_of(ConstMatrixView view) {
    for (const auto& gpu : gpus_)
      if (gpu->held().find(view)) return *gpu;
    return *gpus_.front();
  }

  static LogitColumns columns_of(Lane& lane, Tables& tables, const SeenKeys& seen, DevicePointer<float> logits,
                                 std::size_t n_batch, std::size_t n_keys, std::size_t n_columns,
                                 const AttentionRule& rule) {
    const std::size_t first = tables.add(std::span<const std::int32_t>(seen.first)),
                      last = tables.add(std::span<const std::int32_t>(seen.last));
    tables.send(lane);
    return {.logits = logits.get(),
            .n_batch = n_batch,
            .n_keys = n_keys,
            .n_columns = n_columns,
            .first = tables.at<std::int32_t>(first),
            .last = tables.at<std::int32_t>(last),
            .n_lanes = seen.first.size(),
            .softcap = static_cast<float>(rule.softcap)};
  }

  // Keys and queries on the device, in one format; queries filled up to n_lanes rows of each head.
  static Products resolve(Gpu& gpu, Lane& lane, std::span<const ConstMatrixView> keys,
                          std::span<const ConstMatrixView> queries, std::size_t n_lanes) {
    Products products;
    products.keys = stack_of(gpu, lane, keys, Room::keys, DType::float32);
    DeviceStack stack = stack_of(gpu, lane, queries, Room::left, products.keys.dtype);
    if (stack.dtype != products.keys.dtype) {
      const auto size = [](const DeviceStack& s) { return s.count * s.rows * s.stride(); };
      const DevicePointer<float> wide = lane.room<float>(Room::wide, size(products.keys) + size(stack));
      products.keys = widened(lane, products.keys, wide);
      stack = widened(lane, stack, wide + size(products.keys));
    }
    const std::size_t row_bytes = stack.stride() * size_of(stack.dtype);
    const DevicePointer<std::byte> packed = lane.room<std::byte>(Room::queries, stack.count * n_lanes * row_bytes);
    KVREPLAY_CUDA(pack_rows({.from = reinterpret_cast<const uint4*>(stack.data.get()),
                             .out = reinterpret_cast<uint4*>(packed.get()),
                             .n_matrices = stack.count,
                             .n_rows = stack.spacing,
                             .row_words = row_bytes / sizeof(uint4),
                             .first = 0,
                             .n = stack.rows,
                             .n_lanes = n_lanes},
                            lane.stream()));
    products.queries = packed;
    return products;
  }

  // Splits tasks into batches that one product can serve: equally many heads in a row share their keys, and keys as
  // well as queries are equally far apart. \param work  (tasks, heads that share keys)
  template <typename Task, typename Work>
  void for_each_batch(std::span<const Task> tasks, const Work& work) {
    const auto group_at = [&](std::size_t i) {
      std::size_t n = 1;
      while (i + n < tasks.size() && tasks[i + n].keys.data == tasks[i].keys.data) ++n;
      return n;
    };
    for (std::size_t begin = 0; begin < tasks.size();) {
      const std::size_t group = group_at(begin);
      std::size_t end = begin + group;
      const auto step = [&](std::size_t i, auto member) {
        return (tasks[i].*member).data - (tasks[i - group].*member).data;
      };
      while (end + group <= tasks.size() && group_at(end) == group &&
             (end == begin + group || (step(end, &Task::keys) == step(begin + group, &Task::keys) &&
                                       step(end, &Task::queries) == step(begin + group, &Task::queries))))
        end += group;
      work(tasks.subspan(begin, end - begin), group);
      begin = end;
    }
  }

  void sum_columns(const AttentionRule& rule, std::span<const std::size_t> positions, std::span<const ColumnTask> tasks,
                   std::size_t group) {
    const std::size_t n_tokens = tasks[0].keys.rows;
    if (positions.empty()) {
      for (const ColumnTask& task : tasks) std::ranges::fill(task.out, 0.0f);
      return;
    }
    Gpu& gpu = gpu_of(tasks[0].keys);
    // Logits of a tile of queries and all heads have to fit; where they do not, heads are done one after the other.
    const std::size_t bytes_of_panel = tasks.size() * n_tokens * kPanelWidth * sizeof(float);
    if (bytes_of_panel > gpu.lane_memory() && tasks.size() > group) {
      const std::size_t half = tasks.size() / group / 2 * group;
      sum_columns(rule, positions, tasks.first(half), group);
      sum_columns(rule, positions, tasks.subspan(half), group);
      return;
    }
    const std::size_t n_panels =
        std::clamp<std::size_t>(gpu.lane_memory() / std::max<std::size_t>(1, bytes_of_panel), 1, kMostPanelsOfSums);
    const Lanes::Lease lane(gpu.lanes());
    const std::size_t n_batch = tasks.size() / group;
    const DevicePointer<double> totals = lane->room<double>(Room::columns, tasks.size() * n_tokens);
    lane->clear(totals, tasks.size() * n_tokens);
    for (std::size_t begin = 0; begin < positions.size(); begin += n_panels * kPanelWidth) {
      const std::size_t n = std::min(n_panels * kPanelWidth, positions.size() - begin);
      const std::size_t n_lanes = (n + kPanelWidth - 1) / kPanelWidth * kPanelWidth, n_columns = group * n_lanes;
      const std::span<const std::size_t> some = positions.subspan(begin, n);
      const Range keys{rule.first_visible(some.front()), some.back() + 1};
      std::vector<ConstMatrixView> key_views, query_views;
      for (std::size_t i = 0; i < tasks.size(); ++i) {
        if (i % group == 0) key_views.push_back(tasks[i].keys.rows_between(keys.begin, keys.end));
        query_views.push_back(tasks[i].queries.rows_between(begin, begin + n));
      }
      const Products products = resolve(gpu, *lane, key_views, query_views, n_lanes);
      const DevicePointer<float> logits = lane->room<float>(Room::weights, n_batch * keys.size() * n_columns);
      multiply_keys_queries(*lane, products.keys, 0, keys.size(), products.queries, n_columns, rule.scale, logits);
      const SeenKeys seen = seen_keys(rule, some, n_lanes, keys);
      Tables& tables = lane->new_tables();
      const LogitColumns columns = columns_of(*lane, tables, seen, logits, n_batch, keys.size(), n_columns, rule);
      const std::size_t per_chunk = n_batch * n_columns;
      const DevicePointer<float> maxima = lane->room<float>(Room::maxima, (n_chunks(keys.size()) + 2) * per_chunk);
      const DevicePointer<float> sums = maxima + per_chunk, chunks = sums + per_chunk;
      KVREPLAY_CUDA(find_maxima(columns, chunks.get(), maxima.get(), lane->stream()));
      KVREPLAY_CUDA(sum_exponentials(columns, maxima.get(), chunks.get(), sums.get(), lane->stream()));
      KVREPLAY_CUDA(
          add_column_sums(columns, maxima.get(), sums.get(), n, keys.begin, n_tokens, totals.get(), lane->stream()));
      lane->wait();  // rows that were packed on the host go
    }
    std::vector<double> all(tasks.size() * n_tokens);
    lane->download(std::span(all), totals);
    lane->wait();
    for (std::size_t i = 0; i < tasks.size(); ++i)
      std::transform(all.begin() + static_cast<std::ptrdiff_t>(i * n_tokens),
                     all.begin() + static_cast<std::ptrdiff_t>((i + 1) * n_tokens), tasks[i].out.begin(),
                     [](double sum) { return static_cast<float>(sum); });
  }

  void write_rows(const AttentionRule& rule, std::span<const std::size_t> positions, std::span<const RowTask> tasks,
                  std::size_t group) {
    if (positions.empty()) return;
    Gpu& gpu = gpu_of(tasks[0].keys);
    const std::size_t n = positions.size(), n_tokens = tasks[0].keys.rows;
    const std::size_t bytes = tasks.size() * n * n_tokens * sizeof(float);
    if (bytes > gpu.lane_memory() && tasks.size() > group) {
      const std::size_t half = tasks.size() / group / 2 * group;
      write_rows(rule, positions, tasks.first(half), group);
      write_rows(rule, positions, tasks.subspan(half), group);
      return;
    }
    const Lanes::Lease lane(gpu.lanes());
    std::vector<ConstMatrixView> key_views, query_views;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (i % group == 0) key_views.push_back(tasks[i].keys);
      query_views.push_back(tasks[i].queries);
    }
    const Products products = resolve(gpu, *lane, key_views, query_views, n);
    const DevicePointer<float> rows = lane->room<float>(Room::weights, tasks.size() * n * n_tokens);
    multiply_queries_keys(*lane, products.keys, products.queries, group * n, rule.scale, rows);
    const SeenKeys seen = seen_keys(rule, positions, n, {0, n_tokens});
    Tables& tables = lane->new_tables();
    const std::size_t first = tables.add(std::span<const std::int32_t>(seen.first)),
                      last = tables.add(std::span<const std::int32_t>(seen.last));
    tables.send(*lane);
    KVREPLAY_CUDA(softmax_rows(rows.get(), tasks.size(), n, n_tokens, tables.at<std::int32_t>(first),
                               tables.at<std::int32_t>(last), static_cast<float>(rule.softcap), lane->stream()));
    for (std::size_t i = 0; i < tasks.size(); ++i)
      for (std::size_t r = 0; r < n; ++r) lane->download(tasks[i].out.row(r), rows + (i * n + r) * n_tokens);
    lane->wait();
  }

  // Queries of a head whose columns are added up in float32 before they go to float64, in panels.
  static constexpr std::size_t kMostPanelsOfSums = kMostLanesOfSums / kPanelWidth;

  std::vector<std::unique_ptr<Gpu>> gpus_;
  std::atomic<std::size_t> turn_ = 0;
  ScratchPool<PackedLayer> packed_;
  ScratchPool<ReplayResults> results_;
};

void CudaBackend::sum_outer_products(ConstMatrixView left, ConstMatrixView right, std::span<const double> weights,
                                     std::span<const std::uint32_t> rows, std::span<const std::size_t> set_ends,
                                     bool with_sides, OuterSums& out) {
  const std::size_t p = left.cols, q = right.cols, n_sets = set_ends.size();
  const bool symmetric = left.data == right.data && p == q && !with_sides;
  out.products.reserve_discard(n_sets * p * q);
  out.weights.reserve_discard(n_sets);
  if (with_sides) {
    out.left.reserve_discard(n_sets * p);
    out.right.reserve_discard(n_sets * q);
  }
  for (std::size_t s = 0, begin = 0; s < n_sets; begin = set_ends[s++]) {
    double sum = 0;
    for (const std::uint32_t row : rows.subspan(begin, set_ends[s] - begin)) sum += weights.empty() ? 1 : weights[row];
    out.weights[s] = sum;
  }
  if (n_sets == 0) return;

  Gpu& gpu = gpu_of(left);
  const Lanes::Lease lane(gpu.lanes());
  const auto in_float32 = [&](ConstMatrixView view, Room room, DevicePointer<float> wide) {
    const DeviceStack stack = stack_of(gpu, *lane, {&view, 1}, room, DType::float32);
    return reinterpret_cast<const float*>(
        (stack.dtype == DType::float32 ? stack : widened(*lane, stack, wide)).data.get());
  };
  const std::size_t n_left = left.rows * padded(p), n_right = symmetric ? 0 : right.rows * padded(q);
  const DevicePointer<float> wide = lane->room<float>(Room::wide, n_left + n_right);
  const float* left_rows = in_float32(left, Room::keys, wide);
  const float* right_rows = symmetric ? left_rows : in_float32(right, Room::values, wide + n_left);

  const float one = 1;
  Tables& tables = lane->new_tables();
  const std::size_t at_rows = tables.add(rows), at_weights = tables.add(weights),
                    at_one = tables.add(std::span(&one, 1));
  tables.send(*lane);
  const double* factors = weights.empty() ? nullptr : tables.at<double>(at_weights);
  const DevicePointer<double> products = lane->room<double>(Room::products, n_sets * p * q);
  const DevicePointer<double> sides = lane->room<double>(Room::sides, n_sets * (p + q));
  lane->clear(products, n_sets * p * q);
  lane->clear(sides, n_sets * (p + q));

  constexpr std::size_t kRows = 16384;  // gathered at a time
  const DevicePointer<double> a = lane->room<double>(Room::left, kRows * (p + 1));
  const DevicePointer<double> b = lane->room<double>(Room::right, kRows * (q + 1));
  const auto gather = [&](const float* from, std::size_t stride, std::size_t cols, const double* by, std::size_t at,
                          std::size_t n, DevicePointer<double> to) {
    KVREPLAY_CUDA(gather_rows({.rows = from,
                               .stride = stride,
                               .cols = cols,
                               .factors = by,
                               .roots = symmetric,
                               .index = tables.at<std::uint32_t>(at_rows) + at,
                               .n = n,
                               .out = to.get()},
                              lane->stream()));
  };
  const auto np = static_cast<int>(p), nq = static_cast<int>(q);
  const double alpha = 1, beta = 1;
  for (std::size_t s = 0, begin = 0; s < n_sets; begin = set_ends[s++])
    for (std::size_t at = begin; at < set_ends[s]; at += kRows) {
      const std::size_t n = std::min(kRows, set_ends[s] - at);
      const auto rows_now = static_cast<int>(n);
      gather(left_rows, padded(p), p, factors, at, n, a);
      double* product = (products + s * p * q).get();
      // Rows here are columns to cuBLAS: the product [p, q] in rows is [q, p] in columns.
      if (symmetric) {
        KVREPLAY_CUDA(cublasDsyrk(lane->blas(), CUBLAS_FILL_MODE_LOWER, CUBLAS_OP_N, np, rows_now, &alpha, a.get(), np,
                                  &beta, product, np));
        continue;
      }
      gather(right_rows, padded(q), q, nullptr, at, n, b);
      KVREPLAY_CUDA(cublasDgemm(lane->blas(), CUBLAS_OP_N, CUBLAS_OP_T, nq, np, rows_now, &alpha, b.get(), nq, a.get(),
                                np, &beta, product, nq));
      if (!with_sides) continue;
      const DevicePointer<double> ones = a + kRows * p, by = b + kRows * q;
      gather(tables.at<float>(at_one), 0, 1, nullptr, at, n, ones);
      gather(tables.at<float>(at_one), 0, 1, factors, at, n, by);
      KVREPLAY_CUDA(cublasDgemv(lane->blas(), CUBLAS_OP_N, np, rows_now, &alpha, a.get(), np, ones.get(), 1, &beta,
                                (sides + s * (p + q)).get(), 1));
      KVREPLAY_CUDA(cublasDgemv(lane->blas(), CUBLAS_OP_N, nq, rows_now, &alpha, b.get(), nq, by.get(), 1, &beta,
                                (sides + s * (p + q) + p).get(), 1));
    }
  lane->download(std::span(out.products.data(), n_sets * p * q), products);
  if (with_sides)
    for (std::size_t s = 0; s < n_sets; ++s) {
      lane->download(std::span(out.left.data() + s * p, p), sides + s * (p + q));
      lane->download(std::span(out.right.data() + s * q, q), sides + s * (p + q) + p);
    }
  lane->wait();
  if (symmetric)
    for (std::size_t s = 0; s < n_sets; ++s)
      for (std::size_t r = 1; r < p; ++r)
        for (std::size_t c = 0; c < r; ++c) out.products[(s * p + r) * p + c] = out.products[(s * p + c) * p + r];
}

void CudaBackend::projected_norms(ConstMatrixView factor, FactorForm form, MatrixView x, std::span<double> norms) {
  const bool transposed = form == FactorForm::transposed;
  const std::size_t n_out = transposed ? factor.cols : factor.rows, n_in = transposed ? factor.rows : factor.cols;
  if (n_out * n_in * x.cols == 0) {
    std::ranges::fill(norms, 0.0);
    return;
  }
  Gpu& gpu = gpu_of(factor);
  const Lanes::Lease lane(gpu.lanes());
  const DeviceStack stack = stack_of(gpu, *lane, {&factor, 1}, Room::keys, DType::float32);
  const float* const on_device = reinterpret_cast<const float*>(stack.data.get());
  const DevicePointer<float> columns = lane->room<float>(Room::errors, n_in * x.cols);
  if (x.stride == x.cols)
    lane->upload(columns, std::span<const float>(x.data, n_in * x.cols));
  else
    for (std::size_t r = 0; r < n_in; ++r) lane->upload(columns + r * x.cols, std::span<const float>(x.row(r)));
  const DevicePointer<float> product = lane->room<float>(Room::weights, n_out * x.cols);
  // What lies left of a block of rows' first diagonal element is 0: blocks do a little more than half of the work.
  constexpr std::size_t kRows = 512;
  const std::size_t step = form == FactorForm::trapezoidal ? kRows : n_out;
  const float one = 1, zero = 0;
  const auto k = static_cast<int>(x.cols), ld = static_cast<int>(stack.stride());
  for (std::size_t row = 0; row < n_out; row += step) {
    const std::size_t skipped = form == FactorForm::trapezoidal ? row : 0;
    // Rows here are columns to cuBLAS: x^T F^T.
    KVREPLAY_CUDA(cublasSgemm(lane->blas(), CUBLAS_OP_N, transposed ? CUBLAS_OP_T : CUBLAS_OP_N, k,
                              static_cast<int>(std::min(step, n_out - row)), static_cast<int>(n_in - skipped), &one,
                              (columns + skipped * x.cols).get(), k, on_device + row * stack.stride() + skipped, ld,
                              &zero, (product + row * x.cols).get(), k));
  }
  const DevicePointer<double> squares = lane->room<double>(Room::columns, x.cols);
  KVREPLAY_CUDA(square_columns(product.get(), n_out, x.cols, squares.get(), lane->stream()));
  lane->download(norms.first(x.cols), squares);
  lane->wait();
}

std::vector<std::optional<double>> CudaBackend::half_log_dets(std::vector<Matrix64> matrices) {
  std::vector<std::optional<double>> results(matrices.size());
  if (matrices.empty() || matrices[0].rows == 0) return Backend::half_log_dets(std::move(matrices));
  const std::size_t n = matrices[0].rows, count = matrices.size();
  // They belong to no layer: GPUs take turns.
  const Lanes::Lease lane(gpus_[turn_++ % gpus_.size()]->lanes());
  const DevicePointer<double> factors = lane->room<double>(Room::products, count * n * n);
  std::vector<double*> addresses;
  for (std::size_t i = 0; i < count; ++i) {
    lane->upload(factors + i * n * n, std::span<const double>(matrices[i].values));
    addresses.push_back((factors + i * n * n).get());
  }
  const DevicePointer<double*> pointers = lane->room<double*>(Room::pointers, count);
  lane->upload(pointers, std::span<double* const>(addresses));
  const DevicePointer<int> info = lane->room<int>(Room::info, count);
  // An upper triangle in rows is a lower one in columns.
  KVREPLAY_CUDA(cusolverDnDpotrfBatched(lane->solver(), CUBLAS_FILL_MODE_LOWER, static_cast<int>(n), pointers.get(),
                                        static_cast<int>(n), info.get(), static_cast<int>(count)));
  const DevicePointer<double> sums = lane->room<double>(Room::sides, count);
  KVREPLAY_CUDA(sum_log_diagonals(factors.get(), count, n, sums.get(), lane->stream()));
  std::vector<double> values(count);
  std::vector<int> failed(count);
  lane->download(std::span(values), sums);
  lane->download(std::span(failed), info);
  lane->wait();
  for (std::size_t i = 0; i < count; ++i)
    if (failed[i] == 0) results[i] = values[i];
  return results;
}

Matrix64 CudaBackend::gram(ConstMatrixView rows, std::span<const double> weights) {
  std::vector<std::uint32_t> all(rows.rows);
  std::iota(all.begin(), all.end(), 0u);
  const std::size_t end[] = {all.size()};
  OuterSums sums;
  sum_outer_products(rows, rows, weights, all, end, false, sums);
  Matrix64 result(rows.cols, rows.cols);
  std::copy_n(sums.products.data(), result.values.size(), result.values.data());
  return result;
}

std::vector<double> CudaBackend::quadratic_forms(const Matrix64& matrix, ConstMatrixView rows) {
  std::vector<double> forms(rows.rows);
  if (rows.rows * rows.cols == 0) return forms;
  Gpu& gpu = gpu_of(rows);
  const Lanes::Lease lane(gpu.lanes());
  DeviceStack stack = stack_of(gpu, *lane, {&rows, 1}, Room::keys, DType::float32);
  if (stack.dtype != DType::float32)
    stack = widened(*lane, stack, lane->room<float>(Room::wide, rows.rows * stack.stride()));
  const float* const narrow = reinterpret_cast<const float*>(stack.data.get());
  constexpr std::size_t kRows = 16384;  // in float64 at a time
  const std::size_t dim = rows.cols, most = std::min(kRows, rows.rows);
  const DevicePointer<double> middle = lane->room<double>(Room::products, dim * dim);
  const DevicePointer<double> left = lane->room<double>(Room::left, most * dim);
  const DevicePointer<double> turned = lane->room<double>(Room::right, most * dim);
  const DevicePointer<double> sums = lane->room<double>(Room::sides, rows.rows);
  lane->upload(middle, std::span<const double>(matrix.values));
  const double one = 1, zero = 0;
  const auto d = static_cast<int>(dim);
  for (std::size_t at = 0; at < rows.rows; at += kRows) {
    const std::size_t n = std::min(kRows, rows.rows - at);
    KVREPLAY_CUDA(gather_rows({.rows = narrow + at * stack.stride(),
                               .stride = stack.stride(),
                               .cols = dim,
                               .factors = nullptr,
                               .roots = false,
                               .index = nullptr,
                               .n = n,
                               .out = left.get()},
                              lane->stream()));
    KVREPLAY_CUDA(cublasDgemm(lane->blas(), CUBLAS_OP_N, CUBLAS_OP_N, d, static_cast<int>(n), d, &one, middle.get(), d,
                              left.get(), d, &zero, turned.get(), d));
    KVREPLAY_CUDA(multiply_rows(left.get(), turned.get(), n, dim, (sums + at).get(), lane->stream()));
  }
  lane->download(std::span(forms), sums);
  lane->wait();
  return forms;
}

void CudaBackend::row_norms(ConstMatrixView rows, Norm norm, std::span<float> out) {
  // One pass over the rows: to send them takes longer than that.
  Gpu& gpu = gpu_of(rows);
  if (rows.rows == 0 || !gpu.held().find(rows)) return Backend::row_norms(rows, norm, out);
  const Lanes::Lease lane(gpu.lanes());
  const DeviceStack stack = stack_of(gpu, *lane, {&rows, 1}, Room::keys, DType::float32);
  const DevicePointer<float> norms = lane->room<float>(Room::sides, rows.rows);
  KVREPLAY_CUDA(measure_rows(stack.data.get(), stack.dtype, rows.rows, rows.cols, stack.stride(), norm == Norm::l1,
                             norms.get(), lane->stream()));
  lane->download(out.first(rows.rows), norms);
  lane->wait();
}

}  // namespace
}  // namespace cuda

CudaDevices cuda_devices() {
  CudaDevices found;
  int n = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&n); status != cudaSuccess) {
    cudaGetLastError();
    found.why_none = cudaGetErrorString(status);
    return found;
  }
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) == cudaSuccess)
      found.devices.push_back({.index = i, .name = properties.name, .memory = properties.totalGlobalMem});
  }
  if (found.devices.empty()) found.why_none = "no CUDA device";
  return found;
}

std::unique_ptr<Backend> make_cuda_backend(std::span<const int> devices) {
  std::vector<int> chosen(devices.begin(), devices.end());
  const CudaDevices found = cuda_devices();
  if (found.devices.empty()) throw DeviceError("no GPU: " + found.why_none);
  if (chosen.empty())
    for (const CudaDevice& device : found.devices) chosen.push_back(device.index);
  for (const int index : chosen)
    if (std::ranges::find(found.devices, index, &CudaDevice::index) == found.devices.end())
      throw DeviceError(
          fmt::format("there is no GPU {}; there are {} of them, from 0 on", index, found.devices.size()));
  return std::make_unique<cuda::CudaBackend>(chosen);
}

}  // namespace kvreplay
