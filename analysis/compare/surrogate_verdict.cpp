// What the figures on a surrogate come down to.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/compare/surrogate_report.h"
#include "analysis/compare/text_table.h"

namespace kvreplay {
namespace {

constexpr std::size_t kMostNames = 6;

std::string percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

bool below_chance(const Estimate& kendall) { return kendall.value < 0; }

/// "layer 11", "layers 3, 11", "7 of 30 layers"; "" for none.
std::string layers_below(const SurrogateReport& report, const SurrogateAgreement& agreement) {
  std::vector<std::int64_t> below;
  for (std::size_t l = 0; l < agreement.by_layer.size(); ++l) {
    if (below_chance(agreement.by_layer[l])) below.push_back(report.layers[l]);
  }
  if (below.empty()) return "";
  if (below.size() == 1) return fmt::format("in layer {}", below.front());
  if (below.size() > kMostNames) return fmt::format("in {} of {} layers", below.size(), report.layers.size());
  return fmt::format("in layers {}", fmt::join(below, ", "));
}

std::string heads_below(const SurrogateAgreement& agreement) {
  const auto n = std::count_if(agreement.by_head.begin(), agreement.by_head.end(), below_chance);
  return n == 0 ? "" : fmt::format("in {} of {} KV heads", n, agreement.by_head.size());
}

/// "at budget 0.05", "at budgets up to 0.1", "at budgets 0.05, 0.4", "at every budget"; "" for none.
std::string budgets_below(const SurrogateReport& report, const SurrogateAgreement& agreement) {
  std::vector<std::size_t> known;
  for (std::size_t b = 0; b < report.budgets.size(); ++b) {
    if (!std::isnan(agreement.by_budget[b].value)) known.push_back(b);
  }
  std::sort(known.begin(), known.end(),
            [&](std::size_t x, std::size_t y) { return report.budgets[x] < report.budgets[y]; });
  std::vector<std::string> below;
  bool smallest_ones = true;
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (!below_chance(agreement.by_budget[known[i]])) continue;
    smallest_ones = smallest_ones && i == below.size();
    below.push_back(compact(report.budgets[known[i]]));
  }
  if (below.empty()) return "";
  if (below.size() == known.size()) return "at every budget";
  if (below.size() == 1) return "at budget " + below.front();
  if (smallest_ones) return "at budgets up to " + below.back();
  if (below.size() > kMostNames) return fmt::format("at {} of {} budgets", below.size(), known.size());
  return fmt::format("at budgets {}", fmt::join(below, ", "));
}

/// How the baseline does on the same pairs.
std::string against_baseline(const SurrogateAgreement& agreement) {
  const Estimate& lead = agreement.lead.pairs_right;
  if (std::isnan(lead.value)) return "";
  const std::string share = percent(agreement.equal_budget.pairs_right.value - lead.value);
  if (!lead.has_interval()) return fmt::format(" ({}: {})", kBaselineSurrogate, share);
  const std::string baseline = fmt::format("{} ({})", kBaselineSurrogate, share);
  if (lead.low > 0) return ", better than " + baseline;
  if (lead.high < 0) return ", worse than " + baseline;
  return ", not told apart from " + baseline;
}

}  // namespace

std::string verdict(const SurrogateReport& report, const SurrogateAgreement& agreement) {
  const double right = agreement.equal_budget.pairs_right.value;
  if (std::isnan(right)) {
    return fmt::format("{} cannot be judged: {} tells no two policies apart at any budget", agreement.surrogate,
                       agreement.truth);
  }
  std::vector<std::string> places;
  for (std::string place :
       {layers_below(report, agreement), heads_below(agreement), budgets_below(report, agreement)}) {
    if (!place.empty()) places.push_back(std::move(place));
  }
  std::string below = places.empty() ? "nowhere below chance" : "below chance ";
  for (std::size_t i = 0; i < places.size(); ++i) {
    below += (i == 0 ? "" : i + 1 == places.size() ? " and " : ", ") + places[i];
  }
  return fmt::format("{} orders {} of policy pairs as {} does{}; {}", agreement.surrogate, percent(right),
                     agreement.truth, against_baseline(agreement), below);
}

}  // namespace kvreplay
