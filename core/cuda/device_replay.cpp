#include "core/cuda/device_replay.h"

#include <algorithm>
#include <numeric>

#include "core/base/parallel.h"
#include "core/cuda/cell_runs.h"
#include "core/cuda/cell_sums.h"
#include "core/cuda/errors_at_budgets.h"
#include "core/cuda/pack.h"
#include "core/cuda/weights.h"
#include "core/engine/rescue.h"

namespace kvreplay::cuda {
namespace {

// Panels whose weights are made together, at most: what comes back of them has to fit the host.
constexpr std::size_t kMostPanels = 16;
// What no policy changes: tokens before the candidates, the candidates, and those after them.
constexpr std::size_t kBaseCells = 3, kLocalCell = 2;

class DeviceReplay {
 public:
  DeviceReplay(const ReplayInput& input, std::span<const LayerSelection> selections, std::span<OutputSink* const> sinks,
               Gpu& gpu, const HeldLayer& layer)
      : input_(input),
        data_(*input.layer),
        model_(data_.model),
        rule_(attention_rule(model_, data_.layer)),
        selections_(selections),
        sinks_(sinks),
        gpu_(gpu),
        layer_(layer),
        dim_(model_.value_dim),
        n_budgets_(selections.empty() ? 0 : selections[0].heads[0].n_budgets()),
        wants_errors_(std::ranges::any_of(sinks, &OutputSink::reads_errors)) {}

  void run(Tensor* outputs, ReplayResults& results) {
    // Error vectors are taken panel by panel, as many policies at a time as sinks have room for; norms and
    // recalls of all policies come together.
    const std::size_t n_panels = wants_errors_ ? 1 : panels_at_once();
    const std::size_t n_policies = wants_errors_ ? input_.n_policies_at_once : selections_.size();
    const Range all = input_.query_rows;
    for (std::size_t row = all.begin; row < all.end; row += n_panels * kPanelWidth) {
      const Range rows{row, std::min(row + n_panels * kPanelWidth, all.end)};
      Range policies{0, 0};
      do {
        policies = {policies.end, policies.end + std::min(n_policies, selections_.size() - policies.end)};
        compute(rows, policies, results);
        set_lossless(rows, policies, results);
        hand_over(rows, policies, results, outputs);
      } while (policies.end < selections_.size());
    }
  }

 private:
  static std::size_t n_panels_of(Range rows) { return (rows.size() + kPanelWidth - 1) / kPanelWidth; }
  bool evicts(std::size_t policy) const { return input_.candidates.size() > 0 && selections_[policy].evicts; }

  std::size_t panels_at_once() const {
    const std::size_t n = n_panels_of(input_.query_rows);
    const std::size_t bytes = data_.n_tokens() * model_.n_q_heads * kPanelWidth * sizeof(float);
    return std::clamp<std::size_t>(gpu_.slot_memory() / 2 / std::max<std::size_t>(1, bytes), 1,
                                   std::clamp<std::size_t>(n, 1, kMostPanels));
  }

  // ---- on the device

  void compute(Range rows, Range policies, ReplayResults& results) {
    const StreamSlots::Lease slot(gpu_.slots());
    const std::size_t n_panels = n_panels_of(rows);
    const BaseSums base = sum_base(*slot, rows);
    const std::size_t n_columns = base.cells.n_columns;
    const std::size_t n_outputs = model_.n_q_heads * n_panels * dim_ * kPanelWidth;
    const DevicePointer<float> reference = slot->room<float>(Room::reference, n_outputs);
    KVREPLAY_CUDA(
        divide_sums(base.sums.get(), model_.n_kv_heads, kBaseCells, dim_, n_columns, reference.get(), slot->stream()));
    results.reference.reserve_discard(n_outputs);
    slot->download(results.reference, n_outputs, reference);

    const std::size_t n_norms = policies.size() * model_.n_q_heads * n_panels * n_budgets_ * kPanelWidth;
    const DevicePointer<float> squares = slot->room<float>(Room::squares, n_norms);
    const DevicePointer<float> recall = slot->room<float>(Room::recall, n_norms);
    const std::size_t n_errors = wants_errors_ ? n_norms * dim_ : 0;
    const DevicePointer<float> errors = slot->room<float>(Room::errors, n_errors);
    ErrorsAtBudgets measured{.local = base.sums.get(),
                             .local_columns = n_columns,
                             .value_dim = dim_,
                             .n_budgets = n_budgets_,
                             .squares = squares.get(),
                             .recall = recall.get(),
                             .errors = wants_errors_ ? errors.get() : nullptr};
    for (std::size_t p = policies.begin; p < policies.end;)
      p = measure_some(*slot, policies, p, n_panels, base.cells, measured);
    results.squares.reserve_discard(n_norms);
    results.recall.reserve_discard(n_norms);
    results.errors.reserve_discard(n_errors);
    slot->download(results.squares, n_norms, squares);
    slot->download(results.recall, n_norms, recall);
    slot->download(results.errors, n_errors, errors);
    slot->wait();
  }

