#include "tools/replay/replay_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "core/base/parallel.h"
#include "tools/replay/replay_estimate.h"
#include "tools/replay/results_assembly.h"
#include "tools/replay/results_frame.h"
#include "tools/replay/shard_file.h"
#include "tools/replay/unit_extras.h"
#include "tools/replay/unit_journal.h"
#include "tools/replay/unit_runner.h"

namespace kvreplay {
namespace {

// Replays units into the journal.
class UnitQueue {
 public:
  UnitQueue(const ReplayPlan& plan, const WorkPart& part, const UnitJournal& journal, BackendChoice& backend,
            const ReplayProgress& progress)
      : plan_(plan),
        part_(part),
        journal_(journal),
        backend_(backend),
        progress_(progress),
        flops_(flops_of(part.costs)) {}

  void run(std::vector<std::size_t> pending) {
    const bool surveys = std::ranges::any_of(plan_.policies, &Policy::splits_layers);
    double flops = 0;
    for (const std::size_t unit : pending) flops += flops_[unit];
    if (surveys)
      for (const std::size_t unit : units_of_cases(pending)) flops += survey_flops(unit);
    progress_.begin(pending.size(), flops);
    // Long ones first, so that no thread is left alone with one at the end.
    std::ranges::stable_sort(pending, std::greater{}, [&](std::size_t unit) { return flops_[unit]; });
    if (!surveys) return run_all(pending, {});

    // Before any layer can be replayed, policies that split budgets between layers have to see them all. Case by case:
    // what is seen of one is held no longer than its units need it, and is all that a killed replay has to see again.
    while (!pending.empty()) {
      const std::size_t case_index = plan_.units[pending.front()].case_index;
      std::vector<std::size_t> units, later;
      for (const std::size_t unit : pending)
        (plan_.units[unit].case_index == case_index ? units : later).push_back(unit);
      CaseBudgets budgets;
      const auto layer_done = [&](std::size_t layer) {
        progress_.advance(survey_flops(case_index * plan_.layers.size() + layer));
      };
      backend_.with([&](Backend& chosen) {
        budgets = split_budgets(plan_, case_index, part_.in_flight, chosen, used_, layer_done);
      });
      run_all(units, budgets);
      pending = std::move(later);
    }
  }

 private:
  // All units of the cases that these are of: policies that split budgets see them again.
  std::vector<std::size_t> units_of_cases(const std::vector<std::size_t>& pending) const {
    std::set<std::size_t> cases;
    for (const std::size_t unit : pending) cases.insert(plan_.units[unit].case_index);
    std::vector<std::size_t> units;
    for (std::size_t unit = 0; unit < plan_.units.size(); ++unit)
      if (cases.contains(plan_.units[unit].case_index)) units.push_back(unit);
    return units;
  }

  // About what it takes to survey a unit: its scores.
  double survey_flops(std::size_t unit) const { return flops_[unit] * scoring_share(part_.costs[unit]); }

  void run_all(const std::vector<std::size_t>& units, const CaseBudgets& budgets) {
    parallel_in_order(units.size(), part_.in_flight, [&](std::size_t i) {
      // The one that starts next, when one of those at work now ends.
      if (i + part_.in_flight < units.size()) prefetch_unit(plan_, plan_.units[units[i + part_.in_flight]]);
      journal_.write(units[i], run_one(units[i], budgets));
    });
  }

  Dataset run_one(std::size_t index, const CaseBudgets& budgets) {
    const ReplayUnit& unit = plan_.units[index];
    std::atomic<double> told = 0;
    const auto advance = [&](double share) {
      told += share;
      progress_.advance(share * flops_[index]);
    };
    const UnitProgress progress{.scoring = scoring_share(part_.costs[index]), .advance = advance};
    UnitResult result;
    backend_.with(
        [&](Backend& chosen) { result = run_unit(plan_, unit, budgets, part_.kept.outputs, progress, chosen, used_); });
    tell_left_out(unit, result);
    Dataset entry = unit_dataset(plan_, unit, result);
    if (part_.kept.retained) {
      append_retained(result, entry);
      if (unit.layer == 0) append_tokens(plan_.sample(plan_.cases[unit.case_index]), entry);
    }
    if (part_.kept.outputs) append_outputs(result, plan_.sample(plan_.cases[unit.case_index]).query_positions(), entry);
    advance(1 - told);
    return entry;
  }

  // What the plan did not know: once for each policy and case.
  void tell_left_out(const ReplayUnit& unit, const UnitResult& result) {
    const ReplayCase& each = plan_.cases[unit.case_index];
    for (std::size_t p = 0; p < result.left_out.size(); ++p) {
      if (result.left_out[p].empty() || (!each.left_out.empty() && !each.left_out[p].empty())) continue;
      const std::lock_guard lock(told_mutex_);
      if (told_.emplace(unit.case_index, p).second)
        progress_.note(fmt::format("leaving policy {} out of case {}: {}", plan_.policies[p].name(), each.label,
                                   result.left_out[p]));
    }
  }

  const ReplayPlan& plan_;
  const WorkPart& part_;
  const UnitJournal& journal_;
  BackendChoice& backend_;
  const ReplayProgress& progress_;
  std::mutex told_mutex_;
  std::set<std::pair<std::size_t, std::size_t>> told_;  // case, policy
  std::vector<double> flops_;                           // [n_units] of the plan
  UsedSlices used_;
};

void write_files(const ReplayPlan& plan, const WorkPart& part, const OutputFiles& files, const UnitJournal& journal) {
  const ResultsFrame frame = results_frame(plan);
  const auto check = [&](const Dataset& unit) {
    check_unit(frame, unit);
    check_extras(frame, unit, part.kept);
  };
  const auto read_unit = [&](std::size_t unit, DatasetPart of_it) {
    if (of_it == DatasetPart::carried) return journal.read(unit, of_it);
    return journal.read(unit, of_it, check);
  };
  if (!part.shard) return write_output_files(files, part.kept, frame, read_unit, journal);
  std::vector<std::unique_ptr<NewFile>> written;
  written.push_back(write_shard_file(files.results, frame, *part.shard, part.kept, part.units, read_unit));
  journal.publish(written);
}

}  // namespace

bool run_replay(const ReplayPlan& plan, const WorkPart& part, const OutputFiles& files, BackendChoice& backend,
                const ReplayProgress& progress) {
  UnitJournal journal(files.results, journal_options(plan.options, part.kept), files.force);
  if (published_all(files)) {
    journal.remove();
    return false;
  }
  const auto work = [&] {
    with_threads(part.n_threads, [&] {
      std::vector<std::size_t> pending;
      std::ranges::copy_if(part.units, std::back_inserter(pending),
                           [&](std::size_t unit) { return !journal.has(unit); });
      UnitQueue(plan, part, journal, backend, progress).run(std::move(pending));
    });
    write_files(plan, part, files, journal);
  };
  journal.complete([&] {
    check_output_files(files, plan.inputs);  // again: another replay may have finished before this one had the journal
    std::set<std::size_t> damaged;
    for (;;) try {
        return work();
      } catch (const DamagedUnit& unit) {
        if (!damaged.insert(unit.unit()).second) throw;  // twice is no accident
        progress.note(fmt::format("warning: finished unit {} in {} is damaged; it is replayed again", unit.unit(),
                                  journal.folder().string()));
      }
  });
  return true;
}

}  // namespace kvreplay
