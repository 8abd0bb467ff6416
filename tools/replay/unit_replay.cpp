#include "tools/replay/unit_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/data/target_queries.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {
namespace {

std::vector<Budget> budgets_of(const UnitTask& task, Range candidates) {
  std::vector<Budget> budgets;
  // A budget in tokens is meant for the whole cache; a sliding layer, or a short prompt, just has fewer to keep.
  for (std::size_t b = 0; b < task.budgets->values.size(); ++b)
    budgets.push_back(task.budgets->at(b, candidates.size()));
  return budgets;
}

// Why policies are left out so far, [n_policies].
std::vector<std::string> left_out_of(const UnitTask& task) {
  return task.left_out.empty() ? std::vector<std::string>(task.policies->size()) : task.left_out;
}

// Calls `work` for each policy that is not left out, and says whose fault an error is. A policy that cannot be computed
// is left out from then on, as long as there are others.
template <typename Work>
void for_each_policy(const UnitTask& task, std::vector<std::string>& left_out, Work work) {
  parallel_for(task.policies->size(), [&](std::size_t p) {
    if (!left_out[p].empty()) return;
    const Policy& policy = (*task.policies)[p];
    try {
      work(p, policy);
    } catch (const UnfitError& error) {
      left_out[p] = fmt::format("{} in layer {}", error.what(), task.data->layer.index);
    } catch (const InputError& error) {
      throw InputError(fmt::format("policy '{}', layer {}: {}", policy.name(), task.data->layer.index, error.what()));
    }
  });
  const auto is_replayed = [](const std::string& why) { return why.empty(); };
  if (std::ranges::any_of(left_out, is_replayed)) return;
  throw InputError(fmt::format("policy '{}': {}", task.policies->front().name(), left_out.front()));
}

// The same tokens in all heads, at every budget.
LayerSelection keeping(const UnitTask& task, std::size_t n_candidates) {
  std::vector<std::uint32_t> tokens(n_candidates);
  std::iota(tokens.begin(), tokens.end(), 0u);
  const std::vector<std::size_t> counts(task.budgets->values.size(), n_candidates);
  return {.axis = HeadAxis::kv,
          .heads = std::vector<CellPlan>(task.data->model.n_kv_heads, plan_nested(tokens, counts)),
          .evicts = n_candidates == 0};
}

std::vector<LayerSelection> select(const UnitTask& task, const PromptView& view, Range candidates,
                                   std::vector<std::string>& left_out) {
  std::vector<LayerSelection> selections(task.policies->size(), keeping(task, candidates.size()));
  if (candidates.size() == 0) return selections;
  const std::vector<Budget> budgets = budgets_of(task, candidates);
  for_each_policy(task, left_out, [&](std::size_t p, const Policy& policy) {
    const bool splits = policy.splits_layers();
    selections[p] = policy.select(view, budgets, splits ? &task.layer_budgets.at(p) : nullptr);
    if (task.progress != nullptr)
      task.progress->advance(task.progress->scoring / static_cast<double>(task.policies->size()));
  });
  return selections;
}

// Tells how far the outputs are.
class PanelCounter final : public OutputSink {
 public:
  PanelCounter(const UnitProgress& progress, std::size_t n_queries, std::size_t n_policies)
      : progress_(progress),
        share_(
            (1 - progress.scoring) /
            static_cast<double>(std::max<std::size_t>(1, (n_queries + kPanelWidth - 1) / kPanelWidth) * n_policies)) {}
  void add_outputs(const PanelOutputs&) override {}
  void end_panel(Range policies) override { progress_.advance(share_ * static_cast<double>(policies.size())); }
  bool reads_errors() const override { return false; }

 private:
  const UnitProgress& progress_;
  double share_;  // of a panel of one policy
};

// The metric with all retained sets added; says whose fault an error is.
std::unique_ptr<MetricAccumulator> make_accumulator(const UnitTask& task, const ChosenMetric& metric,
                                                    const UnitShape& shape, std::span<const Retention> retentions) {
  const auto naming = [&](const std::string& policy, const auto& work) {
    try {
      work();
    } catch (const InputError& error) {
      throw InputError(
          fmt::format("metric '{}'{}, layer {}: {}", metric.name(), policy, task.data->layer.index, error.what()));
    }
  };
  std::unique_ptr<MetricAccumulator> accumulator;
  naming("", [&] { accumulator = metric.make(shape); });
  parallel_for(retentions.size(), [&](std::size_t p) {
    naming(fmt::format(", policy '{}'", (*task.policies)[p].name()),
           [&] { accumulator->add_retention(p, retentions[p]); });
  });
  return accumulator;
}

}  // namespace

Range candidates_at(std::size_t compression_point, const LayerInfo& layer, bool evict_sliding) {
  if (layer.sliding_window == 0) return {0, compression_point};
  if (!evict_sliding) return {compression_point, compression_point};
  const std::size_t reach = layer.sliding_window - 1;
  return {compression_point > reach ? compression_point - reach : 0, compression_point};
}