  // Sums over what no policy changes, and what sums over a plan's cells begin with: weights and values.
  struct BaseSums {
    CellSums cells;
    DevicePointer<float> sums;  // [n_kv_heads, kBaseCells, value_dim + 1, n_columns]
  };

  BaseSums sum_base(StreamSlot& slot, Range rows) {
    const std::size_t n_lanes = n_panels_of(rows) * kPanelWidth, n_columns = model_.group_size() * n_lanes;
    const std::span<const std::size_t> positions = std::span(data_.query_positions).subspan(rows.begin, rows.size());
    // Everything that the queries see (in a sliding layer less than [0, t]), and all that a plan walks over.
    const Range keys{std::min(rule_.first_visible(positions.front()), input_.candidates.begin), positions.back() + 1};

    std::vector<std::uint32_t> all_keys(keys.size());
    std::iota(all_keys.begin(), all_keys.end(), static_cast<std::uint32_t>(keys.begin));
    const std::size_t base_ends[kBaseCells] = {input_.candidates.begin - keys.begin, input_.candidates.end - keys.begin,
                                               keys.size()};
    CellRuns runs;
    for (std::uint32_t h = 0; h < model_.n_kv_heads; ++h)
      runs.add(dim_, {h, 0, static_cast<std::uint32_t>(n_columns)}, 0, base_ends);
    const SeenKeys seen = seen_keys(rule_, positions, n_lanes, keys);

    Tables& tables = slot.new_tables();
    const std::size_t first = tables.add(std::span<const std::int32_t>(seen.first)),
                      last = tables.add(std::span<const std::int32_t>(seen.last)),
                      at_positions = tables.add(std::span<const std::uint32_t>(all_keys)),
                      at_runs = tables.add(std::span<const Run>(runs.runs)),
                      at_folds = tables.add(std::span<const Fold>(runs.folds));
    tables.send(slot);

    const DevicePointer<float> weights = slot.room<float>(Room::weights, model_.n_kv_heads * keys.size() * n_columns);
    make_weights(slot, rows, keys, n_columns,
                 {.logits = weights.get(),
                  .n_batch = model_.n_kv_heads,
                  .n_keys = keys.size(),
                  .n_columns = n_columns,
                  .first = tables.at<std::int32_t>(first),
                  .last = tables.at<std::int32_t>(last),
                  .n_lanes = n_lanes,
                  .softcap = static_cast<float>(rule_.softcap)});

    const CellSums cells{.weights = weights.get(),
                         .n_keys = keys.size(),
                         .n_columns = n_columns,
                         .first_key = keys.begin,
                         .values = layer_.values.device.get(),
                         .dtype = layer_.values.dtype,
                         .n_tokens = data_.n_tokens(),
                         .value_dim = dim_,
                         .value_stride = layer_.values.stride(),
                         .positions = tables.at<std::uint32_t>(at_positions),
                         .runs = tables.at<Run>(at_runs),
                         .n_runs = runs.runs.size(),
                         .most_columns = runs.most_columns,
                         .partials = slot.room<float>(Room::partials, runs.n_floats).get()};
    KVREPLAY_CUDA(sum_runs(cells, slot.stream()));
    KVREPLAY_CUDA(
        fold_runs(tables.at<Fold>(at_folds), runs.folds.size(), runs.largest_fold(), cells.partials, slot.stream()));
    return {.cells = cells, .sums = gather_base(slot, runs, cells.partials, n_columns)};
  }

