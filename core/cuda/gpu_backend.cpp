// Layers and factors on devices, whole replays, and the primitives of a replay one by one.

#include "core/cuda/gpu_backend.h"

#include <algorithm>

#include "core/cuda/cell_runs.h"
#include "core/cuda/cell_sums.h"
#include "core/cuda/errors_at_budgets.h"
#include "core/cuda/pack.h"

namespace kvreplay::cuda {
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
    const StreamSlots::Lease slot(gpu.slots());
    slot->upload(layer->memory.data(), packed.bytes, packed.begins[3]);
    slot->wait();
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
      const StreamSlots::Lease slot(gpu.slots());
      slot->upload(memory_.data(), std::span<const std::byte>(packed));
      slot->wait();
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

}  // namespace

GpuBackend::GpuBackend(std::span<const int> devices) {
  for (const int device : devices) gpus_.push_back(std::make_unique<Gpu>(device));
}

std::unique_ptr<Residency> GpuBackend::hold(const LayerData& data, DType dtype) {
  for (const auto& gpu : gpus_)
    if (std::shared_ptr<const HeldLayer> layer = gpu->held().find(data))
      return std::make_unique<HeldOnDevice>(*gpu, std::move(layer));
  Gpu& fewest = **std::ranges::min_element(gpus_, {}, [](const auto& gpu) { return gpu->held().size(); });
  return std::make_unique<HeldOnDevice>(fewest, hold_on(fewest, data, dtype));
}

std::unique_ptr<Residency> GpuBackend::hold(ConstMatrixView factor, const LayerData& data) {
  if (factor.rows * factor.cols == 0 || factor.stride != factor.cols) return nullptr;
  return std::make_unique<HeldFactor>(gpu_of(data.keys.matrix(0)), factor);
}

void GpuBackend::replay(const ReplayInput& input, std::span<const LayerSelection> selections,
                        std::span<OutputSink* const> sinks, Tensor* outputs) {
  if (input.query_rows.size() == 0) return;
  for (const auto& gpu : gpus_)
    if (const std::shared_ptr<const HeldLayer> layer = gpu->held().find(*input.layer))
      return replay_on_device(input, selections, sinks, outputs, *gpu, *layer, results_);
  const auto layer = hold_on(*gpus_.front(), *input.layer, DType::float32);
  replay_on_device(input, selections, sinks, outputs, *gpus_.front(), *layer, results_);
}

void GpuBackend::weigh(const AttentionRule& rule, const QueryPanels& panels, ConstMatrixView keys, Range key_range,
                       PanelWeights& out) {
  Gpu& gpu = gpu_of(keys);
  const StreamSlots::Lease slot(gpu.slots());
  out.first_key = key_range.begin;
  out.n_keys = key_range.size();
  out.n_panels = panels.queries.size();
  out.n_queries = panels.positions.size();
  const std::size_t n_columns = out.n_panels * kPanelWidth, n = out.n_keys * n_columns;
  out.weights.reserve_discard(n);
  if (n == 0) return;

  Products products = resolve(gpu, *slot, {&keys, 1}, panels.queries, kPanelWidth);
  const DevicePointer<float> weights = slot->room<float>(Room::weights, n);
  multiply_keys_queries(*slot, products.keys, key_range.begin, key_range.size(), products.queries, n_columns,
                        rule.scale, weights);
  const SeenKeys seen = seen_keys(rule, panels.positions, kPanelWidth, key_range);
  Tables& tables = slot->new_tables();
  const LogitColumns columns = columns_of(*slot, tables, seen, weights, 1, out.n_keys, n_columns, rule);
  const DevicePointer<float> maxima = slot->room<float>(Room::maxima, (n_chunks(out.n_keys) + 1) * n_columns);
  KVREPLAY_CUDA(find_maxima(columns, (maxima + n_columns).get(), maxima.get(), slot->stream()));
  KVREPLAY_CUDA(write_weights(columns, maxima.get(), slot->stream()));
  slot->download(std::span(out.weights.data(), n), weights);
  slot->wait();
}

