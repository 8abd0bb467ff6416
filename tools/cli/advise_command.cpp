// kvreplay advise: which policy and which budget, of traces that are replayed for it or of results that are there.

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <optional>
#include <set>
#include <sstream>

#include "analysis/compare/advice.h"
#include "analysis/compare/advice_json.h"
#include "core/base/error.h"
#include "core/base/printable.h"
#include "core/data/results.h"
#include "tools/cli/advice_description.h"
#include "tools/cli/backend_options.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt_note.h"
#include "tools/cli/interruption.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"
#include "tools/cli/replay_description.h"
#include "tools/cli/results_source.h"
#include "tools/cli/scratch_folder.h"
#include "tools/cli/terminal.h"
#include "tools/cli/trust_option.h"
#include "tools/replay/backend_choice.h"
#include "tools/replay/control_group.h"
#include "tools/replay/file_roles.h"
#include "tools/replay/lists.h"
#include "tools/replay/memory_size.h"
#include "tools/replay/output_file.h"
#include "tools/replay/output_files.h"
#include "tools/replay/replay_estimate.h"
#include "tools/replay/replay_plan.h"
#include "tools/replay/replay_run.h"
#include "tools/replay/verification.h"
#include "tools/replay/work_part.h"
#include "traces/results/dataset_file.h"

