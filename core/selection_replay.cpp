#include "core/selection_replay.h"

#include <algorithm>
#include <numeric>

#include "core/rescue.h"

namespace kvreplay {
namespace {

// One panel of one query head: its weights, and the sums that no policy changes.
struct PanelState {
  std::size_t q_head = 0;
  QueryPanel panel;
  PanelWeights weights;
  PanelSums all;            ///< over everything visible
  PanelSums local;          ///< over the tokens from the compression point on
  Buffer<float> reference;  ///< [value_dim, kPanelWidth] full-cache outputs
};

class SelectionReplay {
 public:
  SelectionReplay(const ReplayInput& input, std::span<const LayerSelection> selections,
                  std::span<MetricAccumulator* const> accumulators, Backend& backend)
      : data_(*input.layer),
        backend_(backend),
        rule_(attention_rule(data_.model, data_.layer)),
        candidates_(input.candidates),
        query_rows_(input.query_rows),
        accumulators_(accumulators) {
    visible_.resize(data_.n_tokens());
    std::iota(visible_.begin(), visible_.end(), 0u);
    make_walks(selections);
  }

  void run(Tensor* outputs) {
    for (std::size_t row = query_rows_.begin; row < query_rows_.end; row += kPanelWidth)
      replay_panel({row, std::min(row + kPanelWidth, query_rows_.end)}, outputs);
  }

 private:
  // A plan with positions instead of candidate indices, ready to be walked.
  struct Walk {
    const CellPlan* plan;
    std::vector<std::uint32_t> positions;
    bool evicts = false;
  };
  struct PolicyWalks {
    HeadAxis axis;
    std::vector<Walk> heads;
  };

  void make_walks(std::span<const LayerSelection> selections) {
    for (const LayerSelection& selection : selections) {
      // A budget of everything is walked like any other: that its error is 0 is a result, not an assumption.
      const bool evicts = candidates_.size() > 0 && selection.evicts;
      PolicyWalks& walks = walks_.emplace_back(PolicyWalks{selection.axis, {}});
      for (const CellPlan& plan : selection.heads) {
        Walk walk{.plan = &plan, .positions = plan.order, .evicts = evicts};
        for (std::uint32_t& position : walk.positions) position += static_cast<std::uint32_t>(candidates_.begin);
        walks.heads.push_back(std::move(walk));
      }
    }
  }

  void replay_panel(Range rows, Tensor* outputs) {
    const ModelInfo& model = data_.model;
    for (std::size_t h = 0; h < model.n_q_heads; ++h) {
      const std::size_t kv_head = h / model.group_size();
      load_panel(h, rows);
      if (outputs != nullptr) keep_outputs(rows, *outputs);
      const PanelReference reference{.q_head = h, .n_queries = rows.size(), .outputs = state_.reference.data()};
      for (MetricAccumulator* accumulator : accumulators_) accumulator->add_reference(reference);
      for (std::size_t p = 0; p < walks_.size(); ++p) {
        const std::size_t set = walks_[p].axis == HeadAxis::query ? h : kv_head;
        replay_policy(p, walks_[p].heads[set], kv_head);
      }
    }
    for (MetricAccumulator* accumulator : accumulators_) accumulator->end_panel();
  }

  void load_panel(std::size_t h, Range rows) {
    const std::size_t kv_head = h / data_.model.group_size(), dim = data_.model.value_dim;
    state_.q_head = h;
    state_.panel = {data_.queries.matrix(h).rows_between(rows.begin, rows.end),
                    std::span(data_.query_positions).subspan(rows.begin, rows.size())};
    const Range keys = visible_range();
    backend_.weigh(rule_, state_.panel, data_.keys.matrix(kv_head), keys, state_.weights);
    const auto positions = std::span<const std::uint32_t>(visible_);
    const std::size_t n_all[] = {keys.size()}, n_local[] = {keys.end - candidates_.end};
    backend_.sum_sets(state_.weights, data_.values.matrix(kv_head), positions.subspan(keys.begin, keys.size()), n_all,
                      state_.all);
    backend_.sum_sets(state_.weights, data_.values.matrix(kv_head), positions.subspan(candidates_.end, n_local[0]),
                      n_local, state_.local);
    state_.reference.reserve_discard(dim * kPanelWidth);
    for (std::size_t d = 0; d < dim; ++d)
      for (std::size_t l = 0; l < kPanelWidth; ++l)
        state_.reference[d * kPanelWidth + l] = state_.all.values[d * kPanelWidth + l] / state_.all.weights[l];
  }

  void keep_outputs(Range rows, Tensor& outputs) const {
    for (std::size_t l = 0; l < rows.size(); ++l)
      for (std::size_t d = 0; d < outputs.cols(); ++d)
        outputs.matrix(state_.q_head)(rows.begin - query_rows_.begin + l, d) = state_.reference[d * kPanelWidth + l];
  }