void GpuBackend::sum_cells(const PanelWeights& weights, Range panels, ConstMatrixView values,
                           std::span<const std::uint32_t> positions, std::span<const std::size_t> cell_ends,
                           PanelSums& out) {
  Gpu& gpu = gpu_of(values);
  const StreamSlots::Lease slot(gpu.slots());
  const std::size_t dim = values.cols, n_cells = cell_ends.size(), n_panels = panels.size();
  const std::size_t n_columns = n_panels * kPanelWidth, all_columns = weights.n_panels * kPanelWidth;
  out.n_cells = n_cells;
  out.value_dim = dim;
  out.values.reserve_discard(n_panels * n_cells * dim * kPanelWidth);
  out.weights.reserve_discard(n_panels * n_cells * kPanelWidth);
  if (n_cells * n_panels == 0) return;

  CellRuns cells;
  cells.add(dim, {0, static_cast<std::uint32_t>(panels.begin * kPanelWidth), static_cast<std::uint32_t>(n_columns)}, 0,
            cell_ends);
  Tables& tables = slot->new_tables();
  const std::size_t at_positions = tables.add(positions), at_runs = tables.add(std::span<const Run>(cells.runs)),
                    at_folds = tables.add(std::span<const Fold>(cells.folds));
  tables.send(*slot);
  const DeviceStack stack = stack_of(gpu, *slot, {&values, 1}, Room::values, DType::float32);
  const DevicePointer<float> device_weights = slot->room<float>(Room::weights, weights.n_keys * all_columns);
  slot->upload(device_weights, std::span<const float>(weights.weights.data(), weights.n_keys * all_columns));
  const DevicePointer<float> partials = slot->room<float>(Room::partials, cells.n_floats);
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
                          .n_runs = cells.runs.size(),
                          .most_columns = cells.most_columns,
                          .partials = partials.get()},
                         slot->stream()));
  KVREPLAY_CUDA(
      fold_runs(tables.at<Fold>(at_folds), cells.folds.size(), cells.largest_fold(), partials.get(), slot->stream()));
  const std::size_t size = (dim + 1) * n_columns;
  std::vector<float> sums(n_cells * size);
  for (std::size_t s = 0; s < n_cells; ++s)
    slot->download(std::span(sums).subspan(s * size, size), partials + cells.offsets[s]);
  slot->wait();
  for (std::size_t s = 0; s < n_cells; ++s)
    for (std::size_t p = 0; p < n_panels; ++p)
      for (std::size_t d = 0; d <= dim; ++d)
        std::copy_n(sums.data() + s * size + d * n_columns + p * kPanelWidth, kPanelWidth,
                    d < dim ? out.values.data() + ((p * n_cells + s) * dim + d) * kPanelWidth
                            : out.weights.data() + (p * n_cells + s) * kPanelWidth);
}

void GpuBackend::errors_at_budgets(const CellPlan& plan, const SumsView& cells, const SumsView& local,
                                   std::size_t value_dim, PanelErrors& out) {
  const StreamSlots::Lease slot(gpus_.front()->slots());
  const std::size_t n_cells = plan.n_cells(), n_budgets = plan.n_budgets(), size = value_dim * kPanelWidth;
  out.errors.reserve_discard(n_budgets * size);
  out.squared_errors.reserve_discard(n_budgets * kPanelWidth);
  out.recall.reserve_discard(n_budgets * kPanelWidth);
  if (n_budgets == 0) return;

  // [n_cells + 1][value_dim + 1, kPanelWidth], the local tokens last
  std::vector<float> sums;
  std::vector<std::uint64_t> offsets;
  const auto append = [&](const SumsView& from, std::size_t s) {
    offsets.push_back(sums.size());
    sums.insert(sums.end(), from.values + s * size, from.values + (s + 1) * size);
    sums.insert(sums.end(), from.weights + s * kPanelWidth, from.weights + (s + 1) * kPanelWidth);
  };
  for (std::size_t c = 0; c < n_cells; ++c) append(cells, c);
  append(local, 0);
  std::vector<std::uint16_t> retained;
  for (std::size_t c = 0; c < n_cells; ++c)
    for (std::size_t b = 0; b < n_budgets; b += kBudgetsAtOnce) {
      unsigned bits = 0;
      for (std::size_t i = b; i < std::min<std::size_t>(b + kBudgetsAtOnce, n_budgets); ++i)
        bits |= plan.holds(c, i) ? 1u << (i - b) : 0u;
      retained.push_back(static_cast<std::uint16_t>(bits));
    }
  const PlanWalk walk{.cells = 0,
                      .retained = 0,
                      .local = offsets.back(),
                      .out = 0,
                      .n_cells = static_cast<std::uint32_t>(n_cells),
                      .n_panels = 1,
                      .first_budget = 0,
                      .n_budgets = static_cast<std::uint32_t>(n_budgets)};
  Tables& tables = slot->new_tables();
  const std::size_t at_walk = tables.add(std::span(&walk, 1)), at_sums = tables.add(std::span<const float>(sums)),
                    at_offsets = tables.add(std::span<const std::uint64_t>(offsets)),
                    at_retained = tables.add(std::span<const std::uint16_t>(retained));
  tables.send(*slot);
  const DevicePointer<float> squares = slot->room<float>(Room::squares, n_budgets * kPanelWidth);
  const DevicePointer<float> recall = slot->room<float>(Room::recall, n_budgets * kPanelWidth);
  const DevicePointer<float> errors = slot->room<float>(Room::errors, n_budgets * size);
  KVREPLAY_CUDA(cuda::errors_at_budgets({.walks = tables.at<PlanWalk>(at_walk),
                                         .n_walks = 1,
                                         .cells = tables.at<float>(at_sums),
                                         .offsets = tables.at<std::uint64_t>(at_offsets),
                                         .retained = tables.at<std::uint16_t>(at_retained),
                                         .local = tables.at<float>(at_sums),
                                         .local_columns = kPanelWidth,
                                         .value_dim = value_dim,
                                         .n_budgets = n_budgets,
                                         .most_panels = 1,
                                         .squares = squares.get(),
                                         .recall = recall.get(),
                                         .errors = errors.get()},
                                        slot->stream()));
  slot->download(std::span(out.squared_errors.data(), n_budgets * kPanelWidth), squares);
  slot->download(std::span(out.recall.data(), n_budgets * kPanelWidth), recall);
  slot->download(std::span(out.errors.data(), n_budgets * size), errors);
  slot->wait();
}

