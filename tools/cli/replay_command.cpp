// kvreplay replay: traces through policies at all budgets, to a results file.

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <optional>
#include <sstream>

#include "analysis/report/report_data.h"
#include "core/base/error.h"
#include "core/base/printable.h"
#include "tools/cli/backend_options.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt_note.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"
#include "tools/cli/replay_description.h"
#include "tools/cli/replay_plan_json.h"
#include "tools/cli/report_files.h"
#include "tools/cli/trust_option.h"
#include "tools/replay/backend_choice.h"
#include "tools/replay/control_group.h"
#include "tools/replay/memory_size.h"
#include "tools/replay/output_files.h"
#include "tools/replay/replay_plan.h"
#include "tools/replay/replay_run.h"
#include "tools/replay/shards.h"
#include "tools/replay/unit_journal.h"
#include "tools/replay/work_part.h"

namespace kvreplay {
namespace {

struct OutputOptions {
  std::string results;
  std::string retained;
  std::string outputs;
  std::string report;
  std::string shard;
  std::string memory;
  BackendOptions backend;
  bool force = false;
  bool quiet = false;
  bool dry_run = false;
  bool json = false;
  std::size_t threads = usable_processors();
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
  options.choice("rounding", replay.rounding,
                 {std::string(name_of(RatioRounding::kvpress)), std::string(name_of(RatioRounding::kvpress_0_5_4))},
                 "of --compression-ratio: at least one token is kept below a ratio of 1, as kvpress does since 0.5.5, "
                 "or as many as int(tokens * (1 - ratio)) comes to, perhaps none, as it did before");
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
  options.flag("strict", replay.strict,
               "refuse a budget of more tokens than a prompt has, instead of keeping all of that prompt, and a policy "
               "that some case cannot feed, instead of leaving it out of that case");
  options.value("seed", replay.seed, "N", "of everything random");
  options.group("Output");
  options.value("output,o", output.results, "FILE", "the results; required");
  options.value("save-retained", output.retained, "FILE", "also write every retained set");
  options.value("save-outputs", output.outputs, "FILE", "also write the full-cache attention outputs");
  options.value(
      "report", output.report, "FILE",
      "also write a page (HTML) about the results, with the tokens that are kept: what `kvreplay report` makes "
      "of results and retained sets");
  options.value("date", replay.date, "DATE",
                "note this day in the results (2026-11-30, or with a time, 2026-11-30T12:00Z); without it they hold "
                "none, and the same replay writes the same bytes");
  options.flag("force", output.force, "overwrite outputs");
  options.group("Running");
  declare_backend(options, output.backend);
  options.value("threads,j", output.threads, "N",
                "threads at work; the results do not depend on it. Without it as many as this process may use "
                "(taskset, a job's or a container's limit)");
  options.value("memory", output.memory, "SIZE",
                "how much may be used: as many units are replayed at a time as are estimated to fit. 800MB (powers of "
                "1000), 4GiB (of 1024), or bytes; without it nine tenths of what the machine, or a job's or a "
                "container's limit, has available");
  options.value("shard", output.shard, "I/N",
                "replay only the I-th of N shares of equal work, on this machine; RESULTS.shard-I-of-N.h5 is written "
                "instead of RESULTS.h5, and `kvreplay merge` makes of all N what one replay would have written. "
                "--save-retained and --save-outputs put their part into the shard");
  options.flag("dry-run", output.dry_run, "say what would be replayed and what that takes, and write nothing");
  options.flag("json", output.json, "of --dry-run: say it as one object, every unit with its operations and bytes");
  options.flag("quiet,q", output.quiet, "say nothing but errors");
  declare_trust(options);
  options.example("kvreplay replay trace.h5 -o results.h5");
  options.example("kvreplay replay trace.h5 -o results.h5 --report report.html");
  options.example("kvreplay replay trace.h5 -o results.h5 --dry-run");
  options.example("kvreplay replay trace.h5 -o results.h5 --shard 2/4");
  options.example("kvreplay replay trace.h5 -p snapkv -p snapkv:window=32+ada -b 0.05:1:8 -o results.h5");
  options.example(
      "kvreplay replay trace.h5 -p knorm,tova --compression-ratio 0.25,0.5,0.75 --save-retained sets.h5 -o r.h5");
}

// A report shows retained sets; of several traces there are none.
KeptExtras kept_of(const OutputOptions& output, const ReplayPlan& plan) {
  const bool of_report = !output.report.empty() && plan.traces.size() == 1;
  return {.retained = !output.retained.empty() || of_report, .outputs = !output.outputs.empty()};
}

std::string page_of(const OutputOptions& output, const std::filesystem::path& results,
                    const std::filesystem::path& retained) {
  ReportInputs inputs;
  inputs.results = {results.string()};
  if (!retained.empty()) inputs.retained = {retained.string()};
  inputs.name = std::filesystem::path(output.results).filename().string();
  return make_report(inputs);
}

void check_report(const OutputOptions& output, const ReplayPlan& plan) {
  if (output.report.empty()) return;
  if (!output.shard.empty())
    throw UsageError("--report is about whole results: merge the shards, then `kvreplay report`");
  std::vector<std::string> metrics;
  for (const ChosenMetric& metric : plan.metrics) metrics.push_back(metric.name());
  require_headline(metrics);
}

void check_outputs(const OutputOptions& output, const ReplayPlan& plan) {
  if (output.outputs.empty()) return;
  for (const ReplayCase& each : plan.cases)
    if (plan.sample(each).query_ranges.empty())
      throw InputError(
          fmt::format("case {}: no queries are recorded, so that attention has no outputs to save", each.label));
}

// A shard keeps sets and outputs in its own file.
OutputFiles files_of(const OutputOptions& output, const std::optional<Shard>& shard) {
  if (output.results.empty()) throw UsageError("replay needs --output FILE");
  OutputFiles files;
  files.force = output.force;
  files.results = shard ? shard_path(output.results, *shard).string() : output.results;
  if (shard) return files;
  files.retained = output.retained;
  files.outputs = output.outputs;
  files.report = output.report;
  files.make_report = std::bind_front(page_of, output);
  return files;
}

std::size_t n_done(const ReplayPlan& plan, const OutputOptions& output, const std::optional<Shard>& shard) {
  if (output.results.empty()) return 0;
  return UnitJournal::n_left(files_of(output, shard).results, journal_options(plan.options, kept_of(output, plan)),
                             output.force);
}

// The inputs that can be told before any is opened.
std::vector<std::filesystem::path> named_inputs(const ReplayOptions& replay) {
  std::vector<std::filesystem::path> inputs(replay.traces.begin(), replay.traces.end());
  for (const std::string& text : replay.scores) inputs.emplace_back(text.substr(text.find('=') + 1));
  return inputs;
}

// Checks what options say together.
void check(const Options& options, const ReplayOptions& replay, const OutputOptions& output) {
  if (options.given("budget") && options.given("compression-ratio"))
    throw UsageError("--budget and --compression-ratio say the same thing; give one");
  if (options.given("rounding") && !options.given("compression-ratio"))
    throw UsageError("--rounding says how --compression-ratio is rounded; there is none");
  if (options.given("compression-ratio") && replay.compression_ratios.empty())
    throw UsageError("--compression-ratio is empty");
  if (output.json && !output.dry_run) throw UsageError("--json says how --dry-run speaks; results are HDF5");
  if (output.threads == 0) throw UsageError("--threads 0: at least one thread has to work");
}

}  // namespace

int run_replay_command(std::span<const std::string> args, std::ostream& out, std::ostream& err,
                       const ReplayHost& host) {
  ReplayOptions replay;
  OutputOptions output;
  Options options(
      "replay [OPTIONS] TRACE... --output FILE",
      "Replays recorded attention through eviction policies, all budgets in one pass, and writes what each loses. "
      "Interrupted, it goes on where it stopped when the same command is run again.");
  declare(options, replay, output);
  if (!options.parse(args, out)) return 0;
  check(options, replay, output);
  const std::optional<Shard> shard = output.shard.empty() ? std::nullopt : std::optional(parse_shard(output.shard));
  const std::size_t memory = allowed_memory(output.memory);
  OutputFiles files;
  if (!output.dry_run) {
    files = files_of(output, shard);
    check_output_files(files, named_inputs(replay));
  }
  std::ostream silent(nullptr);
  std::ostream& talk = output.quiet ? silent : err;

  const auto start = std::chrono::steady_clock::now();
  // First of all: a GPU that was asked for may not be there.
  const auto backend = output.dry_run ? nullptr : std::make_unique<BackendChoice>(output.backend, talk);
  std::ostringstream notes;  // said when everything has been checked
  const ReplayPlan plan = make_replay_plan(replay, notes);
  if (plan.traces.size() > 1 && !(output.retained.empty() && output.outputs.empty()))
    throw UsageError("--save-retained and --save-outputs go with one trace: their arrays are numbered by its samples");
  check_outputs(output, plan);
  check_report(output, plan);
  if (!output.dry_run) check_output_files(files, plan.inputs);  // what policies name, too
  talk << notes.str();
  const WorkPart part = part_of_work(plan, shard, kept_of(output, plan), output.threads, memory);
  if (output.dry_run) {
    const std::size_t done = n_done(plan, output, shard);
    out << (output.json ? replay_plan_json(plan, part, done) : describe_replay(plan, part, done));
    return 0;
  }

  std::optional<Progress> line;
  std::optional<InterruptNote> note;
  const auto begin = [&](std::size_t n_left, double flops) {
    if (n_left < part.units.size())
      fmt::print(talk, "taking up an interrupted replay: {} of {} units are done\n", part.units.size() - n_left,
                 part.units.size());
    line.emplace(err, output.quiet ? ProgressForm::none : host.progress, "replay", flops, flops_text(flops),
                 host.period);
    if (&err == &std::cerr)
      note.emplace("interrupted; the same command goes on from there (finished units are in " + files.results +
                   ".units)");
  };
  if (!run_replay(plan, part, files, *backend,
                  {.begin = begin,
                   .advance =
                       [&](double flops) {
                         host.keep_going();
                         line->advance(flops);
                       },
                   .note = [&](const std::string& text) { line->note(talk, text); }})) {
    fmt::print(talk, "{} was there already, written by the same replay\n", printable(files.results));
    return 0;
  }
  line.reset();
  note.reset();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::string of_shard =
      shard ? fmt::format("; shard {}: {} of {} units", shard_text(*shard), part.units.size(), plan.units.size()) : "";
  fmt::print(talk, "wrote {} (policies x budgets x cases x layers: {} x {} x {} x {}{}) in {}\n",
             printable(files.results), plan.policies.size(), plan.budgets.values.size(), plan.cases.size(),
             plan.layers.size(), of_shard, duration_text(seconds));
  if (!output.report.empty()) fmt::print(talk, "wrote {}\n", printable(output.report));
  return 0;
}

Command replay_command() {
  return {.name = "replay",
          .summary = "replay traces through eviction policies, all budgets at once",
          .run = [](std::span<const std::string> args, std::ostream& out, std::ostream& err) {
            return run_replay_command(args, out, err, {.keep_going = [] {}, .progress = progress_form(err, false)});
          }};
}

}  // namespace kvreplay