  // Everything that the current panel sees (in a sliding layer less than [0, t]), and all that a plan walks over.
  Range visible_range() const {
    return {std::min(rule_.first_visible(state_.panel.positions.front()), candidates_.begin),
            state_.panel.positions.back() + 1};
  }

  void replay_policy(std::size_t p, const Walk& walk, std::size_t kv_head) {
    const std::size_t n_budgets = walk.plan->n_budgets(), dim = data_.model.value_dim;
    if (walk.evicts) {
      backend_.sum_sets(state_.weights, data_.values.matrix(kv_head), walk.positions, walk.plan->cell_ends, cells_);
      backend_.combine(*walk.plan, cells_, state_.local, dim, errors_);
      rescue(walk, kv_head);
    } else {
      set_lossless(n_budgets, dim);
    }
    const PanelOutputs outputs{.policy = p,
                               .q_head = state_.q_head,
                               .n_queries = state_.panel.queries.rows,
                               .reference = state_.reference.data(),
                               .errors = errors_.errors.data(),
                               .squared_errors = errors_.squared_errors.data(),
                               .recall = errors_.recall.data()};
    for (MetricAccumulator* accumulator : accumulators_) accumulator->add_outputs(outputs);
  }

  void set_lossless(std::size_t n_budgets, std::size_t dim) {
    errors_.errors.reserve_discard(n_budgets * dim * kPanelWidth);
    errors_.squared_errors.reserve_discard(n_budgets * kPanelWidth);
    errors_.recall.reserve_discard(n_budgets * kPanelWidth);
    std::fill_n(errors_.errors.data(), n_budgets * dim * kPanelWidth, 0.0f);
    std::fill_n(errors_.squared_errors.data(), n_budgets * kPanelWidth, 0.0f);
    std::fill_n(errors_.recall.data(), n_budgets * kPanelWidth, 1.0f);
  }

  // Queries that lost nearly all of their softmax mass are done again, alone, with a maximum of their own.
  void rescue(const Walk& walk, std::size_t kv_head) {
    const std::size_t dim = data_.model.value_dim;
    for (std::size_t b = 0; b < walk.plan->n_budgets(); ++b)
      for (std::size_t l = 0; l < state_.panel.queries.rows; ++l) {
        if (errors_.recall[b * kPanelWidth + l] >= kRescueBelow) continue;
        retained_.clear();
        for (std::size_t c = 0, begin = 0; c < walk.plan->n_cells(); begin = walk.plan->cell_ends[c++])
          if (walk.plan->holds(c, b))
            retained_.insert(retained_.end(), walk.positions.begin() + static_cast<std::ptrdiff_t>(begin),
                             walk.positions.begin() + static_cast<std::ptrdiff_t>(walk.plan->cell_ends[c]));
        const std::vector<double> output =
            exact_output(rule_, state_.panel.queries.row(l), state_.panel.positions[l], data_.keys.matrix(kv_head),
                         data_.values.matrix(kv_head), retained_, {candidates_.end, data_.n_tokens()});
        double norm = 0;
        for (std::size_t d = 0; d < dim; ++d) {
          // The evicted side holds all of the mass but 2^-80 of it: its mean is the full output.
          const double error = output[d] - double{state_.reference[d * kPanelWidth + l]};
          errors_.errors[(b * dim + d) * kPanelWidth + l] = static_cast<float>(error);
          norm += error * error;
        }
        errors_.squared_errors[b * kPanelWidth + l] = static_cast<float>(norm);
      }
  }

  const LayerData& data_;
  Backend& backend_;
  AttentionRule rule_;
  Range candidates_;
  Range query_rows_;
  std::vector<std::uint32_t> visible_;  // 0, 1, 2, ...
  std::span<MetricAccumulator* const> accumulators_;
  std::vector<PolicyWalks> walks_;  // [n_policies]
  PanelState state_;
  PanelSums cells_;
  PanelErrors errors_;
  std::vector<std::uint32_t> retained_;
};

}  // namespace

Range evaluation_rows(const LayerData& layer, std::size_t compression_point) {
  const auto first = std::ranges::lower_bound(layer.query_positions, compression_point);
  return {static_cast<std::size_t>(first - layer.query_positions.begin()), layer.query_positions.size()};
}

void replay_selections(const ReplayInput& input, std::span<const LayerSelection> selections,
                       std::span<MetricAccumulator* const> accumulators, Backend& backend, Tensor* outputs) {
  SelectionReplay(input, selections, accumulators, backend).run(outputs);
}

}  // namespace kvreplay
