#include "core/engine/selection_replay.h"

#include <algorithm>
#include <numeric>

#include "core/base/parallel.h"
#include "core/base/scratch_pool.h"
#include "core/engine/rescue.h"

namespace kvreplay {
namespace {

// Panels of the query heads that read one KV head: their weights, and the sums that no policy changes.
struct GroupState {
  QueryPanels panels;
  PanelWeights weights;
  PanelSums all;            ///< over everything visible
  PanelSums local;          ///< over the tokens from the compression point on
  Buffer<float> reference;  ///< [n_panels, value_dim, kPanelWidth] full-cache outputs
};

// What one policy needs to be replayed on a group.
struct PolicyState {
  PanelSums cells;
  PanelErrors errors;
};

// As many of each as there are threads, kept from unit to unit.
ScratchPool<GroupState>& used_groups() {
  static ScratchPool<GroupState> used;
  return used;
}
ScratchPool<PolicyState>& used_policies() {
  static ScratchPool<PolicyState> used;
  return used;
}

class SelectionReplay {
 public:
  SelectionReplay(const ReplayInput& input, std::span<const LayerSelection> selections,
                  std::span<OutputSink* const> sinks, Backend& backend)
      : data_(*input.layer),
        backend_(backend),
        rule_(attention_rule(data_.model, data_.layer)),
        candidates_(input.candidates),
        query_rows_(input.query_rows),
        n_policies_at_once_(input.n_policies_at_once),
        sinks_(sinks) {
    visible_.resize(data_.n_tokens());
    std::iota(visible_.begin(), visible_.end(), 0u);
    make_walks(selections);
  }

  void run(Tensor* outputs) {
    // Panels one after another: their sums are added in order. What runs side by side are heads and policies.
    for (std::size_t row = query_rows_.begin; row < query_rows_.end; row += kPanelWidth) {
      const Range rows{row, std::min(row + kPanelWidth, query_rows_.end)};
      Range policies{0, 0};
      do {
        policies = {policies.end, std::min(policies.end + n_policies_at_once_, walks_.size())};
        parallel_for(data_.model.n_kv_heads, [&](std::size_t kv_head) {
          used_groups().with([&](GroupState& group) { replay_group(kv_head, rows, policies, group, outputs); });
        });
        for (OutputSink* sink : sinks_) sink->end_panel(policies);
      } while (policies.end < walks_.size());
    }
  }

 private:
  // A plan with positions instead of candidate indices, ready to be walked.
  struct Walk {
    const CellPlan* plan;
    std::vector<std::uint32_t> positions;
  };
  struct PolicyWalks {
    HeadAxis axis;
    bool evicts;
    std::vector<Walk> heads;
  };

  void make_walks(std::span<const LayerSelection> selections) {
    for (const LayerSelection& selection : selections) {
      // A budget of everything is walked like any other: that its error is 0 is a result, not an assumption.
      const bool evicts = candidates_.size() > 0 && selection.evicts;
      PolicyWalks& walks = walks_.emplace_back(PolicyWalks{selection.axis, evicts, {}});
      for (const CellPlan& plan : selection.heads) {
        Walk walk{.plan = &plan, .positions = plan.order};
        for (std::uint32_t& position : walk.positions) position += static_cast<std::uint32_t>(candidates_.begin);
        walks.heads.push_back(std::move(walk));
      }
    }
  }

  void replay_group(std::size_t kv_head, Range rows, Range policies, GroupState& group, Tensor* outputs) {
    load_group(kv_head, rows, group);
    const std::size_t first_head = kv_head * data_.model.group_size();
    if (policies.begin == 0)
      for (std::size_t i = 0; i < data_.model.group_size(); ++i) {
        const float* full = reference_of(group, i);
        if (outputs != nullptr) keep_outputs(first_head + i, rows, full, *outputs);
        const PanelReference reference{.q_head = first_head + i, .n_queries = rows.size(), .outputs = full};
        for (OutputSink* sink : sinks_) sink->add_reference(reference);
      }
    parallel_for(policies.size(), [&](std::size_t i) {
      used_policies().with([&](PolicyState& state) { replay_policy(policies.begin + i, kv_head, group, state); });
    });
  }

  void load_group(std::size_t kv_head, Range rows, GroupState& group) {
    const std::size_t n_panels = data_.model.group_size(), dim = data_.model.value_dim;
    group.panels.queries.clear();
    for (std::size_t i = 0; i < n_panels; ++i)
      group.panels.queries.push_back(data_.queries.matrix(kv_head * n_panels + i).rows_between(rows.begin, rows.end));
    group.panels.positions = std::span(data_.query_positions).subspan(rows.begin, rows.size());
    // Everything that the panels see (in a sliding layer less than [0, t]), and all that a plan walks over.
    const Range keys{std::min(rule_.first_visible(group.panels.positions.front()), candidates_.begin),
                     group.panels.positions.back() + 1};
    const ConstMatrixView values = data_.values.matrix(kv_head);
    backend_.weigh(rule_, group.panels, data_.keys.matrix(kv_head), keys, group.weights);
    const auto positions = std::span<const std::uint32_t>(visible_);
    const std::size_t n_all[] = {keys.size()}, n_local[] = {keys.end - candidates_.end};
    backend_.sum_cells(group.weights, {0, n_panels}, values, positions.subspan(keys.begin, keys.size()), n_all,
                       group.all);
    backend_.sum_cells(group.weights, {0, n_panels}, values, positions.subspan(candidates_.end, n_local[0]), n_local,
                       group.local);
    group.reference.reserve_discard(n_panels * dim * kPanelWidth);
    for (std::size_t i = 0; i < n_panels; ++i) {
      const SumsView all = group.all.panel(i);
      float* reference = group.reference.data() + i * dim * kPanelWidth;
      for (std::size_t d = 0; d < dim; ++d)
        for (std::size_t l = 0; l < kPanelWidth; ++l)
          reference[d * kPanelWidth + l] = all.values[d * kPanelWidth + l] / all.weights[l];
    }
  }

