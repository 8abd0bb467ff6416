// kvreplay replay: traces through policies at all budgets, to a results file.

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>
#include <thread>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "tools/cli/backend_options.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"
#include "tools/cli/replay_description.h"
#include "tools/replay/backend_choice.h"
#include "tools/replay/memory_size.h"
#include "tools/replay/output_files.h"
#include "tools/replay/replay_estimate.h"
#include "tools/replay/replay_plan.h"
#include "tools/replay/results_assembly.h"
#include "tools/replay/results_frame.h"
#include "tools/replay/shard_file.h"
#include "tools/replay/shards.h"
#include "tools/replay/unit_extras.h"
#include "tools/replay/unit_journal.h"
#include "tools/replay/unit_runner.h"

namespace kvreplay {
namespace {

struct OutputOptions {
  std::string results;
  std::string retained;
  std::string outputs;
  std::string shard;
  std::string memory;
  BackendOptions backend;
  bool force = false;
  bool quiet = false;
  bool dry_run = false;
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
  declare_backend(options, output.backend);
  options.value("threads,j", output.threads, "N", "threads at work; the results do not depend on it");
  options.value("memory", output.memory, "SIZE",
                "how much may be used: as many units are replayed at a time as are estimated to fit. 800MB (powers of "
                "1000), 4GiB (of 1024), or bytes; without it nine tenths of what the machine has available");
  options.value("shard", output.shard, "I/N",
                "replay only the I-th of N shares of equal work, on this machine; RESULTS.shard-I-of-N.h5 is written "
                "instead of RESULTS.h5, and `kvreplay merge` makes of all N what one replay would have written. "
                "--save-retained and --save-outputs put their part into the shard");
  options.flag("dry-run", output.dry_run, "say what would be replayed and what that takes, and write nothing");
  options.flag("quiet,q", output.quiet, "say nothing but errors");
  options.example("kvreplay replay trace.h5 -o results.h5");
  options.example("kvreplay replay trace.h5 -o results.h5 --dry-run");
  options.example("kvreplay replay trace.h5 -o results.h5 --shard 2/4");
  options.example("kvreplay replay trace.h5 -p snapkv -p snapkv:window=32+ada -b 0.05:1:8 -o results.h5");
  options.example(
      "kvreplay replay trace.h5 -p knorm,tova --compression-ratio 0.25,0.5,0.75 --save-retained sets.h5 -o r.h5");
}

KeptExtras kept_of(const OutputOptions& output) {
  return {.retained = !output.retained.empty(), .outputs = !output.outputs.empty()};
}

// A shard keeps sets and outputs in its own file.
OutputFiles files_of(const OutputOptions& output, const std::optional<Shard>& shard) {
  if (output.results.empty()) throw UsageError("replay needs --output FILE");
  if (shard)
    return {.results = shard_path(output.results, *shard), .retained = "", .outputs = "", .force = output.force};
  return {.results = output.results, .retained = output.retained, .outputs = output.outputs, .force = output.force};
}

// What this process replays, and how.
struct Share {
  std::optional<Shard> shard;
  std::vector<std::size_t> units;  // ascending
  std::vector<UnitCost> costs;     // [n_units] of the plan
  std::vector<double> flops;       // [n_units] of the plan
  std::size_t memory = 0;          // bytes; 0: unknown
  std::size_t in_flight = 1;
};

Share share_of(const ReplayPlan& plan, const OutputOptions& output, const std::optional<Shard>& shard) {
  constexpr double kPartOfAvailable = 0.9;
  Share share{.shard = shard, .units = {}, .costs = unit_costs(plan, kept_of(output)), .flops = {}};
  share.flops = flops_of(share.costs);
  share.units = units_of(plan, shard.value_or(Shard{}), share.flops);
  share.memory = output.memory.empty()
                     ? static_cast<std::size_t>(kPartOfAvailable * static_cast<double>(available_memory()))
                     : parse_memory("memory", output.memory);
  share.in_flight = units_in_flight(plan, share.costs, share.units, output.threads, share.memory, !shard);
  return share;
}

Dataset replay_one(const ReplayPlan& plan, const ReplayUnit& unit, UnitShares shares, const OutputOptions& output,
                   BackendChoice& backend, UsedSlices& used) {
  UnitResult result;
  backend.with(
      [&](Backend& chosen) { result = replay_unit(plan, unit, shares, !output.outputs.empty(), chosen, used); });
  Dataset entry = unit_dataset(plan, unit, result);
  if (!output.retained.empty()) append_retained(result, entry);
  if (!output.outputs.empty())
    append_outputs(result, plan.sample(plan.cases[unit.case_index]).query_positions(), entry);
  return entry;
}

// Replays what the journal lacks.
void replay_units(const ReplayPlan& plan, const Share& share, const OutputOptions& output, const UnitJournal& journal,
                  BackendChoice& backend, std::ostream& talk) {
  std::vector<std::size_t> todo;
  for (const std::size_t unit : share.units)
    if (!journal.has(unit)) todo.push_back(unit);
  if (todo.size() < share.units.size() && !output.quiet)
    fmt::print(talk, "taking up an interrupted replay: {} of {} units are done\n", share.units.size() - todo.size(),
               share.units.size());

  // Long ones first, so that no thread is left alone with one at the end.
  std::ranges::stable_sort(todo, std::greater{}, [&](std::size_t unit) { return share.flops[unit]; });
  UsedSlices used;
  const bool progress_line = !output.quiet && &talk == &std::cerr && isatty(STDERR_FILENO);
  Progress progress(talk, progress_line, "replay", todo.size());
  const auto replay_all = [&](std::span<const std::size_t> units, const std::vector<UnitShares>& shares) {
    parallel_in_order(units.size(), share.in_flight, [&](std::size_t i) {
      // The one that starts next, when one of those at work now ends.
      if (i + share.in_flight < units.size()) prefetch_unit(plan, plan.units[units[i + share.in_flight]]);
      const ReplayUnit& unit = plan.units[units[i]];
      UnitShares mine = shares.empty() ? UnitShares{} : shares[unit.layer];
      journal.write(units[i], replay_one(plan, unit, std::move(mine), output, backend, used));
      progress.finish_unit();
    });
  };
  if (std::ranges::none_of(plan.policies, &Policy::shares_between_layers)) return replay_all(todo, {});

  // Before any layer can be replayed, policies that split budgets between layers have to see them all. Case by case:
  // what is seen of one is held no longer than its units need it, and is all that a killed replay has to see again.
  while (!todo.empty()) {
    const std::size_t case_index = plan.units[todo.front()].case_index;
    std::vector<std::size_t> units, later;
    for (const std::size_t unit : todo) (plan.units[unit].case_index == case_index ? units : later).push_back(unit);
    std::vector<UnitShares> shares;
    backend.with([&](Backend& chosen) { shares = share_budgets(plan, case_index, share.in_flight, chosen, used); });
    replay_all(units, shares);
    todo = std::move(later);
  }
}

void write_shard(const ReplayPlan& plan, const Share& share, const OutputOptions& output, const OutputFiles& files,
                 const UnitReader& read_unit, const UnitJournal& journal) {
  std::vector<std::unique_ptr<NewFile>> written;
  written.push_back(
      write_shard_file(files.results, results_frame(plan), *share.shard, kept_of(output), share.units, read_unit));
  journal.publish(written);
}

void describe(const ReplayPlan& plan, const Share& share, const OutputOptions& output, std::ostream& out) {
  const std::size_t n_done = output.results.empty()
                                 ? 0
                                 : UnitJournal::n_left(files_of(output, share.shard).results,
                                                       journal_options(plan.options, kept_of(output)), output.force);
  out << describe_replay(
      plan, {.shard = share.shard,
             .units = share.units,
             .n_done = n_done,
             .costs = share.costs,
             .n_threads = output.threads,
             .in_flight = share.in_flight,
             .memory_limit = share.memory,
             .memory = estimate_memory(plan, share.costs, share.units, output.threads, share.in_flight, !share.shard)});
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
  if (output.threads == 0) throw UsageError("--threads 0: at least one thread has to work");
  const std::optional<Shard> shard = output.shard.empty() ? std::nullopt : std::optional(parse_shard(output.shard));
  if (!output.memory.empty()) parse_memory("memory", output.memory);
  OutputFiles files;
  if (!output.dry_run) {
    files = files_of(output, shard);
    check_output_files(files);
  }
  std::ostream silent(nullptr);
  std::ostream& talk = output.quiet ? silent : err;

  const auto start = std::chrono::steady_clock::now();
  // First of all: a GPU that was asked for may not be there.
  const auto backend = output.dry_run ? nullptr : std::make_unique<BackendChoice>(output.backend, talk);
  const ReplayPlan plan = make_replay_plan(replay, talk);
  if (plan.traces.size() > 1 && !(output.retained.empty() && output.outputs.empty()))
    throw UsageError("--save-retained and --save-outputs go with one trace: their arrays are numbered by its samples");
  const Share share = share_of(plan, output, shard);
  if (output.dry_run) {
    describe(plan, share, output, out);
    return 0;
  }

  UnitJournal journal(files.results, journal_options(plan.options, kept_of(output)), output.force);
  if (published_all(files)) {
    journal.remove();
    fmt::print(talk, "{} was there already, written by the same replay\n", files.results);
    return 0;
  }
  try {
    check_output_files(files);  // again: another replay may have finished before this one had the journal
    with_threads(output.threads, [&] { replay_units(plan, share, output, journal, *backend, err); });
    const auto read_unit = [&](std::size_t unit, DatasetPart part) { return journal.read(unit, part); };
    if (shard)
      write_shard(plan, share, output, files, read_unit, journal);
    else
      write_output_files(files, results_frame(plan), read_unit, journal);
  } catch (const SystemError& error) {
    // The machine failed, not the input: what is done stays done.
    if (journal.empty()) {
      journal.remove();
      throw;
    }
    throw SystemError(fmt::format("{} (finished units are kept in {}: the same command goes on from there)",
                                  error.what(), journal.folder().string()));
  } catch (const UsageError&) {
    if (journal.empty()) journal.remove();
    throw;
  } catch (...) {
    journal.remove();
    throw;
  }
  journal.remove();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::string part =
      shard ? fmt::format("; shard {}: {} of {} units", shard_text(*shard), share.units.size(), plan.units.size()) : "";
  fmt::print(talk, "wrote {} (policies x budgets x cases x layers: {} x {} x {} x {}{}) in {}\n", files.results,
             plan.policies.size(), plan.budgets.values.size(), plan.cases.size(), plan.layers.size(), part,
             duration_text(seconds));
  return 0;
}

}  // namespace

Command replay_command() {
  return {.name = "replay", .summary = "replay traces through eviction policies, all budgets at once", .run = run};
}

}  // namespace kvreplay
