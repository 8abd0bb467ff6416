#pragma once
// What a replay is going to do, settled and checked before the work starts.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "core/contracts/budget.h"
#include "core/contracts/metric.h"
#include "core/contracts/policy.h"
#include "core/data/left_out.h"
#include "traces/trace/trace_reader.h"

namespace kvreplay {

/// The options of `replay` as given.
struct ReplayOptions {
  std::vector<std::string> traces;
  std::vector<std::string> policies;  ///< empty, or `default` among them: all whose needs the traces meet
  std::vector<std::string> scores;    ///< FILE or NAME=FILE
  std::string budgets{kDefaultBudgets};
  std::string compression_ratios;  ///< instead of budgets when not empty
  std::string rounding{name_of(RatioRounding::kvpress)};
  std::vector<std::string> metrics;             ///< empty, or `default` among them: all that the traces allow
  std::vector<std::string> samples;             ///< empty: all
  std::vector<std::string> layers;              ///< empty: all recorded
  std::vector<std::string> compression_points;  ///< names or positions; empty: all that the traces name
  bool evict_sliding = false;
  /// Refuse budgets of more tokens than a case has, instead of keeping all of it, and policies that some case cannot
  /// feed, instead of leaving them out of it.
  bool strict = false;
  std::size_t seed = 1;
  std::string date;  ///< to be noted in the results, as parse_date() takes it; "": none
};

/// One sample at one compression point.
struct ReplayCase {
  std::string label;  ///< SAMPLE@POINT, with the trace's name before it when there are several
  std::size_t trace = 0;
  std::size_t sample = 0;
  CompressionPoint point;
  /// [n_policies] why a policy is left out of this case, "" for those that it feeds; empty where it feeds all.
  std::vector<std::string> left_out = {};
};

/// One layer of one case.
struct ReplayUnit {
  std::size_t case_index = 0;
  std::size_t layer = 0;  ///< index into ReplayPlan::layers
};

struct ReplayPlan {
  std::vector<std::unique_ptr<TraceReader>> traces;
  std::vector<Scorer> external_scorers;  ///< from score files
  std::vector<Policy> policies;
  BudgetGrid budgets;
  std::vector<ChosenMetric> metrics;                   ///< reported
  std::vector<ChosenMetric> computed;                  ///< those with sums of their own that these need
  std::vector<std::size_t> layers;                     ///< numbers of the model's layers: all traces recorded them
  std::vector<std::vector<std::size_t>> layer_places;  ///< [n_traces, n_layers] indices into TraceInfo::layers
  std::vector<ReplayCase> cases;
  std::vector<ReplayUnit> units;  ///< canonical order: by case, then layer
  bool evict_sliding = false;
  std::uint64_t seed = 1;
  std::string options;                        ///< JSON: everything that the numbers depend on, nothing else
  std::string command;                        ///< command_text()
  std::string date;                           ///< of the options
  std::vector<std::filesystem::path> inputs;  ///< files that this reads: traces, scores, those that policies name
  std::vector<LeftOut> left_out;              ///< policies, of some cases or of all, and metrics

  const ModelInfo& model() const { return traces.front()->info().model; }
  const SampleInfo& sample(const ReplayCase& each) const { return traces[each.trace]->info().samples[each.sample]; }
  /// Index into TraceInfo::layers of the unit's trace.
  std::size_t layer_place(const ReplayUnit& unit) const {
    return layer_places[cases[unit.case_index].trace][unit.layer];
  }
  const LayerInfo& layer(const ReplayUnit& unit) const {
    return traces[cases[unit.case_index].trace]->info().layers[layer_place(unit)];
  }
  /// What the trace offers policies in this unit.
  TraceOffer offer(const ReplayUnit& unit, Range candidates) const;
  /// What the policies and metrics look at.
  Needs needs() const;
  /// The parts of the unit's layer that this takes.
  LayerParts layer_parts(const ReplayUnit& unit) const;
  /// The sensitivities of a case, null where there are none.
  const SensitivityInfo* sensitivity(const ReplayCase& each) const {
    return sample(each).find_sensitivity(each.point.name);
  }
  std::uint64_t unit_seed(const ReplayUnit& unit) const;
};

/// Opens the traces and checks every option against them. Says on `talk` what it leaves out: policies and metrics that
/// nobody asked for by name and that these traces cannot feed (but for predictions, which most cannot).
/// Throws UsageError and InputError.
ReplayPlan make_replay_plan(const ReplayOptions& options, std::ostream& talk);

}  // namespace kvreplay
