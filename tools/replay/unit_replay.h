#pragma once
// A work unit: one layer of one sample at one compression point, through all policies and budgets at once.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/contracts/budget.h"
#include "core/contracts/metric.h"
#include "core/contracts/policy.h"
#include "core/data/layer_data.h"
#include "core/engine/backend.h"
#include "core/engine/retention.h"

namespace kvreplay {

/// Positions up for eviction when a policy acts at `compression_point`: all before it; in a sliding-window layer
/// nothing (its cache is bounded already), or, with `evict_sliding`, the window - 1 tokens that later queries may still
/// see.
Range candidates_at(std::size_t compression_point, const LayerInfo& layer, bool evict_sliding);

/// Told how far one unit is, in shares of its work. They add up to 1 at most: what is done at the end is not told.
struct UnitProgress {
  double scoring = 0;                         ///< share of the work that comes before outputs are measured
  std::function<void(double share)> advance;  ///< called from several threads at once
};

struct UnitTask {
  const LayerData* data = nullptr;
  DType dtype = DType::float16;
  const std::vector<Span>* spans = nullptr;
  std::size_t decode_start = 0;  ///< position of the first decoded token
  std::size_t compression_point = 0;
  bool evict_sliding = false;
  const std::vector<Policy>* policies = nullptr;
  const BudgetGrid* budgets = nullptr;
  std::span<const ChosenMetric> metrics;  ///< those with sums of their own
  UnitIdentity identity;
  std::vector<HeadBudgets> layer_budgets = {};  ///< [n_policies] of this layer, for policies that split between layers
  std::vector<std::string> left_out = {};       ///< [n_policies] why not this policy, "" for those to replay; {}: all
  bool keep_outputs = false;                    ///< fill UnitResult::outputs
  const UnitProgress* progress = nullptr;       ///< told by replay_unit(); nullptr: nobody asks
};

struct UnitResult {
  std::size_t first_candidate = 0;  ///< position
  std::size_t n_candidates = 0;
  std::size_t n_queries = 0;
  std::vector<MetricSums> sums;  ///< [n_metrics]
  /// [n_policies]; of policies that are left out, everything.
  std::vector<LayerSelection> selections;
  /// [n_policies] why the policy has no results here, "" for those that have: as the task says, or because it cannot be
  /// computed on this layer's numbers.
  std::vector<std::string> left_out;
  /// Full-cache attention outputs of the evaluation queries, [n_q_heads, n_queries, value_dim]: what the recorded
  /// model's own attention gave.
  Tensor outputs;
  std::string made_by;  ///< the backend, and its device: "cpu", "cuda NVIDIA H200"

  /// The selections over time, [n_policies]: policies act once, at the end of the candidates. Not to outlive this.
  std::vector<Retention> retentions() const;
};

struct UnitSurvey {
  std::vector<std::vector<LayerSurvey>> policies;  ///< [n_policies]
  std::vector<std::string> left_out;               ///< [n_policies] as UnitResult::left_out
};

/// What the policies that split budgets between layers note of this one; empty for the others and where nothing is up
/// for eviction. To be done for all layers of a case before any of them is replayed.
UnitSurvey survey_unit(const UnitTask& task, Backend& backend);

/// What damage is measured by.
enum class Damage {
  fisher,     ///< core/evidence/predicted_damage.h
  projected,  ///< sum over queries and query heads of ||W_O^h (o' - o)||^2
};

/// What is lost through each KV head alone when it retains what the task's one policy would at each budget:
/// [n_kv_heads] [n_budgets], all budgets in one pass over the tokens. Empty where nothing is up for eviction. Throws
/// InputError when the trace lacks what it takes.
std::vector<std::vector<double>> unit_damage(const UnitTask& task, Damage damage, Backend& backend);

/// Replays one unit. Throws InputError with the policy's name when the trace lacks what a policy needs, or when no
/// policy can be computed on it.
UnitResult replay_unit(const UnitTask& task, Backend& backend);

}  // namespace kvreplay