  void make_weights(StreamSlot& slot, Range rows, Range keys, std::size_t n_columns, const LogitColumns& columns) {
    const HeldTensor& queries = layer_.queries;
    const std::size_t row_bytes = queries.stride() * size_of(queries.dtype);
    const DevicePointer<std::byte> packed =
        slot.room<std::byte>(Room::queries, model_.n_q_heads * columns.n_lanes * row_bytes);
    KVREPLAY_CUDA(pack_rows({.from = reinterpret_cast<const uint4*>(queries.device.get()),
                             .out = reinterpret_cast<uint4*>(packed.get()),
                             .n_matrices = model_.n_q_heads,
                             .n_rows = queries.rows,
                             .row_words = row_bytes / sizeof(uint4),
                             .first = rows.begin,
                             .n = rows.size(),
                             .n_lanes = columns.n_lanes},
                            slot.stream()));
    const DeviceStack stack{.data = layer_.keys.device,
                            .dtype = layer_.keys.dtype,
                            .count = model_.n_kv_heads,
                            .rows = layer_.keys.rows,
                            .cols = layer_.keys.cols,
                            .spacing = layer_.keys.rows};
    multiply_keys_queries(slot, stack, keys.begin, keys.size(), packed, n_columns, rule_.scale,
                          DevicePointer<float>(columns.logits));
    const std::size_t per_chunk = columns.n_batch * n_columns;
    const DevicePointer<float> maxima = slot.room<float>(Room::maxima, (n_chunks(keys.size()) + 1) * per_chunk);
    KVREPLAY_CUDA(find_maxima(columns, (maxima + per_chunk).get(), maxima.get(), slot.stream()));
    KVREPLAY_CUDA(write_weights(columns, maxima.get(), slot.stream()));
  }

  // The folded sums of the base cells, one after the other.
  DevicePointer<float> gather_base(StreamSlot& slot, const CellRuns& base, const float* partials,
                                   std::size_t n_columns) {
    const std::size_t size = (dim_ + 1) * n_columns;
    const DevicePointer<float> sums = slot.room<float>(Room::base, base.offsets.size() * size);
    for (std::size_t s = 0; s < base.offsets.size(); ++s)
      KVREPLAY_CUDA(cudaMemcpyAsync((sums + s * size).get(), partials + base.offsets[s], size * sizeof(float),
                                    cudaMemcpyDeviceToDevice, slot.stream()));
    return sums;
  }

  // Walks of as many policies from `p` on as have room for their sums.
  // \return the first policy that is left
  std::size_t measure_some(StreamSlot& slot, Range policies, std::size_t p, std::size_t n_panels, CellSums sums,
                           ErrorsAtBudgets measured) {
    CellRuns cells;
    std::vector<std::uint32_t> positions;
    std::vector<PlanWalk> walks;
    std::vector<std::uint16_t> retained;
    const auto n_lanes = static_cast<std::uint32_t>(n_panels * kPanelWidth);
    const auto group_size = static_cast<std::uint32_t>(model_.group_size());
    const std::size_t room = gpu_.slot_memory() / 4 / sizeof(float);
    do {
      for (std::size_t h = 0; h < selections_[p].heads.size() && evicts(p); ++h) {
        const bool shared = selections_[p].axis == HeadAxis::kv;
        const std::size_t kv_head = shared ? h : h / group_size, q_head = shared ? h * group_size : h;
        const Columns columns{static_cast<std::uint32_t>(kv_head),
                              shared ? 0 : static_cast<std::uint32_t>(h % group_size) * n_lanes,
                              shared ? group_size * n_lanes : n_lanes};
        const PlanWalk walk{.cells = 0,
                            .retained = 0,
                            .local = (kv_head * kBaseCells + kLocalCell) * (dim_ + 1) * sums.n_columns + columns.first,
                            .out = ((p - policies.begin) * model_.n_q_heads + q_head) * n_panels,
                            .n_cells = 0,
                            .n_panels = columns.n / static_cast<std::uint32_t>(kPanelWidth),
                            .first_budget = 0,
                            .n_budgets = static_cast<std::uint32_t>(n_budgets_)};
        add_plan(selections_[p].heads[h], columns, walk, cells, positions, walks, retained);
      }
      ++p;
    } while (p < policies.end && cells.n_floats < room);
    if (walks.empty()) return p;

    Tables& tables = slot.new_tables();
    const std::size_t at_positions = tables.add(std::span<const std::uint32_t>(positions)),
                      at_runs = tables.add(std::span<const Run>(cells.runs)),
                      at_folds = tables.add(std::span<const Fold>(cells.folds)),
                      at_offsets = tables.add(std::span<const std::uint64_t>(cells.offsets)),
                      at_walks = tables.add(std::span<const PlanWalk>(walks)),
                      at_retained = tables.add(std::span<const std::uint16_t>(retained));
    tables.send(slot);
    sums.positions = tables.at<std::uint32_t>(at_positions);
    sums.runs = tables.at<Run>(at_runs);
    sums.n_runs = cells.runs.size();
    sums.most_columns = cells.most_columns;
    sums.partials = slot.room<float>(Room::partials, cells.n_floats).get();
    KVREPLAY_CUDA(sum_runs(sums, slot.stream()));
    KVREPLAY_CUDA(
        fold_runs(tables.at<Fold>(at_folds), cells.folds.size(), cells.largest_fold(), sums.partials, slot.stream()));
    measured.walks = tables.at<PlanWalk>(at_walks);
    measured.n_walks = walks.size();
    measured.cells = sums.partials;
    measured.offsets = tables.at<std::uint64_t>(at_offsets);
    measured.retained = tables.at<std::uint16_t>(at_retained);
    for (const PlanWalk& walk : walks)
      measured.most_panels = std::max<std::size_t>(measured.most_panels, walk.n_panels);
    KVREPLAY_CUDA(errors_at_budgets(measured, slot.stream()));
    return p;
  }