namespace kvreplay {
namespace {

struct CommandOptions {
  ReplayOptions replay;  ///< `traces` holds what was given, results too
  double loss = kDefaultLoss;
  std::string bytes, point, model, output, save, memory;
  std::size_t top = kAdviceRows;
  BackendOptions backend;
  bool json = false, force = false, quiet = false;
  std::size_t threads = usable_processors();
};

/// What is advised, and what is needed to say how it is verified.
struct Advised {
  Advice advice;
  std::vector<std::string> traces, files;
};

void declare(Options& options, CommandOptions& command) {
  options.positional("TRACE", command.replay.traces, 1);
  options.group("What may be lost");
  options.value("loss", command.loss, "NATS",
                "predicted KL per token, mean over all prompts, that the cache may cost: the smallest cache that holds "
                "it is looked for");
  options.value("bytes", command.bytes, "SIZE",
                "instead: what the cache of a prompt as long as these may weigh, 3.5MB or 1GiB, in the number format "
                "of the traces: the policy that loses least there is looked for");
  options.group("What to choose from");
  options.values("policy,p", command.replay.policies, "POLICY",
                 "as for replay; without it all that the traces can feed, but for oracles and slow references");
  options.value("budget,b", command.replay.budgets, "LIST", "budgets to measure at; between them lines are drawn");
  options.value("compression-point", command.point, "NAME",
                "where the policies act: a name in the traces or a position; without it the last named one");
  options.values("sample", command.replay.samples, "NAME", "only this sample; several");
  options.values("layer", command.replay.layers, "LIST", "only these layers: 0,5,10-20");
  options.value("seed", command.replay.seed, "N", "of everything random");
  options.group("Output");
  options.value("save", command.save, "FILE", "the advice as a file (JSON), which apply_live takes for a policy");
  options.flag("json", command.json, "print it as that object");
  options.value("top", command.top, "N", "policies to show");
  options.value("model", command.model, "PATH", "of the model, for the commands that are shown");
  options.value("output,o", command.output, "FILE",
                "keep the results of the replay, which compare and report read; without it they are gone");
  options.flag("force", command.force, "overwrite files");
  options.group("Running");
  declare_backend(options, command.backend);
  options.value("threads,j", command.threads, "N", "threads at work; the advice does not depend on it");
  options.value("memory", command.memory, "SIZE", "how much may be used, as for replay");
  options.flag("quiet,q", command.quiet, "say nothing but the advice and errors");
  declare_trust(options);
  options.example("kvreplay advise trace.h5");
  options.example("kvreplay advise prompts-*.h5 --loss 0.02 --save advice.json");
  options.example("kvreplay advise prompts-*.h5 --bytes 20MB -p snapkv,h2o,lava");
  options.example("kvreplay advise results.h5 --loss 0.1");
}

void check(const Options& options, const CommandOptions& command) {
  if (options.given("loss") && options.given("bytes"))
    throw UsageError("--loss and --bytes are two questions: give one");
  if (!(command.loss > 0) || std::isinf(command.loss))
    throw UsageError(
        fmt::format("--loss {}: expected nats above 0; the whole cache alone loses nothing", command.loss));
  if (options.given("bytes") && parse_memory("bytes", command.bytes) == 0)
    throw UsageError("--bytes 0: expected a size above 0");
  if (command.top == 0) throw UsageError("--top 0: one policy at least is shown");
  if (command.threads == 0) throw UsageError("--threads 0: at least one thread has to work");
  if (options.given("memory")) parse_memory("memory", command.memory);
}

void check_roles(const CommandOptions& command, std::span<const std::filesystem::path> inputs) {
  std::vector<OutputRole> outputs;
  if (!command.output.empty()) outputs.push_back({"--output", command.output});
  if (!command.save.empty()) outputs.push_back({"--save", command.save});
  check_file_roles(inputs, outputs);
}

AdviceOptions advice_options(const Options& options, const CommandOptions& command) {
  AdviceOptions asked{.loss = command.loss, .bytes = std::nullopt, .policies = {}, .point = {}};
  if (options.given("bytes")) asked.bytes = static_cast<double>(parse_memory("bytes", command.bytes));
  return asked;
}

/// Whether these are results. Throws UsageError where some are and others are not.
bool are_results(const std::vector<std::string>& paths) {
  std::set<bool> kinds;
  for (const std::string& path : paths) kinds.insert(InputFile(path).format().name == results::kFormat);
  if (kinds.size() > 1) throw UsageError("traces and results together: advise takes either");
  return *kinds.begin();
}

Advised advise_of_results(const Options& options, const CommandOptions& command) {
  for (const char* of_replay :
       {"budget", "sample", "layer", "seed", "output", "backend", "device", "threads", "memory"})
    if (options.given(of_replay))
      throw UsageError(fmt::format("--{} says how traces are replayed, and these are results", of_replay));
  AdviceOptions asked = advice_options(options, command);
  asked.policies = split_with_parameters(command.replay.policies);
  asked.point = command.point;
  std::vector<ResultsFile> files;
  for (const std::string& path : command.replay.traces)
    files.push_back({.name = path, .data = read_dataset(open_results(path))});
  Advised advised{.advice = advise(read_together(std::move(files)), asked), .traces = {}, .files = {}};
  for (const AdvisedTrace& trace : advised.advice.traces) advised.traces.push_back(trace.name);
  if (const AdvisedPolicy* const best = advised.advice.best()) try {
      advised.files = Policy(advised.advice.policies[best->policy].name).files();
    } catch (const Error&) {  // its files may be elsewhere by now
    }
  return advised;
}

/// The point that is advised on, as compare() chooses it: points are different tasks.
std::string choose_point(const CommandOptions& command) {
  if (!command.point.empty()) return command.point;
  ReplayOptions every = command.replay;
  every.policies = {"random"};  // which any trace can feed
  every.metrics = {"kept_fraction"};
  std::ostringstream silent;
  const ReplayPlan plan = make_replay_plan(every, silent);
  std::vector<std::string> points;
  for (const ReplayCase& each : plan.cases)
    if (std::ranges::find(points, each.point.name) == points.end()) points.push_back(each.point.name);
  return points.back();
}

void check_plan(const ReplayPlan& plan) {
  for (const ReplayCase& each : plan.cases)
    if (plan.sensitivity(each) == nullptr)
      throw InputError(
          fmt::format("{}: case {} has no sensitivities, from which the loss is predicted: record it with kvreplay "
                      "record --sensitivity 8",
                      plan.traces[each.trace]->path().string(), each.label));
  if (std::ranges::all_of(plan.policies, &Policy::oracle))
    throw UsageError("--policy names oracles alone, which no live system can run");
}

/// Replays into a file. \return false when it was there already, written by the same replay
void replay_into(const std::string& results, const ReplayPlan& plan, const CommandOptions& command,
                 BackendChoice& backend, std::ostream& err) {
  std::ostream silent(nullptr);
  std::ostream& talk = command.quiet ? silent : err;
  const bool is_kept = !command.output.empty();
  OutputFiles files;
  files.results = results;
  files.force = command.force;
  const WorkPart part = part_of_work(plan, std::nullopt, {}, command.threads, allowed_memory(command.memory));
  std::optional<Progress> line;
  std::optional<InterruptNote> note;
  std::optional<Interruption> interruption;
  if (!is_kept) interruption.emplace();
  const auto begin = [&](std::size_t, double flops) {
    line.emplace(err, progress_form(err, command.quiet), "replay", flops, flops_text(flops));
    if (is_kept && &err == &std::cerr)
      note.emplace("interrupted; the same command goes on from there (finished units are in " + results + ".units)");
  };
  const auto advance = [&](double flops) {
    if (!is_kept) Interruption::check();
    line->advance(flops);
  };
  run_replay(plan, part, files, backend,
             {.begin = begin, .advance = advance, .note = [&](const std::string& text) { line->note(talk, text); }});
}

Advised advise_of_traces(const Options& options, CommandOptions& command, std::ostream& err) {
  std::ostream silent(nullptr);
  std::ostream& talk = command.quiet ? silent : err;
  BackendChoice backend(command.backend, talk);
  const std::string point = choose_point(command);
  command.replay.compression_points = {point};
  command.replay.metrics = {"predicted_kl", "kept_fraction", "bytes"};
  command.replay.contestants = true;
  std::ostringstream notes;  // said when everything has been checked
  const ReplayPlan plan = make_replay_plan(command.replay, notes);
  check_plan(plan);
  check_roles(command, plan.inputs);  // what policies name, too
  talk << notes.str();
  std::optional<ScratchFolder> scratch;
  if (command.output.empty()) scratch.emplace();
  const std::string results = scratch ? (scratch->path() / "results.h5").string() : command.output;
  replay_into(results, plan, command, backend, err);
  if (!scratch) fmt::print(talk, "wrote {}\n", printable(results));

  std::vector<ResultsFile> files;
  files.push_back({.name = results, .data = read_dataset(results)});
  Advised advised{
      .advice = advise(read_together(std::move(files)), advice_options(options, command)), .traces = {}, .files = {}};
  std::set<std::size_t> used;
  for (const ReplayCase& each : plan.cases) used.insert(each.trace);
  for (const std::size_t t : used) advised.traces.push_back(plan.traces[t]->path().string());
  if (const AdvisedPolicy* const best = advised.advice.best()) {
    const std::string& name = advised.advice.policies[best->policy].name;
    advised.files = std::ranges::find(plan.policies, name, &Policy::name)->files();
  }
  return advised;
}

std::vector<std::string> commands_for(const Advised& advised, const CommandOptions& command) {
  const AdvisedPolicy* const best = advised.advice.best();
  if (best == nullptr || advised.advice.fits_whole()) return {};
  return verification_commands({.traces = advised.traces,
                                .model = command.model,
                                .policy = advised.advice.policies[best->policy].name,
                                .budget = best->budget,
                                .compression_point = advised.advice.point,
                                .samples = command.replay.samples,
                                .layers = command.replay.layers,
                                .seed = command.replay.seed});
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  CommandOptions command;
  Options options(
      "advise [OPTIONS] TRACE...",
      "Says which policy to use and how small the cache may be, by the predicted KL of the model's next tokens and its "
      "uncertainty over the prompts, and how to verify it in the live model. Results of a replay may stand in place of "
      "the traces.");
  declare(options, command);
  if (!options.parse(args, out)) return 0;
  check(options, command);
  const std::vector<std::filesystem::path> inputs(command.replay.traces.begin(), command.replay.traces.end());
  check_roles(command, inputs);
  std::optional<OutputFile> save;
  if (!command.save.empty()) save.emplace(command.save, command.force);
  if (!command.output.empty()) check_output(command.output, command.force);

  Advised advised;
  try {
    advised = are_results(command.replay.traces) ? advise_of_results(options, command)
                                                 : advise_of_traces(options, command, err);
  } catch (const Interrupted&) {
    save.reset();
    Interruption::end();
  }
  const std::vector<std::string> commands = commands_for(advised, command);
  const std::string json = advice_json(
      advised.advice, {.creator = "kvreplay " KVREPLAY_VERSION, .commands = commands, .files = advised.files});
  if (save) {
    save->stream() << json;
    save->commit();
    if (!command.quiet) fmt::print(err, "wrote {}\n", printable(command.save));
  }
  if (command.json) {
    out << json;
    return 0;
  }
  TextStyle style = text_style(out);
  style.width = std::min(style.width, TextStyle::kWidth);
  out << describe_advice(advised.advice, commands, command.top, style);
  return 0;
}

}  // namespace

Command advise_command() {
  return {.name = "advise", .summary = "say which policy to use, and how small the cache may be", .run = run};
}

}  // namespace kvreplay
