// kvreplay compare: what the policies lose, side by side.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "analysis/compare/comparison.h"
#include "analysis/compare/comparison_csv.h"
#include "analysis/compare/comparison_json.h"
#include "analysis/compare/comparison_text.h"
#include "analysis/compare/verdict_text.h"
#include "core/base/error.h"
#include "core/contracts/metric.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"
#include "tools/cli/results_source.h"
#include "tools/cli/terminal.h"
#include "tools/cli/trace_description.h"
#include "tools/cli/trust_option.h"
#include "tools/replay/file_roles.h"
#include "tools/replay/lists.h"
#include "tools/replay/output_file.h"
#include "traces/results/dataset_file.h"

namespace kvreplay {
namespace {

const std::string kStdout = "-";

struct CompareOptions {
  std::vector<std::string> files, metrics, policies, cases, layers, at_most, at_least;
  std::optional<double> budget;
  std::string by = "all", against;
  std::string csv, json;
  bool surrogates = false;
  std::size_t top = kVerdictRows;
  bool all = false, tables = false, notes = false;
  bool force = false;

  /// Whether the text is the short one.
  bool is_short() const { return !tables && !surrogates && against.empty(); }
};

/// A metric as results call it: parameters in the order of their table, defaults left out. A name that this program
/// does not know is looked for as it is.
std::string canonical_metric(const std::string& text) {
  const std::string row = text.substr(0, text.find(':'));
  const bool known = std::ranges::find(all_metrics(), row, &Metric::name) != all_metrics().end();
  return known ? ChosenMetric(text).name() : text;
}

std::vector<std::string> canonical_metrics(std::vector<std::string> texts) {
  for (std::string& text : texts) text = canonical_metric(text);
  return texts;
}

/// "output_error=0.1,0.2,projected_error=0.3": a number without a name belongs to the metric before it. A metric with
/// parameters has commas and `=` of its own: "capacity:noise=1,weight=dot=0.9".
std::vector<Bound> parse_bounds(const char* option, const std::vector<std::string>& texts) {
  std::vector<Bound> bounds;
  std::string metric, begun;
  for (const std::string& part : split_list(texts)) {
    const std::string piece = begun + part;
    const bool ends_in_parameter =
        piece.find(':') != std::string::npos && std::count(part.begin(), part.end(), '=') == 1;
    if (ends_in_parameter) {
      begun = piece + ",";
      continue;
    }
    begun.clear();
    const std::size_t equals = piece.rfind('=');
    if (equals != std::string::npos) metric = piece.substr(0, equals);
    const std::string text = equals == std::string::npos ? piece : piece.substr(equals + 1);
    Bound bound{.metric = "", .value = 0};
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), bound.value);
    if (metric.empty() || error != std::errc() || stop != text.data() + text.size()) {
      throw UsageError(fmt::format("option '--{}' takes METRIC=VALUE,..., not '{}'", option, piece));
    }
    bound.metric = canonical_metric(metric);
    bounds.push_back(bound);
  }
  if (!begun.empty()) throw UsageError(fmt::format("option '--{}' takes METRIC=VALUE,..., not '{}'", option, begun));
  return bounds;
}

Level parse_level(const std::string& name) {
  for (const Level level : {Level::all, Level::by_case, Level::by_layer, Level::by_head}) {
    if (name == name_of(level)) return level;
  }
  throw UsageError(fmt::format("'{}' is no level", name));
}

ComparisonOptions comparison_options(const CompareOptions& options) {
  return {.metrics = canonical_metrics(split_with_parameters(options.metrics)),
          .policies = split_with_parameters(options.policies),
          .cases = options.cases,
          .layers = parse_index_list("layer", options.layers),
          .level = parse_level(options.by),
          .at_most = parse_bounds("at-most", options.at_most),
          .at_least = parse_bounds("at-least", options.at_least),
          .surrogates = options.surrogates,
          .against = options.against,
          .budget = options.budget,
          .advance = [](double) {}};
}

