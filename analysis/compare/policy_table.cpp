#include "analysis/compare/policy_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace kvreplay {

void mark_best(std::span<const ComparedPolicy> policies, Better better, std::size_t n_columns,
               const std::function<double(std::size_t, std::size_t)>& value, std::vector<Cells>& rows) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  for (std::size_t c = 0; c < n_columns; ++c) {
    std::vector<double> contest;
    for (std::size_t p = 0; p < rows.size(); ++p) contest.push_back(policies[p].is_reference() ? kNone : value(p, c));
    double best = kNone;
    double worst = kNone;
    for (const double v : contest) {
      if (std::isnan(v)) continue;
      const bool is_better = better == Better::lower ? v < best : v > best;
      const bool is_worse = better == Better::lower ? v > worst : v < worst;
      if (std::isnan(best) || is_better) best = v;
      if (std::isnan(worst) || is_worse) worst = v;
    }
    if (best == worst) continue;
    for (std::size_t p = 0; p < rows.size(); ++p) rows[p][c].marked = contest[p] == best;
  }
}

std::vector<std::size_t> row_order(std::span<const ComparedPolicy> policies, Better better,
                                   std::span<const double> keys) {
  std::vector<std::size_t> order(policies.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](std::size_t p) {
    const double key = better == Better::lower ? keys[p] : -keys[p];
    return std::isnan(key) ? std::numeric_limits<double>::infinity() : key;
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const bool a_reference = policies[a].is_reference();
    const bool b_reference = policies[b].is_reference();
    return a_reference != b_reference ? b_reference : rank(a) < rank(b);
  });
  return order;
}

std::string render_policies(std::span<const ComparedPolicy> policies, std::span<const std::size_t> order,
                            const std::string& corner, std::vector<std::string> headers, std::vector<Cells> rows,
                            std::vector<std::string> remarks) {
  remarks.resize(policies.size());
  TextTable table(corner, std::move(headers));
  bool reference = false;
  for (const std::size_t p : order) {
    if (!reference && policies[p].is_reference()) table.add_rule();
    reference = policies[p].is_reference();
    table.add_row(policies[p].name, std::move(rows[p]), std::move(remarks[p]));
  }
  return table.render(kTextWidth);
}

std::string direction(Better better) { return better == Better::lower ? "lower is better" : "higher is better"; }

std::string bound_sign(Better better) { return better == Better::lower ? "<=" : ">="; }

std::string crossing_text(const Crossing& crossing) {
  return (crossing.at_smallest ? "<=" : "") + compact(crossing.kept);
}

std::string interval_text(const Estimate& estimate) {
  return estimate.has_interval() ? fmt::format("{} to {}", compact(estimate.low), compact(estimate.high)) : "";
}

}  // namespace kvreplay