  const float* reference_of(const GroupState& group, std::size_t panel) const {
    return group.reference.data() + panel * data_.model.value_dim * kPanelWidth;
  }

  void keep_outputs(std::size_t q_head, Range rows, const float* reference, Tensor& outputs) const {
    for (std::size_t l = 0; l < rows.size(); ++l)
      for (std::size_t d = 0; d < outputs.cols(); ++d)
        outputs.matrix(q_head)(rows.begin - query_rows_.begin + l, d) = reference[d * kPanelWidth + l];
  }

  void replay_policy(std::size_t p, std::size_t kv_head, const GroupState& group, PolicyState& state) {
    const PolicyWalks& walks = walks_[p];
    const std::size_t n_panels = data_.model.group_size(), dim = data_.model.value_dim;
    const ConstMatrixView values = data_.values.matrix(kv_head);
    const bool shared = walks.axis == HeadAxis::kv;
    if (walks.evicts && shared) {
      const Walk& walk = walks.heads[kv_head];
      backend_.sum_cells(group.weights, {0, n_panels}, values, walk.positions, walk.plan->cell_ends, state.cells);
    }
    for (std::size_t i = 0; i < n_panels; ++i) {
      const std::size_t q_head = kv_head * n_panels + i;
      const Walk& walk = walks.heads[shared ? kv_head : q_head];
      if (walks.evicts) {
        if (!shared)
          backend_.sum_cells(group.weights, {i, i + 1}, values, walk.positions, walk.plan->cell_ends, state.cells);
        backend_.errors_at_budgets(*walk.plan, state.cells.panel(shared ? i : 0), group.local.panel(i), dim,
                                   state.errors);
        rescue(walk, kv_head, group, i, state);
      } else {
        set_lossless(walk.plan->n_budgets(), dim, state.errors);
      }
      const PanelOutputs outputs{.policy = p,
                                 .q_head = q_head,
                                 .n_queries = group.panels.positions.size(),
                                 .reference = reference_of(group, i),
                                 .errors = state.errors.errors.data(),
                                 .squared_errors = state.errors.squared_errors.data(),
                                 .recall = state.errors.recall.data()};
      for (OutputSink* sink : sinks_) sink->add_outputs(outputs);
    }
  }

  static void set_lossless(std::size_t n_budgets, std::size_t dim, PanelErrors& errors) {
    errors.errors.reserve_discard(n_budgets * dim * kPanelWidth);
    errors.squared_errors.reserve_discard(n_budgets * kPanelWidth);
    errors.recall.reserve_discard(n_budgets * kPanelWidth);
    std::fill_n(errors.errors.data(), n_budgets * dim * kPanelWidth, 0.0f);
    std::fill_n(errors.squared_errors.data(), n_budgets * kPanelWidth, 0.0f);
    std::fill_n(errors.recall.data(), n_budgets * kPanelWidth, 1.0f);
  }

  // Queries that lost nearly all of their softmax mass are done again, alone, with a maximum of their own.
  void rescue(const Walk& walk, std::size_t kv_head, const GroupState& group, std::size_t panel,
              PolicyState& state) const {
    rescue_panel({.rule = rule_,
                  .queries = group.panels.queries[panel],
                  .positions = group.panels.positions,
                  .keys = data_.keys.matrix(kv_head),
                  .values = data_.values.matrix(kv_head),
                  .candidates = candidates_},
                 *walk.plan, reference_of(group, panel), state.errors.recall.data(), state.errors.errors.data(),
                 state.errors.squared_errors.data());
  }

  const LayerData& data_;
  Backend& backend_;
  AttentionRule rule_;
  Range candidates_;
  Range query_rows_;
  std::size_t n_policies_at_once_;
  std::vector<std::uint32_t> visible_;  // 0, 1, 2, ...
  std::span<OutputSink* const> sinks_;
  std::vector<PolicyWalks> walks_;  // [n_policies]
};

}  // namespace

void replay_panels(const ReplayInput& input, std::span<const LayerSelection> selections,
                   std::span<OutputSink* const> sinks, Backend& backend, Tensor* outputs) {
  SelectionReplay(input, selections, sinks, backend).run(outputs);
}

}  // namespace kvreplay