std::vector<ResultsFile> read_files(const std::vector<std::string>& names, std::ostream& err) {
  std::vector<ResultsFile> files;
  std::vector<std::uintmax_t> sizes;
  std::uintmax_t total = 0;
  for (const std::string& name : names) {
    std::error_code unknown;
    const std::uintmax_t size = std::filesystem::file_size(name, unknown);
    total += sizes.emplace_back(unknown ? 0 : size);
  }
  Progress progress(err, progress_form(err, false), "reading", static_cast<double>(total), bytes_text(total));
  for (const std::string& name : names) {
    files.push_back({.name = name, .data = read_dataset(open_results(name))});
    progress.advance(static_cast<double>(sizes[files.size() - 1]));
  }
  return files;
}

/// Where one kind of output goes: nowhere, to standard output, or to a file that is made sure of now.
class Target {
 public:
  Target(const std::string& name, bool overwrite) : to_stdout_(name == kStdout) {
    if (!name.empty() && !to_stdout_) file_.emplace(name, overwrite);
  }

  void write(const std::string& text, std::ostream& out) {
    if (to_stdout_) out << text;
    if (!file_) return;
    file_->stream() << text;
    file_->commit();
  }
  bool wanted() const { return to_stdout_ || file_; }

 private:
  bool to_stdout_;
  std::optional<OutputFile> file_;
};

void check_roles(const CompareOptions& given) {
  const std::vector<std::filesystem::path> inputs(given.files.begin(), given.files.end());
  std::vector<OutputRole> outputs;
  if (!given.csv.empty() && given.csv != kStdout) outputs.push_back({"--csv", given.csv});
  if (!given.json.empty() && given.json != kStdout) outputs.push_back({"--json", given.json});
  check_file_roles(inputs, outputs);
}

void check(const CompareOptions& given, const Options& options) {
  if (given.csv == kStdout && given.json == kStdout)
    throw UsageError("only one of --csv and --json can go to standard output");
  if (given.budget && given.by == "all" && given.against.empty() && !given.surrogates)
    throw UsageError("--budget says what --by, --against or --surrogates show; without --by all budgets are shown");
  if (given.surrogates && (given.by != "all" || !given.against.empty()))
    throw UsageError("--surrogates is a report of its own, by layer and head: leave out --by and --against");
  if (given.budget && *given.budget <= 0)
    throw UsageError(fmt::format("--budget {}: a budget is above 0", *given.budget));
  if (given.top == 0) throw UsageError("--top 0: a verdict shows one policy at least");
  if (given.all && options.given("top")) throw UsageError("--all shows every policy: leave out --top");
  for (const char* option : {"all", "top", "notes"})
    if (options.given(option) && !given.is_short())
      throw UsageError(fmt::format("--{} is of the short text: leave out {}", option,
                                   given.tables       ? "--tables"
                                   : given.surrogates ? "--surrogates"
                                                      : "--against"));
}

void declare(Options& options, CompareOptions& given) {
  options.positional("RESULTS", given.files, 1);
  options.group("What to compare");
  options.values("metric,m", given.metrics, "NAME,...",
                 fmt::format("metrics to rank by; by default the one nearest to the live model's loss; with --tables "
                             "those to show, by default {}, and in CSV and JSON all",
                             fmt::join(default_text_metrics(), ", ")));
  options.values("policy,p", given.policies, "NAME,...", "only these policies, by default all");
  options.values("case", given.cases, "NAME,...",
                 "only these cases: SAMPLE@POINT, all of a SAMPLE, or all of a @POINT; a name with commas alone, or in "
                 "double quotes");
  options.values("layer", given.layers, "LIST", "only these layers, such as 0,3,8-11");
  options.group("How");
  options.choice("by", given.by, {"all", "case", "layer", "head"}, "show each of these apart, at one budget");
  options.value("against", given.against, "POLICY",
                "compare all others with this policy: the budget at which each is as good, and paired differences of "
                "the areas; in the measure that policies are ranked by, unless --metric or --tables asks for others");
  options.flag("surrogates", given.surrogates,
               "instead of the tables: whether capacity, mutual information and attention recall order policies as "
               "the errors do, and how near each policy comes to the oracles");
  options.value("budget", given.budget, "BUDGET",
                "the budget at which --by, --against and --surrogates show something, the nearest one measured; by "
                "default the nearest to a quarter of the cache");
  options.values("at-most", given.at_most, "METRIC=VALUE,...",
                 "find the smallest budget that holds this; by default output_error=0.05,0.01, or "
                 "predicted_kl=0.1,0.01 where it ranks, and with --tables output_error=0.05,0.1,0.2");
  options.values("at-least", given.at_least, "METRIC=VALUE,...",
                 "the same where higher is better; with --tables by default 0.9, 0.95 and 0.99 of attention_recall, "
                 "capacity and mutual_information");
  options.group("Output");
  options.value("top", given.top, "N", "the best policies to show; snapkv, random and the oracle are shown besides");
  options.flag("all", given.all, "show every policy");
  options.flag("notes", given.notes, "instead of the ranking: everything that one should know of the figures");
  options.flag("tables", given.tables, "all measures in full, over all compression points together");
  options.value("csv", given.csv, "FILE", "write a long tidy table; - is standard output, instead of the text");
  options.value("json", given.json, "FILE",
                "write everything as one object; - is standard output, instead of the text");
  options.flag("force", given.force, "overwrite files");
  declare_trust(options);
  options.example("kvreplay compare results.h5");
  options.example("kvreplay compare monday.h5 tuesday.h5 --policy snapkv,h2o --by layer --budget 0.1");
  options.example("kvreplay compare results.h5 --against snapkv --budget 0.2");
  options.example("kvreplay compare results.h5 --surrogates");
  options.example("kvreplay compare results.h5 --at-most output_error=0.1 --csv curves.csv");
}

