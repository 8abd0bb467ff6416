// kvreplay replay: traces through policies at all budgets, to a results file.

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>
#include <thread>

#include "core/error.h"
#include "core/parallel.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/output_file.h"
#include "tools/progress.h"
#include "tools/replay_plan.h"
#include "tools/results_assembly.h"
#include "tools/unit_extras.h"
#include "tools/unit_journal.h"
#include "tools/unit_work.h"
#include "traces/dataset_file.h"

namespace kvreplay {
namespace {

struct OutputOptions {
  std::string results;
  std::string retained;
  std::string outputs;
  bool force = false;
  bool quiet = false;
  std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
};

void declare(Options& options, ReplayOptions& replay, OutputOptions& output) {
  options.positional("TRACE", replay.traces, 1);
  options.group("What to replay");
  options.values("policy,p", replay.policies, "POLICY",
                 "SCORER[:PARAM=VALUE,...][+ALLOCATOR[:...]] or a preset; several, or a list with commas; "
                 "without it, and for `default` in the list, all that the traces can feed but for slow references "
                 "(kvreplay policies lists them)");
  options.value("budget,b", replay.budgets, "LIST",
                "what is kept: fractions (0.1,0.5,1), tokens (64,256) or a range FROM:TO:COUNT, log-spaced");
  options.value("compression-ratio", replay.compression_ratios, "LIST",
                "instead of --budget: shares removed, rounded to tokens as kvpress does");
  options.values("compression-point", replay.compression_points, "NAME",
                 "where the policies act: a name in the trace or a position; without it every named one");
  options.values("sample", replay.samples, "NAME", "only this sample; several");
  options.values("layer", replay.layers, "LIST", "only these layers: 0,5,10-20");
  options.values("metric,m", replay.metrics, "LIST",
                 "what to measure, NAME[:param=value,...]; without it, and for `default` in the list, all that the "
                 "traces allow but for what is measured by request (kvreplay metrics lists them)");
  options.values(
      "scores", replay.scores, "[NAME=]FILE",
      "a scorer called NAME (or as the file) whose scores an HDF5 file holds; it takes part in --policy too");
  options.flag("evict-sliding", replay.evict_sliding,
               "let policies evict inside the window of sliding-window layers too");
  options.value("seed", replay.seed, "N", "of everything random");
  options.group("Output");
  options.value("output,o", output.results, "FILE", "the results; required");
  options.value("save-retained", output.retained, "FILE", "also write every retained set");
  options.value("save-outputs", output.outputs, "FILE", "also write the full-cache attention outputs");
  options.flag("force", output.force, "overwrite outputs");
  options.group("Running");
  options.value("threads,j", output.threads, "N", "work units at a time; the results do not depend on it");
  options.flag("quiet,q", output.quiet, "say nothing but errors");
  options.example("kvreplay replay trace.h5 -o results.h5");
  options.example("kvreplay replay trace.h5 -p snapkv -p snapkv:window=32+ada -b 0.05:1:8 -o results.h5");
  options.example(
      "kvreplay replay trace.h5 -p knorm,tova --compression-ratio 0.25,0.5,0.75 --save-retained sets.h5 -o r.h5");
}

void check_outputs(const OutputOptions& output) {
  if (output.results.empty()) throw UsageError("replay needs --output FILE");
  if (output.threads == 0) throw UsageError("--threads 0: at least one thread has to work");
  std::vector<std::filesystem::path> paths;
  for (const std::string& path : {output.results, output.retained, output.outputs}) {
    if (path.empty()) continue;
    check_output(path, output.force);
    const auto whole = std::filesystem::absolute(path).lexically_normal();
    if (std::ranges::find(paths, whole) != paths.end())
      throw UsageError(fmt::format("{} is given for two outputs", path));
    paths.push_back(whole);
  }
}

// Everything that decides what a journal entry holds.
std::string journal_options(const ReplayPlan& plan, const OutputOptions& output) {
  return fmt::format("{}\n{{\"version\": \"{}\", \"retained\": {}, \"outputs\": {}}}\n", plan.options, KVREPLAY_VERSION,
                     !output.retained.empty(), !output.outputs.empty());
}

Dataset replay_one(const ReplayPlan& plan, const ReplayUnit& unit, UnitShares shares, const OutputOptions& output,
                   Backend& backend, UsedSlices& used) {
  const UnitResult result = replay_unit(plan, unit, std::move(shares), !output.outputs.empty(), backend, used);
  Dataset entry = unit_dataset(plan, unit, result);
  if (!output.retained.empty()) append_retained(result, entry);
  if (!output.outputs.empty()) append_outputs(result, entry);
  return entry;
}

// Replays what the journal lacks.
void replay_units(const ReplayPlan& plan, const OutputOptions& output, const UnitJournal& journal, std::ostream& talk) {
  std::vector<std::size_t> todo;
  for (std::size_t unit = 0; unit < plan.units.size(); ++unit)
    if (!journal.has(unit)) todo.push_back(unit);
  if (todo.size() < plan.units.size() && !output.quiet)
    fmt::print(talk, "taking up an interrupted replay: {} of {} units are done\n", plan.units.size() - todo.size(),
               plan.units.size());

  // Long ones first, so that no thread is left alone with one at the end.
  std::ranges::stable_sort(todo, std::greater{},
                           [&](std::size_t unit) { return plan.cases[plan.units[unit].case_index].point.position; });
  const std::unique_ptr<Backend> backend = make_cpu_backend();
  UsedSlices used;
  const bool progress_line = !output.quiet && &talk == &std::cerr && isatty(STDERR_FILENO);

  // Before any layer can be replayed, policies that split budgets between layers have to see them all.
  std::map<std::size_t, std::vector<UnitShares>> shares;  // by case
  if (std::ranges::any_of(plan.policies, &Policy::shares_between_layers)) {
    for (const std::size_t unit : todo) shares[plan.units[unit].case_index];
    Progress progress(talk, progress_line, "survey", shares.size());
    for (auto& [case_index, layers] : shares) {
      layers = share_budgets(plan, case_index, output.threads, *backend, used);
      progress.finish_unit();
    }
  }

  Progress progress(talk, progress_line, "replay", todo.size());
  parallel_in_order(todo.size(), output.threads, [&](std::size_t i) {
    // The one that starts next, when one of those at work now ends.
    if (i + output.threads < todo.size()) prefetch_unit(plan, plan.units[todo[i + output.threads]]);
    const ReplayUnit& unit = plan.units[todo[i]];
    UnitShares mine = shares.empty() ? UnitShares{} : shares.at(unit.case_index)[unit.layer];
    journal.write(todo[i], replay_one(plan, unit, std::move(mine), output, *backend, used));
    progress.finish_unit();
  });
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  ReplayOptions replay;
  OutputOptions output;
  Options options(
      "replay [OPTIONS] TRACE... --output FILE",
      "Replays recorded attention through eviction policies, all budgets in one pass, and writes what each loses. "
      "Interrupted, it goes on where it stopped when the same command is run again.");
  declare(options, replay, output);
  if (!options.parse(args, out)) return 0;
  if (options.given("budget") && options.given("compression-ratio"))
    throw UsageError("--budget and --compression-ratio say the same thing; give one");
  if (options.given("compression-ratio") && replay.compression_ratios.empty())
    throw UsageError("--compression-ratio is empty");
  check_outputs(output);
  std::ostream silent(nullptr);
  std::ostream& talk = output.quiet ? silent : err;

  const auto start = std::chrono::steady_clock::now();
  const ReplayPlan plan = make_replay_plan(replay, talk);
  if (plan.traces.size() > 1 && !(output.retained.empty() && output.outputs.empty()))
    throw UsageError("--save-retained and --save-outputs go with one trace: their arrays are numbered by its samples");

  UnitJournal journal(output.results, journal_options(plan, output), output.force);
  std::vector<std::filesystem::path> extras;  // written so far
  try {
    with_threads(output.threads, [&] { replay_units(plan, output, journal, err); });
    const auto read_unit = [&](std::size_t unit) { return journal.read(unit); };
    if (!output.retained.empty()) {
      write_retained_file(output.retained, plan, read_unit);
      extras.emplace_back(output.retained);
    }
    if (!output.outputs.empty()) {
      write_outputs_file(output.outputs, plan, read_unit);
      extras.emplace_back(output.outputs);
    }
    write_dataset(output.results, assemble_results(plan, read_unit));
  } catch (const SystemError& error) {
    // The machine failed, not the input: what is done stays done. But all outputs appear together, or the same command
    // would be refused for one that exists.
    std::error_code ignored;
    for (const std::filesystem::path& path : extras) std::filesystem::remove(path, ignored);
    if (journal.empty()) {
      journal.remove();
      throw;
    }
    throw SystemError(fmt::format("{} (finished units are kept in {}: the same command goes on from there)",
                                  error.what(), journal.folder().string()));
  } catch (...) {
    journal.remove();
    throw;
  }
  journal.remove();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print(talk, "wrote {} (policies x budgets x cases x layers: {} x {} x {} x {}) in {}\n", output.results,
             plan.policies.size(), plan.budgets.values.size(), plan.cases.size(), plan.layers.size(),
             duration_text(seconds));
  return 0;
}

}  // namespace

Command replay_command() {
  return {.name = "replay", .summary = "replay traces through eviction policies, all budgets at once", .run = run};
}

}  // namespace kvreplay