UnitSurvey survey_unit(const UnitTask& task, Backend& backend) {
  const Range candidates = candidates_at(task.compression_point, task.data->layer, task.evict_sliding);
  UnitSurvey survey{.policies = std::vector<std::vector<LayerSurvey>>(task.policies->size()),
                    .left_out = left_out_of(task)};
  if (candidates.size() == 0) return survey;
  const std::vector<Budget> budgets = budgets_of(task, candidates);
  const std::unique_ptr<Residency> held = backend.hold(*task.data, task.dtype);
  const PromptView view(*task.data, candidates, backend, task.identity);
  for_each_policy(task, survey.left_out, [&](std::size_t p, const Policy& policy) {
    if (policy.splits_layers()) survey.policies[p] = policy.survey(view, budgets);
  });
  return survey;
}

std::vector<std::vector<double>> unit_damage(const UnitTask& task, Damage damage, Backend& backend) {
  const Range candidates = candidates_at(task.compression_point, task.data->layer, task.evict_sliding);
  if (candidates.size() == 0) return {};
  const std::unique_ptr<Residency> held = backend.hold(*task.data, task.dtype);
  const PromptView view(*task.data, candidates, backend, task.identity);
  std::vector<std::string> left_out = left_out_of(task);
  const LayerSelection selection = std::move(select(task, view, candidates, left_out).front());
  const std::size_t n_heads = task.data->model.n_kv_heads;
  if (damage == Damage::fisher) return predicted_damage(*task.data, candidates, selection, n_heads, backend);
  const auto squared = evaluation_errors(*task.data, candidates, selection, true, backend).squared;
  std::vector<std::vector<double>> sums(n_heads, std::vector<double>(squared.front().size(), 0.0));
  for (std::size_t h = 0; h < squared.size(); ++h)
    for (std::size_t b = 0; b < squared[h].size(); ++b) sums[h / task.data->model.group_size()][b] += squared[h][b];
  return sums;
}

std::vector<Retention> UnitResult::retentions() const {
  std::vector<Retention> all;
  for (const LayerSelection& selection : selections) all.emplace_back(selection, first_candidate + n_candidates);
  return all;
}

UnitResult replay_unit(const UnitTask& task, Backend& backend) {
  const LayerData& data = *task.data;
  const std::size_t n_policies = task.policies->size(), n_budgets = task.budgets->values.size();
  const std::size_t at_once = policies_at_once(n_policies, n_budgets, data.model.n_q_heads, data.model.value_dim);
  const ReplayInput input{.layer = &data,
                          .candidates = candidates_at(task.compression_point, data.layer, task.evict_sliding),
                          .query_rows = evaluation_rows(data, task.compression_point),
                          .n_policies_at_once = at_once};
  const std::unique_ptr<Residency> held = backend.hold(data, task.dtype);
  const PromptView view(data, input.candidates, backend, task.identity);
  UnitResult result{.first_candidate = input.candidates.begin,
                    .n_candidates = input.candidates.size(),
                    .n_queries = input.query_rows.size(),
                    .sums = {},
                    .selections = {},
                    .left_out = left_out_of(task),
                    .outputs = {},
                    .made_by = std::string(backend.name())};
  result.selections = select(task, view, input.candidates, result.left_out);
  if (held != nullptr) result.made_by += " " + held->device();
  if (task.keep_outputs) result.outputs = Tensor(data.model.n_q_heads, result.n_queries, data.model.value_dim);
  const PromptView lookahead = view.with_lookahead();
  const UnitShape shape{.layer = &data,
                        .view = &lookahead,
                        .dtype = task.dtype,
                        .candidates = input.candidates,
                        .spans = task.spans,
                        .targets = target_queries(std::span(data.query_positions).subspan(input.query_rows.begin),
                                                  *task.spans, task.decode_start),
                        .n_queries = result.n_queries,
                        .n_policies = n_policies,
                        .n_budgets = n_budgets,
                        .n_policies_at_once = at_once};
  const std::vector<Retention> retentions = result.retentions();
  std::vector<std::unique_ptr<MetricAccumulator>> owned(task.metrics.size());
  parallel_for(owned.size(),
               [&](std::size_t m) { owned[m] = make_accumulator(task, task.metrics[m], shape, retentions); });
  std::vector<OutputSink*> sinks;
  for (std::size_t m = 0; m < owned.size(); ++m)
    if (task.metrics[m].row().needs_outputs) sinks.push_back(owned[m].get());
  std::optional<PanelCounter> counter;
  if (!sinks.empty() && task.progress != nullptr)
    sinks.push_back(&counter.emplace(*task.progress, result.n_queries, n_policies));
  if (!sinks.empty() || task.keep_outputs)
    backend.replay(input, result.selections, sinks, task.keep_outputs ? &result.outputs : nullptr);
  result.sums.resize(owned.size());
  parallel_for(owned.size(), [&](std::size_t m) { result.sums[m] = owned[m]->finish(); });
  return result;
}

}  // namespace kvreplay