std::shared_ptr<const HeldLayer> GpuBackend::hold_on(Gpu& gpu, const LayerData& data, DType dtype) {
  // Packed before a slot is asked for: parallel_for() is inside.
  PackedLayer packed = packed_.take();
  pack_layer(data, dtype, packed);
  std::unique_ptr<HeldLayer> layer = send_layer(gpu, data, packed);
  packed_.give(std::move(packed));
  return gpu.held().add(std::move(layer));
}

Gpu& GpuBackend::gpu_of(ConstMatrixView view) {
  for (const auto& gpu : gpus_)
    if (gpu->held().find(view)) return *gpu;
  return *gpus_.front();
}

LogitColumns GpuBackend::columns_of(StreamSlot& slot, Tables& tables, const SeenKeys& seen, DevicePointer<float> logits,
                                    std::size_t n_batch, std::size_t n_keys, std::size_t n_columns,
                                    const AttentionRule& rule) {
  const std::size_t first = tables.add(std::span<const std::int32_t>(seen.first)),
                    last = tables.add(std::span<const std::int32_t>(seen.last));
  tables.send(slot);
  return {.logits = logits.get(),
          .n_batch = n_batch,
          .n_keys = n_keys,
          .n_columns = n_columns,
          .first = tables.at<std::int32_t>(first),
          .last = tables.at<std::int32_t>(last),
          .n_lanes = seen.first.size(),
          .softcap = static_cast<float>(rule.softcap)};
}

GpuBackend::Products GpuBackend::resolve(Gpu& gpu, StreamSlot& slot, std::span<const ConstMatrixView> keys,
                                         std::span<const ConstMatrixView> queries, std::size_t n_lanes) {
  Products products;
  products.keys = stack_of(gpu, slot, keys, Room::keys, DType::float32);
  DeviceStack stack = stack_of(gpu, slot, queries, Room::left, products.keys.dtype);
  if (stack.dtype != products.keys.dtype) {
    const auto size = [](const DeviceStack& s) { return s.count * s.rows * s.stride(); };
    const DevicePointer<float> wide = slot.room<float>(Room::wide, size(products.keys) + size(stack));
    products.keys = widened(slot, products.keys, wide);
    stack = widened(slot, stack, wide + size(products.keys));
  }
  const std::size_t row_bytes = stack.stride() * size_of(stack.dtype);
  const DevicePointer<std::byte> packed = slot.room<std::byte>(Room::queries, stack.count * n_lanes * row_bytes);
  KVREPLAY_CUDA(pack_rows({.from = reinterpret_cast<const uint4*>(stack.data.get()),
                           .out = reinterpret_cast<uint4*>(packed.get()),
                           .n_matrices = stack.count,
                           .n_rows = stack.spacing,
                           .row_words = row_bytes / sizeof(uint4),
                           .first = 0,
                           .n = stack.rows,
                           .n_lanes = n_lanes},
                          slot.stream()));
  products.queries = packed;
  return products;
}

}  // namespace kvreplay::cuda
