#include "core/evidence/prompt_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "core/base/count.h"
#include "core/base/counted.h"
#include "core/base/error.h"

namespace kvreplay {

PromptView::PromptView(const LayerData& data, Range candidates, Backend& backend, UnitIdentity unit)
    : data_(&data),
      candidates_(candidates),
      backend_(&backend),
      unit_(std::move(unit)),
      evidence_(std::make_shared<Evidence>()) {}

ConstMatrixView PromptView::keys(std::size_t kv_head) const {
  return data_->keys.matrix(kv_head).rows_between(candidates_.begin, candidates_.end);
}

ConstMatrixView PromptView::values(std::size_t kv_head) const {
  return data_->values.matrix(kv_head).rows_between(candidates_.begin, candidates_.end);
}

ConstMatrixView PromptView::cached_keys(std::size_t kv_head) const {
  return data_->keys.matrix(kv_head).rows_between(0, candidates_.end);
}

ConstMatrixView PromptView::cached_values(std::size_t kv_head) const {
  return data_->values.matrix(kv_head).rows_between(0, candidates_.end);
}

ConstMatrixView PromptView::queries(std::size_t q_head, std::size_t window) const {
  const Range rows = query_rows(window);
  return data_->queries.matrix(q_head).rows_between(rows.begin, rows.end);
}

ConstMatrixView PromptView::output_projection(std::size_t q_head) const {
  if (data_->output_projection.empty())
    throw InputError(fmt::format("it needs W_O, and none is recorded in layer {}", data_->layer.index));
  return data_->output_projection.matrix(q_head);
}

const LayerProbes& PromptView::probes() const {
  if (!data_->probes)
    throw InputError(fmt::format("it needs probe queries, and none are recorded for compression point '{}'",
                                 unit_.compression_point));
  return *data_->probes;
}

Tensor PromptView::sum_attention(Range query_rows, std::size_t last_key) const {
  const ModelInfo& model = data_->model;
  const AttentionRule rule = attention_rule(model, data_->layer);
  const std::span<const std::size_t> positions =
      std::span(data_->query_positions).subspan(query_rows.begin, query_rows.size());
  Tensor sums(1, model.n_q_heads, n_candidates());
  Tensor all(1, model.n_q_heads, last_key);
  std::vector<ColumnTask> tasks;
  for (std::size_t h = 0; h < model.n_q_heads; ++h)
    tasks.push_back({data_->queries.matrix(h).rows_between(query_rows.begin, query_rows.end),
                     data_->keys.matrix(h / model.group_size()).rows_between(0, last_key), all.matrix(0).row(h)});
  backend_->attention_sums(rule, positions, tasks);
  for (std::size_t h = 0; h < model.n_q_heads; ++h)
    std::ranges::copy(all.matrix(0).row(h).subspan(candidates_.begin, candidates_.size()),
                      sums.matrix(0).row(h).begin());
  return sums;
}

std::string missing_queries(std::span<const std::size_t> query_positions, Range candidates, std::size_t window) {
  if (window != kAll && window > candidates.size())
    return fmt::format("its observation window of {} is longer than the {} up for eviction",
                       counted(window, "query", "queries"), counted(candidates.size(), "token"));
  std::size_t expected = candidates.end - std::min(window, candidates.size());
  for (auto it = std::ranges::lower_bound(query_positions, expected); expected < candidates.end; ++it, ++expected)
    if (it == query_positions.end() || *it != expected)
      return fmt::format("it needs the queries at positions {} to {}, and none is recorded at {}",
                         candidates.end - std::min(window, candidates.size()), candidates.end - 1, expected);
  return "";
}

Range PromptView::query_rows(std::size_t window) const {
  if (const std::string missing = missing_queries(data_->query_positions, candidates_, window); !missing.empty())
    throw InputError(missing);
  const std::size_t n = std::min(window, n_candidates());
  const auto begin = std::ranges::lower_bound(data_->query_positions, candidates_.end - n);
  const std::size_t row = static_cast<std::size_t>(begin - data_->query_positions.begin());
  return {row, row + n};
}

const Tensor& PromptView::attention_sums(std::size_t window) const {
  const Range rows = query_rows(window);
  return remember<Tensor>(fmt::format("attention of the last {} queries", rows.size()), [&] {
    // Sums over a long window are those over the usual short ones and the rest. Always the same steps, asked for or
    // not: a policy's scores must not depend on which others there are.
    constexpr std::size_t kSteps[] = {64, 400};
    std::size_t inner = 0;
    for (const std::size_t step : kSteps)
      if (step < rows.size()) inner = step;
    Tensor sums = sum_attention({rows.begin, rows.end - inner}, candidates_.end);
    if (inner > 0) {
      const std::span<const float> rest = attention_sums(inner).values();
      for (std::size_t i = 0; i < rest.size(); ++i) sums.values()[i] += rest[i];
    }
    return sums;
  });
}

std::size_t PromptView::n_seen_by(std::size_t i, std::size_t window) const {
  const std::size_t n = std::min(window, n_candidates());
  // Every candidate is in sight of all prompt queries from its own on, in a sliding layer too: candidates_at().
  return candidates_.end - std::max(candidates_.begin + i, candidates_.end - n);
}

void PromptView::check_lookahead() const {
  if (!lookahead_) throw std::logic_error("a method that is not marked as an oracle asked for the evaluation queries");
}

EvaluationErrors PromptView::evaluation_errors(const LayerSelection& selection, bool projected) const {
  check_lookahead();
  return kvreplay::evaluation_errors(*data_, candidates_, selection, projected, *backend_);
}

std::vector<std::vector<double>> PromptView::predicted_damage(const LayerSelection& selection) const {
  check_lookahead();
  return kvreplay::predicted_damage(*data_, candidates_, selection, selection.heads.size(), *backend_);
}

EvaluationWeights PromptView::evaluation_weights(std::size_t kv_head) const {
  return evaluation_weights(kv_head, {0, n_evaluation_panels()});
}

EvaluationWeights PromptView::evaluation_weights(std::size_t kv_head, Range panels) const {
  check_lookahead();
  return kvreplay::evaluation_weights(*data_, candidates_, kv_head, panels, *backend_);
}

std::size_t PromptView::n_evaluation_panels() const {
  check_lookahead();
  return kvreplay::n_evaluation_panels(*data_, candidates_);
}

std::span<const float> PromptView::block_cosine() const {
  if (data_->block_cosine.empty()) return {};
  return std::span(data_->block_cosine).subspan(candidates_.begin, candidates_.size());
}

const Tensor& PromptView::evaluation_attention() const {
  check_lookahead();
  const Range rows = kvreplay::evaluation_rows(*data_, candidates_.end);
  return remember<Tensor>("attention of the evaluation queries",
                          [&] { return sum_attention(rows, data_->n_tokens()); });
}

ConstMatrixView PromptView::evaluation_queries(std::size_t q_head) const {
  check_lookahead();
  const Range rows = kvreplay::evaluation_rows(*data_, candidates_.end);
  return data_->queries.matrix(q_head).rows_between(rows.begin, rows.end);
}

PromptView PromptView::with_lookahead() const {
  PromptView view = *this;
  view.lookahead_ = true;
  return view;
}

}  // namespace kvreplay
