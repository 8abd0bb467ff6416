#include "policies/shared/learned_shares.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "policies/shared/greedy_fill.h"
#include "policies/shared/layer_split.h"

namespace kvreplay {

std::vector<double> learned_shares(const LearnedBudgets& budgets, double share, double uniform_mix) {
  const std::vector<double>& grid = budgets.grid;
  // The grid is stored in float32, and a whole cache may be asked for.
  if (share < grid.front() * (1 - 1e-6) || share > grid.back() * (1 + 1e-6))
    throw InputError(fmt::format("its curves were measured from {:.3g} to {:.3g} of the cache, and {:.3g} is asked for",
                                 grid.front(), grid.back(), share));
  const std::size_t n_heads = budgets.curve.size() / grid.size();
  std::vector<LossCurve> curves(n_heads);
  for (std::size_t h = 0; h < n_heads; ++h) {
    const auto begin = budgets.curve.begin() + static_cast<std::ptrdiff_t>(h * grid.size());
    curves[h] = {grid, {begin, begin + static_cast<std::ptrdiff_t>(grid.size())}};
  }
  std::vector<double> shares = GreedyFill(curves).fill(share * static_cast<double>(n_heads));
  for (double& each : shares) each = (1 - uniform_mix) * each + uniform_mix * share;
  return shares;
}

std::vector<std::size_t> whole_tokens(std::span<const double> wanted, std::size_t tokens, std::size_t least,
                                      std::size_t n) {
  least = std::min(least, tokens);
  std::vector<double> above;
  for (const double each : wanted) above.push_back(std::max(0.0, each - static_cast<double>(least)));
  std::vector<std::size_t> parts =
      split_in_proportion(above, (tokens - least) * wanted.size(), std::vector(wanted.size(), n - least));
  for (std::size_t& part : parts) part += least;
  return parts;
}

}  // namespace kvreplay
