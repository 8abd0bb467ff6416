#include "tools/cli/advice_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "analysis/compare/text_table.h"
#include "analysis/compare/verdict_words.h"
#include "core/base/counted.h"
#include "core/base/printable.h"
#include "tools/cli/trace_description.h"

namespace kvreplay {
namespace {

std::string share_text(double share) { return fmt::format("{:.3g} %", 100 * share); }

std::string weight(double bytes) {
  return std::isnan(bytes) ? "-" : bytes_text(static_cast<std::uintmax_t>(std::llround(bytes)));
}

/// "13 to 24 %", "0.03 to 0.09"
std::string range_text(const Estimate& estimate, double scale, const char* unit) {
  if (!estimate.has_interval()) return "-";
  return fmt::format("{:.2g} to {:.2g}{}", scale * estimate.low, scale * estimate.high, unit);
}

std::string share_range(const Estimate& estimate) {
  // Two digits would make 100 % of 99.5 %.
  if (!estimate.has_interval()) return "-";
  return fmt::format("{:.0f} to {:.0f} %", 100 * estimate.low, 100 * estimate.high);
}

const std::string& name_of(const Advice& advice, const AdvisedPolicy& row) { return advice.policies[row.policy].name; }

std::string refusal(const Advice& advice) {
  if (advice.asked.bytes)
    return fmt::format("None of these budgets is as small as {}, {} of the cache: --budget takes smaller ones",
                       weight(*advice.asked.bytes), share_text(*advice.asked.bytes / advice.full_bytes));
  const AdvisedPolicy& nearest = advice.rows.front();
  return fmt::format(
      "None of these budgets holds a predicted KL of {:.3g} nats per token: {} comes nearest, with {:.3g} where it "
      "keeps "
      "{}; --budget takes larger ones",
      advice.asked.loss, name_of(advice, nearest), nearest.least_loss, share_text(nearest.least_share));
}

std::string answer(const Advice& advice) {
  if (advice.fits_whole())
    return fmt::format("Keep everything: the whole cache weighs {} and fits", weight(advice.full_bytes));
  const AdvisedPolicy* const best = advice.best();
  if (best == nullptr) return refusal(advice);
  const std::string& name = name_of(advice, *best);
  if (advice.asked.bytes)
    return fmt::format("Keep {} ({} of the cache) with {}: predicted KL {:.3g} nats per token{}", weight(best->bytes),
                       share_text(best->share.value), name, best->loss.value,
                       best->loss.has_interval() ? fmt::format(" (95 %: {})", range_text(best->loss, 1, "")) : "");
  return fmt::format("Keep {} of the cache{}{} with {}: predicted KL {:.3g} nats per token", share_text(advice.share),
                     best->at_smallest ? " or less" : "",
                     best->share.has_interval() ? fmt::format(" (95 %: {})", share_range(best->share)) : "", name,
                     best->at_smallest ? best->loss.value : advice.asked.loss);
}

std::string origin(const Advice& advice) {
  std::string text = fmt::format("{}, {} of {:.0f} tokens{}, point {}", printable(advice.model_id),
                                 counted(advice.n_samples, "prompt"), advice.prompt_tokens,
                                 advice.n_samples > 1 ? " on average" : "", printable(advice.point));
  if (!std::isnan(advice.full_bytes)) text += fmt::format("; the whole cache: {}", weight(advice.full_bytes));
  if (!advice.other_points.empty())
    text += fmt::format("; other tasks: --compression-point {}",
                        printable(fmt::format("{}", fmt::join(advice.other_points, ", "))));
  return text;
}

std::string table(const Advice& advice, std::size_t n_rows, const TextStyle& style) {
  const std::string at = share_text(advice.share);
  const bool by_size = advice.asked.bytes.has_value();
  std::vector<std::string> headers;
  if (by_size)
    headers = {"KL there", "95 %"};
  else
    headers = {"smallest", "95 %", "bytes", "KL at " + at};
  TextTable table("  policy", headers);
  std::vector<std::string> names;
  for (const AdvisedPolicy& row : advice.rows) names.push_back(printable(name_of(advice, row)));
  names = style.elided(names, style.width / 2);
  const std::size_t n_shown = std::min(n_rows, advice.rows.size());
  for (std::size_t i = 0; i < n_shown; ++i) {
    const AdvisedPolicy& row = advice.rows[i];
    const std::string mark = row.tied ? std::string(style.about()) : "";
    std::vector<TextTable::Cell> cells;
    if (by_size) {
      cells = {{mark + (row.answers ? compact(row.loss.value) : "-")}, {range_text(row.loss, 1, "")}};
    } else {
      const std::string smallest =
          row.answers ? (row.at_smallest ? std::string(style.at_most()) : "") + share_text(row.share.value) : "never";
      cells = {{mark + smallest},
               {share_range(row.share)},
               {row.answers ? weight(row.bytes) : "-"},
               {compact(row.loss.value)}};
    }
    table.add_row(fmt::format("{} {}", i + 1, names[i]), std::move(cells));
  }
  std::string text = table.render(style.width);
  if (n_shown < advice.rows.size())
    text += fmt::format("  {} {} more (--top)\n", style.ellipsis(), advice.rows.size() - n_shown);
  return text;
}

/// How sure the choice is, and how unlike prompts are.
std::string certainty(const Advice& advice, const TextStyle& style) {
  if (advice.n_samples < 2 || advice.best() == nullptr) return "";
  const auto n_tied = std::ranges::count_if(advice.rows, &AdvisedPolicy::tied);
  std::string text = labelled(
      "Sure",
      fmt::format("first in {:.0f} % of {} draws of the prompts; {}", 100 * advice.first_share, Resamples::kDraws,
                  n_tied == 0 ? "all others do worse"
                              : fmt::format("{} policies cannot be told from it ({})", n_tied, style.about())),
      style);
  const SampleLoss& least = advice.samples.front();
  const SampleLoss& most = advice.samples.back();
  const std::string mean =
      fmt::format("mean {:.3g} (95 %: {})", advice.best()->loss.value, range_text(advice.best()->loss, 1, ""));
  text += labelled("Prompts",
                   fmt::format("KL at {}: {}; {:.2g} on {} to {:.2g} on {}", share_text(advice.share), mean, least.loss,
                               printable(least.sample), most.loss, printable(most.sample)),
                   style);
  return text;
}

}  // namespace

std::string describe_advice(const Advice& advice, const std::vector<std::string>& commands, std::size_t n_rows,
                            const TextStyle& style) {
  std::string text = style.bold(fitted(answer(advice), 2, style)) + "\n" + fitted(origin(advice), 2, style) + "\n";
  if (advice.fits_whole()) return text;
  if (advice.best() != nullptr) text += "\n" + table(advice, n_rows, style) + "\n" + certainty(advice, style);
  if (!advice.warnings.empty())
    text += labelled("Beware", printable(fmt::format("{}", fmt::join(advice.warnings, "; "))), style);
  if (commands.empty() || advice.best() == nullptr) return text;
  text += "\nVerify in the live model\n";
  constexpr std::size_t kShown = 5;
  for (std::size_t i = 0; i < std::min(commands.size(), kShown); ++i) text += "  " + commands[i] + "\n";
  if (commands.size() > kShown)
    text += fmt::format("  {} {} more commands (--json)\n", style.ellipsis(), commands.size() - kShown);
  return text;
}

}  // namespace kvreplay