  // A plan as it is, or, where cells are many because its sets are not nested, budget by budget: sums over cells take
  // more room than the tokens themselves then.
  void add_plan(const CellPlan& plan, Columns columns, PlanWalk walk, CellRuns& cells,
                std::vector<std::uint32_t>& positions, std::vector<PlanWalk>& walks,
                std::vector<std::uint16_t>& retained) const {
    constexpr std::size_t kCellsPerBudget = 4;
    const auto add_walk = [&](std::span<const std::size_t> ends, std::size_t begin, const auto& holds) {
      walk.cells = cells.offsets.size();
      walk.retained = retained.size();
      walk.n_cells = static_cast<std::uint32_t>(ends.size());
      cells.add(dim_, columns, begin, ends);
      for (std::size_t c = 0; c < ends.size(); ++c)
        for (std::size_t b = 0; b < walk.n_budgets; b += kBudgetsAtOnce) {
          unsigned bits = 0;
          for (std::size_t i = b; i < std::min<std::size_t>(b + kBudgetsAtOnce, walk.n_budgets); ++i)
            bits |= holds(c, i) ? 1u << (i - b) : 0u;
          retained.push_back(static_cast<std::uint16_t>(bits));
        }
      walks.push_back(walk);
    };
    const auto position = [&](std::uint32_t candidate) {
      return candidate + static_cast<std::uint32_t>(input_.candidates.begin);
    };
    if (plan.nested || plan.n_cells() <= kCellsPerBudget * plan.n_budgets()) {
      const std::size_t begin = positions.size();
      for (const std::uint32_t candidate : plan.order) positions.push_back(position(candidate));
      add_walk(plan.cell_ends, begin, [&](std::size_t c, std::size_t b) { return plan.holds(c, b); });
      return;
    }
    walk.n_budgets = 1;
    for (std::size_t b = 0; b < plan.n_budgets(); ++b) {
      const std::size_t begin = positions.size();
      std::size_t ends[2];
      for (const bool kept : {true, false}) {
        for (std::size_t c = 0; c < plan.n_cells(); ++c)
          if (plan.holds(c, b) == kept)
            for (const std::uint32_t candidate : plan.cell(c)) positions.push_back(position(candidate));
        ends[kept ? 0 : 1] = positions.size() - begin;
      }
      walk.first_budget = static_cast<std::uint32_t>(b);
      add_walk(ends, begin, [](std::size_t c, std::size_t) { return c == 0; });
    }
  }

  // ---- on the host

