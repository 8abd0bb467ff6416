#include "analysis/compare/verdict_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "analysis/compare/verdict_blocks.h"
#include "analysis/compare/verdict_words.h"
#include "core/base/counted.h"
#include "core/base/printable.h"
#include "core/base/shell_word.h"
#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

std::string paragraph(const std::string& text, const TextStyle& style) { return fitted(text, 2, style) + "\n"; }

/// "0-3,8": runs instead of long lists.
std::string layers_text(const std::vector<std::int64_t>& layers) {
  std::string text;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    text += text.empty() ? "" : ",";
    text += last > i + 1 ? fmt::format("{}-{}", layers[i], layers[last]) : fmt::to_string(layers[i]);
    i = last > i + 1 ? last + 1 : i + 1;
  }
  return text;
}

std::string head_text(const Comparison& comparison, const TextStyle& style) {
  constexpr std::size_t kLongest = 40;
  const std::size_t n_contest = contestants(comparison.policies).size();
  std::string text = fmt::format(
      "{}: {}", style.elided(comparison.model_id, std::min(kLongest, style.width - 2)),
      n_contest > 0 ? counted(n_contest, "policy", "policies") : counted(comparison.policies.size(), "reference"));
  text += fmt::format(" at {}, {}, ", counted(comparison.budgets.size(), "budget"),
                      counted(comparison.n_samples, "sample"));
  const std::string layers = style.elided(layers_text(comparison.layers), style.width / 3);
  if (comparison.model_layers == comparison.layers.size())
    text += "all " + counted(comparison.layers.size(), "layer");
  else
    text += (comparison.layers.size() == 1 ? "layer " : "layers ") + layers +
            (comparison.model_layers ? fmt::format(" of {}", *comparison.model_layers) : "");
  return paragraph(text, style);
}

/// Which of the points is shown: different tasks are never pooled.
std::string point_text(const Comparison& comparison, const TextStyle& style) {
  const auto name = [&](const std::string& point) { return style.elided(point, style.width / 2); };
  if (comparison.points.size() > 1)
    return paragraph(fmt::format("Points {}: different tasks, side by side", fmt::join(comparison.points, ", ")),
                     style);
  if (comparison.other_points.empty()) return paragraph("Point " + name(comparison.points.front()), style);
  std::vector<std::string> others;
  for (const std::string& point : comparison.other_points) others.push_back("--case " + shell_word("@" + name(point)));
  return paragraph(fmt::format("Point {}; another task: {}", name(comparison.points.front()), fmt::join(others, ", ")),
                   style);
}

/// Why the table is not of the metric that policies are ranked by.
std::string instead_text(const Comparison& comparison, const TextStyle& style) {
  const Verdict& verdict = *comparison.verdict;
  if (!verdict.asked_for.empty() || verdict.levels.empty() || !comparison.ranking) return "";
  const std::string& shown = comparison.metrics[verdict.levels.front().metric].pooled.metric;
  if (shown == comparison.ranking->metric) return "";
  return paragraph(fmt::format("Policies are ranked by {}, which has no {}s; here by {}", comparison.ranking->metric,
                               name_of(comparison.level), shown),
                   style);
}

std::string unranked_text(const Comparison& comparison, const TextStyle& style) {
  const Verdict& verdict = *comparison.verdict;
  std::string text;
  for (const std::string& sentence : verdict.not_ranked) text += "\n" + paragraph(sentence, style);
  if (!verdict.rankings.empty() || !verdict.levels.empty() || !verdict.not_ranked.empty()) return text;
  std::vector<std::string> held;
  for (const ComparedMetric& metric : comparison.metrics)
    if (std::ranges::find(held, metric.pooled.metric) == held.end()) held.push_back(metric.pooled.metric);
  return "\n" + paragraph(fmt::format("Nobody is ranked: these results hold no values of {}. --tables shows what they "
                                      "hold: {}",
                                      fmt::join(ranking_metrics(), ", "), fmt::join(held, ", ")),
                          style);
}

std::string spans_text(const Comparison& comparison, const TextStyle& style) {
  std::string text;
  for (const VerdictSpan& span : comparison.verdict->spans) {
    const std::string of = span.part == "needle" ? "its tokens" : style.elided(span.part, style.width / 4);
    std::string shares;
    for (std::size_t i = 0; i < span.shares.size(); ++i) {
      const std::string share = fmt::format("{:.0f} %", span.shares[i].kept * 100);
      const std::string name = policy_text(comparison, span.shares[i].policy, style);
      shares += i == 0 ? fmt::format("{} keeps {} of {}", name, share, of)
                       : fmt::format("{} {} {}", i == 1 ? ";" : ",", name, share);
    }
    text += labelled("Needle",
                     fmt::format("at {} {}", budget_text(comparison, span.budget, span.budget, style), shares), style);
  }
  return text;
}