/// The verdict, or the notes alone.
std::string short_text(const Comparison& comparison, const CompareOptions& given, std::ostream& out) {
  TextStyle style = text_style(out);
  if (given.by == "all") style.width = std::min(style.width, TextStyle::kWidth);
  if (given.notes) return grouped_notes_text(comparison, style);
  return verdict_text(comparison, style, given.all ? std::nullopt : std::optional(given.top));
}

/// Against one policy everything is shown of the measure that policies are ranked by, unless others are asked for.
std::string long_text(const Comparison& comparison, const CompareOptions& given, std::vector<std::string> metrics) {
  if (!given.against.empty() && !given.tables && metrics.empty() && comparison.ranking)
    metrics = {comparison.ranking->metric};
  return comparison_text(comparison, metrics);
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  CompareOptions given;
  Options options(
      "compare [OPTIONS] RESULTS...",
      "Compares policies by their results: who loses least at which budget, the smallest cache that holds a bound, and "
      "what to beware of. With --tables, a table of policies and budgets for each metric, the area under each curve, "
      "and all notes. Several files are joined by case, layer and policy.");
  declare(options, given);
  if (!options.parse(args, out)) return 0;
  check(given, options);
  ComparisonOptions chosen = comparison_options(given);
  check_roles(given);
  Target csv(given.csv, given.force);
  Target json(given.json, given.force);

  ReadResults results = read_together(read_files(given.files, err));
  const bool has_text = given.csv != kStdout && given.json != kStdout;
  // CSV, JSON and tables are of all points together, a verdict is of one.
  const bool is_verdict = has_text && given.is_short();
  const bool is_full = csv.wanted() || json.wanted() || !is_verdict;
  std::optional<Progress> progress;
  progress.emplace(err, progress_form(err, false), "comparing", is_full && is_verdict ? 2 : 1, "the metrics");
  chosen.advance = [&](double share) { progress->advance(share); };
  std::string text;
  if (is_verdict) {
    ComparisonOptions of_verdict = chosen;
    of_verdict.verdict = true;
    text = short_text(compare(is_full ? results : std::move(results), of_verdict), given, out);
  }
  if (is_full) {
    const Comparison comparison = compare(std::move(results), chosen);
    if (csv.wanted())
      csv.write(comparison.surrogates ? surrogate_csv(*comparison.surrogates) : comparison_csv(comparison), out);
    if (json.wanted()) json.write(comparison_json(comparison), out);
    if (has_text && !is_verdict) text = long_text(comparison, given, chosen.metrics);
  }
  progress.reset();
  out << text;
  return 0;
}

}  // namespace

Command compare_command() { return {.name = "compare", .summary = "compare policies by their results", .run = run}; }

}  // namespace kvreplay
