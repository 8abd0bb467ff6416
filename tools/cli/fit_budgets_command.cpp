// kvreplay fit-budgets: traces to a table of head budgets.

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <numeric>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/printable.h"
#include "core/base/quoted.h"
#include "tools/cli/backend_options.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"
#include "tools/cli/trust_option.h"
#include "tools/replay/backend_choice.h"
#include "tools/replay/budget_fit.h"
#include "tools/replay/case_weights.h"
#include "tools/replay/control_group.h"
#include "tools/replay/file_roles.h"
#include "tools/replay/lists.h"
#include "tools/replay/memory_size.h"
#include "tools/replay/output_file.h"
#include "tools/replay/replay_estimate.h"
#include "tools/replay/replay_plan.h"
#include "traces/learned/learned_policy_file.h"

namespace kvreplay {
namespace {

// A line on the table, and for each of its tabulated totals the smallest and largest share of a head and the damage
// beside that of uniform budgets, on the prompts that it was fitted on.
void report_fit(std::ostream& out, const LearnedPolicy& table) {
  const LearnedBudgets& budgets = *table.budgets;
  const std::size_t n_points = budgets.grid.size(), n_heads = budgets.curve.size() / n_points;
  fmt::print(out, "budgets of {} heads in {} layers for {}, damage {}, from {} prompts of {:.0f} tokens on average\n",
             n_heads, table.layers.size(), budgets.scorer, budgets.metric, budgets.trained_on.size(),
             budgets.prompt_length);
  fmt::print(out, "  mean kept   a head keeps      damage of these, as a share of uniform budgets'\n");
  for (std::size_t r = 0; r < budgets.retained.size(); ++r) {
    const auto shares = std::span(budgets.fraction).subspan(r * n_heads, n_heads);
    double learned = 0, uniform = 0;
    for (std::size_t h = 0; h < n_heads; ++h) {
      const auto begin = budgets.curve.begin() + static_cast<std::ptrdiff_t>(h * n_points);
      const std::vector<double> curve(begin, begin + static_cast<std::ptrdiff_t>(n_points));
      learned += damage_at(budgets.grid, curve, double{shares[h]});
      uniform += damage_at(budgets.grid, curve, budgets.retained[r]);
    }
    fmt::print(out, "  {:7.0f} %   {:4.1f} to {:5.1f} %   {}\n", 100 * budgets.retained[r],
               100 * double{std::ranges::min(shares)}, 100 * double{std::ranges::max(shares)},
               uniform > 0 ? fmt::format("{:.2f}", learned / uniform) : "-");
  }
}

constexpr std::size_t kFewPrompts = 4, kLeastPrompts = 2;

struct CommandOptions {
  ReplayOptions replay;
  std::string scorer, output, memory;
  std::string metric = "auto";
  FitOptions fit;
  BackendOptions backend;
  bool force = false, quiet = false;
  std::size_t threads = usable_processors();
};

void declare(Options& options, CommandOptions& command) {
  options.positional("TRACE", command.replay.traces, 1);
  options.group("What to learn from");
  options.value("scorer,s", command.scorer, "SCORER",
                "ranks the tokens: SCORER[:PARAM=VALUE,...][+MODIFIER...]; required. What was learned by a network "
                "goes into the output with the budgets (lkv:file=FILE,trained=fold: curves come from networks that "
                "have not seen the prompt)");
  options.values("compression-point", command.replay.compression_points, "NAME",
                 "where tokens are evicted: a name in the trace or a position; without it every named one");
  options.values("sample", command.replay.samples, "NAME", "only this sample; several");
  options.values("layer", command.replay.layers, "LIST", "only these layers: 0,5,10-20");
  options.value("seed", command.replay.seed, "N", "of scorers that draw");
  options.group("Budgets");
  options.choice("metric", command.metric, {"auto", "fisher", "abs"},
                 "damage: predicted KL of the head alone, from sensitivities (kvreplay record --sensitivity), or "
                 "||W_O (o' - o)||^2, a poor stand-in; auto: fisher where the traces have sensitivities");
  options.value("uniform-mix", command.fit.uniform_mix, "SHARE", "of every budget, this share goes to all heads alike");
  options.value("least", command.fit.least_tokens, "TOKENS", "every head keeps so many");
  options.value("sinks", command.fit.keep_first, "TOKENS", "every head keeps so many of the first tokens");
  options.group("Output");
  options.value("output,o", command.output, "FILE", "the table, format kvlkv-1 (docs/formats/learned.md); required");
  options.flag("force", command.force, "overwrite the output");
  options.group("Running");
  declare_backend(options, command.backend);
  options.value("threads,j", command.threads, "N", "threads at work; the table does not depend on it");
  options.value("memory", command.memory, "SIZE", "how much may be used, as for replay");
  options.flag("quiet,q", command.quiet, "say nothing but errors and warnings");
  declare_trust(options);
  options.example("kvreplay fit-budgets train-*.h5 --scorer snapkv -o table.h5");
  options.example("kvreplay replay trace.h5 -p snapkv+learned:table=table.h5 -b 0.1,0.25 -o results.h5");
  options.example("kvreplay fit-budgets train-*.h5 --scorer lkv:file=lkv.h5,trained=fold -o policy.h5");
  options.example("kvreplay replay trace.h5 -p lkv:file=policy.h5 -b 0.1,0.25 -o results.h5");
}

void check(const Options& options, const CommandOptions& command) {
  if (command.scorer.empty()) throw UsageError("fit-budgets needs --scorer SCORER");
  if (command.output.empty()) throw UsageError("fit-budgets needs --output FILE");
  if (!(command.fit.uniform_mix >= 0 && command.fit.uniform_mix <= 1))
    throw UsageError(fmt::format("--uniform-mix {}: expected a share from 0 to 1", command.fit.uniform_mix));
  if (command.fit.least_tokens == 0) throw UsageError("--least 0: a head keeps at least one token");
  if (command.threads == 0) throw UsageError("--threads 0: at least one thread has to work");
  if (options.given("memory")) parse_memory("memory", command.memory);
}

// The policy that gives every head the same: a bare name may be that of a preset with budgets.
std::string ranking_policy(const std::string& scorer) {
  if (split_with_parameters({scorer}).size() != 1)
    throw UsageError(fmt::format("--scorer '{}': a table is of one scorer", scorer));
  std::string text = scorer;
  if (find_unquoted(text, "+") == std::string::npos && find_scorer(text.substr(0, text.find(':')))) text += "+uniform";
  const Policy policy(text);
  if (!policy.allocators().empty())
    throw UsageError(fmt::format("--scorer '{}' has budgets of its own ('{}'): give a scorer, and modifiers at most",
                                 scorer, policy.allocators().front()->name));
  return text;
}

// The damage that these traces can tell. Warns where it is the lesser one.
std::string choose_metric(const ReplayPlan& plan, const std::string& asked, std::ostream& err) {
  const auto lacks = [&](const ReplayCase& each) { return plan.sensitivity(each) == nullptr; };
  const auto n_lacking = static_cast<std::size_t>(std::ranges::count_if(plan.cases, lacks));
  if (asked != "abs") {
    if (n_lacking == 0) return "fisher";
    const std::string& label = std::ranges::find_if(plan.cases, lacks)->label;
    if (asked == "fisher" || n_lacking < plan.cases.size())
      throw InputError(
          fmt::format("case {} has no sensitivities{} (kvreplay record --sensitivity makes them; "
                      "--metric abs does without)",
                      label, n_lacking < plan.cases.size() ? ", others have" : ""));
  }
  for (const ReplayUnit& unit : plan.units)
    if (const LayerInfo& layer = plan.layer(unit); !layer.has_output_projection)
      throw InputError(fmt::format("{}: {}no W_O is recorded in layer {}: there is nothing to measure damage by",
                                   plan.traces[plan.cases[unit.case_index].trace]->path().string(),
                                   asked == "abs" ? "" : "no sensitivities, and ", layer.index));
  fmt::print(err,
             "warning: {}; damage is ||W_O (o' - o)||^2 instead of predicted KL. Expect half of the gain at budgets of "
             "15 to 25 %, and losses at 5 to 10 %\n",
             asked == "abs" ? "--metric abs" : "no sensitivities are recorded in these traces");
  return "abs";
}

void check_prompts(const ReplayPlan& plan, std::ostream& err) {
  for (const ReplayCase& each : plan.cases) {
    const SampleInfo& sample = plan.sample(each);
    if (sample.query_ranges.empty())
      throw InputError(fmt::format("case {}: no queries are recorded, and damage is what they lose", each.label));
    if (std::ranges::find(sample.token_ids, kUnknownToken) != sample.token_ids.end())
      throw InputError(
          fmt::format("case {}: its token ids are not recorded, and prompts are told apart by them", each.label));
  }
  const std::size_t n = prompts_of(plan).size();
  if (n < kLeastPrompts)
    throw InputError(fmt::format("{} prompt: budgets need at least {} different ones", n, kLeastPrompts));
  if (n < kFewPrompts) fmt::print(err, "warning: {} prompts are few: {} to 16 give steadier budgets\n", n, kFewPrompts);
}

std::size_t max_at_once(const ReplayPlan& plan, const CommandOptions& command) {
  std::vector<std::size_t> units(plan.units.size());
  std::iota(units.begin(), units.end(), std::size_t{0});
  return units_in_flight(plan, unit_costs(plan, {}), units, command.threads, allowed_memory(command.memory), false);
}

// The file whose scorer the output takes along; empty for none.
std::optional<InputFile> scorer_file(const ReplayPlan& plan, const LearnedPolicy& table, std::ostream& err) {
  const LearnedPolicy* scorer = plan.policies.front().learned_scorer();
  if (scorer == nullptr) return std::nullopt;
  if (scorer->layers == table.layers && scorer->model_id == table.model_id) {
    InputFile file(scorer->path);
    if (file.bytes().fingerprint() == scorer->digest) return file;
    throw InputError(fmt::format("{}: it has changed since its scorer was read", scorer->path.string()));
  }
  fmt::print(err, "warning: the scorer of {} is of other layers or of another model: the output holds budgets alone\n",
             scorer->path.string());
  return std::nullopt;
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  CommandOptions command;
  Options options("fit-budgets [OPTIONS] TRACE... --scorer SCORER --output FILE",
                  "Learns from traces what each head should keep: measures what the model loses through each head at "
                  "rising budgets, averages over prompts, and writes the curves and the budgets that lose least. "
                  "SCORER+learned:table=FILE replays them, on other prompts.");
  declare(options, command);
  if (!options.parse(args, out)) return 0;
  check(options, command);
  const OutputRole role{"--output", command.output};
  const std::vector<std::filesystem::path> traces(command.replay.traces.begin(), command.replay.traces.end());
  check_file_roles(traces, {&role, 1});
  check_output(command.output, command.force);
  std::ostream silent(nullptr);
  std::ostream& talk = command.quiet ? silent : err;

  const auto start = std::chrono::steady_clock::now();
  BackendChoice backend(command.backend, talk);
  command.replay.policies = {ranking_policy(command.scorer)};
  command.replay.metrics = {"kept_fraction"};
  command.replay.strict = true;
  ReplayPlan plan = make_replay_plan(command.replay, talk);
  check_file_roles(plan.inputs, {&role, 1});  // the scorer's file, too
  if (command.fit.keep_first > 0)
    plan.policies.front().add_modifier({"protect", fmt::format("sinks={}", command.fit.keep_first)});
  check_prompts(plan, err);
  const std::string metric = choose_metric(plan, command.metric, err);
  // What the slices of the traces must hold.
  plan.metrics = plan.computed = {ChosenMetric(metric == "fisher" ? "predicted_kl" : "head_projected_error")};
  command.fit.max_at_once = max_at_once(plan, command);

  LearnedPolicy table;
  {
    Progress progress(err, progress_form(err, command.quiet), "fit", static_cast<double>(plan.units.size()),
                      fmt::format("{} units", plan.units.size()));
    command.fit.unit_done = [&] { progress.advance(1); };
    with_threads(command.threads, [&] { table = fit_budgets(plan, metric, command.fit, backend); });
  }
  write_learned_policy_file(command.output, table, scorer_file(plan, table, err));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!command.quiet) {
    report_fit(out, table);
    fmt::print(err, "wrote {} in {}\n", printable(command.output), duration_text(seconds));
  }
  return 0;
}

}  // namespace

Command fit_budgets_command() {
  return {.name = "fit-budgets", .summary = "learn head budgets from traces, for SCORER+learned", .run = run};
}

}  // namespace kvreplay
