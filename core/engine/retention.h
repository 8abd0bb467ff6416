#pragma once
// Retained sets with a time axis: which tokens a head keeps at each budget, and until when.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "core/data/trace_info.h"
#include "core/engine/selection.h"

namespace kvreplay {

/// A position that no query reaches: the token stays.
inline constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();

/// One head at one budget, token by token.
class TokenRetention {
 public:
  explicit TokenRetention(std::vector<std::uint32_t> evicted_at) : evicted_at_(std::move(evicted_at)) {}

  /// The first position whose query no longer sees the token, or kNever.
  std::uint32_t evicted_at(std::size_t token) const { return evicted_at_[token]; }
  /// Whether the query at position t sees it.
  bool holds(std::size_t token, std::size_t t) const { return t < evicted_at_[token]; }

 private:
  std::vector<std::uint32_t> evicted_at_;  // [n_tokens]
};

/// The retained sets of one head at all budgets, over time. Tokens that are evicted together at every budget are a
/// cell.
class HeadRetention {
 public:
  /// A policy that acts once: what a budget does not hold is evicted at the compression point.
  /// \param plan  outlives this
  HeadRetention(const CellPlan& plan, std::size_t compression_point);
  /// Sets of any shape at any time.
  /// \param plan        outlives this; of its cells only the tokens count
  /// \param evicted_at  [n_cells, n_budgets]
  HeadRetention(const CellPlan& plan, std::vector<std::uint32_t> evicted_at);

  const CellPlan& cells() const { return *plan_; }
  /// Whether every budget retains a prefix of the cells, whose order is then the policy's ranking.
  bool nested() const { return evicted_at_.empty() && plan_->nested; }
  std::size_t n_tokens() const { return plan_->order.size(); }
  std::size_t n_budgets() const { return plan_->n_budgets(); }

  /// Whether the query at position t sees the tokens of a cell.
  bool holds_cell(std::size_t cell, std::size_t budget, std::size_t t) const { return t < evicted_at(cell, budget); }
  /// How many tokens the query at position t sees.
  std::size_t count(std::size_t budget, std::size_t t) const;
  TokenRetention tokens(std::size_t budget) const;

 private:
  std::uint32_t evicted_at(std::size_t cell, std::size_t budget) const {
    if (!evicted_at_.empty()) return evicted_at_[cell * n_budgets() + budget];
    return plan_->holds(cell, budget) ? kNever : compression_point_;
  }

  const CellPlan* plan_;
  std::uint32_t compression_point_ = 0;    // where evicted_at_ is empty
  std::vector<std::uint32_t> evicted_at_;  // [n_cells, n_budgets]; empty: acts once
};

/// The retained sets of one policy in one layer, over time.
class Retention {
 public:
  /// A policy that acts once.
  /// \param selection  outlives this
  Retention(const LayerSelection& selection, std::size_t compression_point);
  /// A policy that may act at any position.
  /// \param heads  [n_kv_heads] or [n_q_heads]
  Retention(HeadAxis axis, std::vector<HeadRetention> heads);

  HeadAxis axis() const { return axis_; }
  /// [n_kv_heads] or [n_q_heads]
  const std::vector<HeadRetention>& heads() const { return heads_; }
  const HeadRetention& of_query_head(std::size_t q_head, const ModelInfo& model) const {
    return heads_[axis_ == HeadAxis::query ? q_head : q_head / model.group_size()];
  }
  /// False: everything is kept whatever the budget.
  bool evicts() const { return evicts_; }

  /// Calls visit(kv_head, head, part) for every retained set. A KV head whose query heads keep sets of their own has
  /// several, each an equal part of 1.
  template <typename Visit>
  void for_each_set(const ModelInfo& model, Visit visit) const {
    const std::size_t sets_per_head = axis_ == HeadAxis::kv ? 1 : model.group_size();
    for (std::size_t set = 0; set < heads_.size(); ++set)
      visit(set / sets_per_head, heads_[set], 1.0 / static_cast<double>(sets_per_head));
  }

 private:
  HeadAxis axis_;
  std::vector<HeadRetention> heads_;
  bool evicts_;
};

}  // namespace kvreplay