  // Where nothing was walked nothing is lost.
  void set_lossless(Range rows, Range policies, ReplayResults& results) const {
    const std::size_t size = model_.n_q_heads * n_panels_of(rows) * n_budgets_ * kPanelWidth;
    for (std::size_t p = policies.begin; p < policies.end; ++p) {
      if (evicts(p)) continue;
      const std::size_t at = (p - policies.begin) * size;
      std::fill_n(results.squares.data() + at, size, 0.0f);
      std::fill_n(results.recall.data() + at, size, 1.0f);
      if (wants_errors_) std::fill_n(results.errors.data() + at * dim_, size * dim_, 0.0f);
    }
  }

  // In the order that OutputSink promises.
  void hand_over(Range rows, Range policies, ReplayResults& results, Tensor* outputs) {
    const std::size_t n_panels = n_panels_of(rows);
    for (std::size_t panel = 0; panel < n_panels; ++panel) {
      const std::size_t row = rows.begin + panel * kPanelWidth;
      const Range queries{row, std::min(row + kPanelWidth, rows.end)};
      Range some{policies.begin, policies.begin};
      do {
        some = {some.end, some.end + std::min(input_.n_policies_at_once, policies.end - some.end)};
        parallel_for(model_.n_q_heads, [&](std::size_t h) {
          const float* full = results.reference.data() + (h * n_panels + panel) * dim_ * kPanelWidth;
          if (some.begin == 0) add_reference(h, queries, full, outputs);
          parallel_for(some.size(), [&](std::size_t i) {
            const std::size_t p = some.begin + i;
            const std::size_t at =
                (((p - policies.begin) * model_.n_q_heads + h) * n_panels + panel) * n_budgets_ * kPanelWidth;
            float* errors = wants_errors_ ? results.errors.data() + at * dim_ : nullptr;
            const PanelOutputs panel_outputs{.policy = p,
                                             .q_head = h,
                                             .n_queries = queries.size(),
                                             .reference = full,
                                             .errors = errors,
                                             .squared_errors = results.squares.data() + at,
                                             .recall = results.recall.data() + at};
            if (evicts(p)) rescue(panel_outputs, queries, errors, results.squares.data() + at);
            for (OutputSink* sink : sinks_) sink->add_outputs(panel_outputs);
          });
        });
        for (OutputSink* sink : sinks_) sink->end_panel(some);
      } while (some.end < policies.end);
    }
  }

  void add_reference(std::size_t q_head, Range rows, const float* full, Tensor* outputs) const {
    if (outputs != nullptr)
      for (std::size_t l = 0; l < rows.size(); ++l)
        for (std::size_t d = 0; d < dim_; ++d)
          outputs->matrix(q_head)(rows.begin - input_.query_rows.begin + l, d) = full[d * kPanelWidth + l];
    const PanelReference reference{.q_head = q_head, .n_queries = rows.size(), .outputs = full};
    for (OutputSink* sink : sinks_) sink->add_reference(reference);
  }

  void rescue(const PanelOutputs& panel, Range rows, float* errors, float* squares) const {
    const LayerSelection& selection = selections_[panel.policy];
    const std::size_t kv_head = panel.q_head / model_.group_size();
    const CellPlan& plan = selection.heads[selection.axis == HeadAxis::kv ? kv_head : panel.q_head];
    rescue_panel({.rule = rule_,
                  .queries = data_.queries.matrix(panel.q_head).rows_between(rows.begin, rows.end),
                  .positions = std::span(data_.query_positions).subspan(rows.begin, rows.size()),
                  .keys = data_.keys.matrix(kv_head),
                  .values = data_.values.matrix(kv_head),
                  .candidates = input_.candidates},
                 plan, panel.reference, panel.recall, errors, squares);
  }

  const ReplayInput& input_;
  const LayerData& data_;
  const ModelInfo& model_;
  AttentionRule rule_;
  std::span<const LayerSelection> selections_;
  std::span<OutputSink* const> sinks_;
  Gpu& gpu_;
  const HeldLayer& layer_;
  std::size_t dim_, n_budgets_;
  bool wants_errors_;
};

}  // namespace

void replay_on_device(const ReplayInput& input, std::span<const LayerSelection> selections,
                      std::span<OutputSink* const> sinks, Tensor* outputs, Gpu& gpu, const HeldLayer& layer,
                      ScratchPool<ReplayResults>& results) {
  ReplayResults mine = results.take();
  DeviceReplay(input, selections, sinks, gpu, layer).run(outputs, mine);
  results.give(std::move(mine));
}

}  // namespace kvreplay::cuda
