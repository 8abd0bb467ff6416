#include "core/engine/retention.h"

#include <cassert>

namespace kvreplay {

HeadRetention::HeadRetention(const CellPlan& plan, std::size_t compression_point)
    : plan_(&plan), compression_point_(static_cast<std::uint32_t>(compression_point)) {}

HeadRetention::HeadRetention(const CellPlan& plan, std::vector<std::uint32_t> evicted_at)
    : plan_(&plan), evicted_at_(std::move(evicted_at)) {
  assert(evicted_at_.size() == plan.n_cells() * plan.n_budgets());
}

std::size_t HeadRetention::count(std::size_t budget, std::size_t t) const {
  std::size_t n = 0;
  for (std::size_t cell = 0; cell < plan_->n_cells(); ++cell)
    if (holds_cell(cell, budget, t)) n += plan_->cell(cell).size();
  return n;
}

TokenRetention HeadRetention::tokens(std::size_t budget) const {
  std::vector<std::uint32_t> positions(n_tokens());
  for (std::size_t cell = 0; cell < plan_->n_cells(); ++cell)
    for (const std::uint32_t token : plan_->cell(cell)) positions[token] = evicted_at(cell, budget);
  return TokenRetention(std::move(positions));
}

Retention::Retention(const LayerSelection& selection, std::size_t compression_point)
    : axis_(selection.axis), evicts_(selection.evicts) {
  heads_.reserve(selection.heads.size());
  for (const CellPlan& plan : selection.heads) heads_.emplace_back(plan, compression_point);
}

Retention::Retention(HeadAxis axis, std::vector<HeadRetention> heads)
    : axis_(axis), heads_(std::move(heads)), evicts_(true) {}

}  // namespace kvreplay
