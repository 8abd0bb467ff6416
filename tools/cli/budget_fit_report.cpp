#include "tools/cli/budget_fit_report.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <span>

#include "tools/replay/case_weights.h"

namespace kvreplay {

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

}  // namespace kvreplay
