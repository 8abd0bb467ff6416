#include "tools/replay/shards.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>

#include "core/base/error.h"

namespace kvreplay {

Shard parse_shard(const std::string& text) {
  Shard shard;
  const char* const end = text.data() + text.size();
  const auto [slash, first_error] = std::from_chars(text.data(), end, shard.index);
  const bool divided = first_error == std::errc() && slash != end && *slash == '/';
  const auto [stop, second_error] = std::from_chars(divided ? slash + 1 : end, end, shard.count);
  if (!divided || second_error != std::errc() || stop != end || shard.index == 0 || shard.index > shard.count)
    throw UsageError(fmt::format("option '--shard' takes I/N with I from 1 to N, not '{}'", text));
  return shard;
}

std::string shard_text(const Shard& shard) { return fmt::format("{}/{}", shard.index, shard.count); }

std::filesystem::path shard_path(const std::filesystem::path& results, const Shard& shard) {
  std::filesystem::path path = results;
  path.replace_filename(fmt::format("{}.shard-{}-of-{}{}", results.stem().string(), shard.index, shard.count,
                                    results.extension().string()));
  return path;
}

std::vector<std::size_t> spread(std::span<const double> costs, std::size_t n_bins) {
  std::vector<std::size_t> order(costs.size()), bins(costs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater{}, [&](std::size_t lump) { return costs[lump]; });
  std::vector<double> loads(std::clamp<std::size_t>(n_bins, 1, std::max<std::size_t>(1, costs.size())), 0.0);
  for (const std::size_t lump : order) {
    const auto least = std::ranges::min_element(loads);
    *least += costs[lump];
    bins[lump] = static_cast<std::size_t>(least - loads.begin());
  }
  return bins;
}

std::vector<std::size_t> units_of(const ReplayPlan& plan, const Shard& shard, std::span<const double> costs) {
  const bool whole_cases = std::ranges::any_of(plan.policies, &Policy::splits_layers);
  const auto lump_of = [&](std::size_t unit) { return whole_cases ? plan.units[unit].case_index : unit; };
  std::vector<double> lumps(whole_cases ? plan.cases.size() : plan.units.size(), 0.0);
  for (std::size_t unit = 0; unit < plan.units.size(); ++unit) lumps[lump_of(unit)] += costs[unit];
  const std::vector<std::size_t> bins = spread(lumps, shard.count);
  std::vector<std::size_t> units;
  for (std::size_t unit = 0; unit < plan.units.size(); ++unit)
    if (bins[lump_of(unit)] + 1 == shard.index) units.push_back(unit);
  return units;
}

}  // namespace kvreplay