std::string warnings_text(const Comparison& comparison, const TextStyle& style) {
  const Verdict& verdict = *comparison.verdict;
  std::string text = fmt::format("{}", fmt::join(verdict.warnings, "; "));
  if (!comparison.notes.empty())
    text += fmt::format("{}{} in all (--notes)", text.empty() ? "" : "; ", counted(comparison.notes.size(), "note"));
  if (text.empty()) return "";
  std::string lines = labelled("Beware", text, style);
  lines.pop_back();  // colour ends before the line does
  return style.warning(lines) + "\n";
}

struct NextCommand {
  std::string command, what;
};

/// What a reader may ask next, of those that these results can answer.
std::vector<NextCommand> next_commands(const Comparison& comparison, const std::string& files) {
  const std::string compare = "kvreplay compare " + files;
  if (comparison.level != Level::all)
    return {{fmt::format("{} --by {} --budget {} --tables", compare, name_of(comparison.level),
                         comparison.budgets[comparison.level_budget]),
             "all measures in full"}};
  std::vector<NextCommand> commands{
      {"kvreplay report " + files + " -o report.html", "to look at, in a browser"}};
  const std::vector<std::size_t> contest = contestants(comparison.policies);
  if (comparison.policies.size() > 1 && !contest.empty()) {
    std::vector<std::string> names;
    for (const ComparedPolicy& policy : comparison.policies) names.push_back(policy.name);
    const std::size_t against = find_policy(names, "snapkv").value_or(contest.front());
    constexpr std::size_t kLongest = 40;
    const std::string word = names[against].size() > kLongest ? "POLICY" : shell_word(names[against]);
    // Tables of all points pool them, which are different tasks.
    const std::string point =
        comparison.other_points.empty() ? "" : " --case " + shell_word("@" + comparison.points.front());
    commands.push_back(
        {fmt::format("{} --against {}{}", compare, word, point), "how much cache others need"});
  }
  if (comparison.layers.size() > 1)
    commands.push_back(
        {fmt::format("{} --by layer --budget {}", compare, comparison.budgets[budget_near(comparison, 0.1)]),
         "where it is lost"});
  commands.push_back({compare + " --tables", "all measures in full"});
  return commands;
}

std::string next_text(const Comparison& comparison, const TextStyle& style) {
  std::vector<std::string> words;
  for (const std::string& file : comparison.files) words.push_back(shell_word(printable(file)));
  const auto longest = [](const std::vector<NextCommand>& commands) {
    std::size_t width = 0;
    for (const NextCommand& next : commands) width = std::max(width, display_width(next.command));
    return width;
  };
  constexpr std::size_t kIndent = 2;
  std::vector<NextCommand> commands = next_commands(comparison, fmt::format("{}", fmt::join(words, " ")));
  if (kIndent + longest(commands) > style.width) commands = next_commands(comparison, "RESULTS...");
  const std::size_t column = longest(commands);
  std::string text = "\nNext\n";
  for (const auto& [command, what] : commands) {
    const bool fits = kIndent + column + 1 + display_width(what) <= style.width;
    const std::string line = fits ? command + std::string(column - display_width(command), ' ') + " " + what
                                  : wrapped(command, 2 * kIndent, style.width - 2 * kIndent);
    text += std::string(kIndent, ' ') + line + "\n";
  }
  return text;
}

}  // namespace

std::string verdict_text(const Comparison& comparison, const TextStyle& style, std::optional<std::size_t> n_best) {
  const Verdict& verdict = *comparison.verdict;
  std::string text = head_text(comparison, style) + point_text(comparison, style);
  text += instead_text(comparison, style);
  for (std::size_t i = 0; i < verdict.rankings.size(); ++i)
    text += (i > 0 ? "\n" : "") + ranking_text(comparison, verdict.rankings[i], style, n_best);
  for (const LevelTable& table : verdict.levels) text += level_text(comparison, table, style, n_best);
  text += unranked_text(comparison, style);
  const bool leads = !verdict.rankings.empty() && !verdict.rankings.back().leads.empty();
  if (!leads || contestants(comparison.policies).size() < 2) text += "\n";
  return text + spans_text(comparison, style) + warnings_text(comparison, style) + next_text(comparison, style);
}

std::string grouped_notes_text(const Comparison& comparison, const TextStyle& style) {
  std::string text = head_text(comparison, style) + point_text(comparison, style);
  std::vector<std::string> subjects;
  for (const Note& note : comparison.notes)
    if (std::ranges::find(subjects, note.metric) == subjects.end()) subjects.push_back(note.metric);
  std::ranges::stable_sort(subjects, {}, [](const std::string& subject) { return !subject.empty(); });
  if (subjects.empty()) return text + "\nNo notes.\n";
  for (const std::string& subject : subjects) {
    text += "\n" + (subject.empty() ? "All measures" : subject) + "\n";
    for (const Note& note : comparison.notes)
      if (note.metric == subject) text += "- " + fitted(note.text, 2, style) + "\n";
  }
  return text;
}

}  // namespace kvreplay
