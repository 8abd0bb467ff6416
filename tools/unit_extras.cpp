#include "tools/unit_extras.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "traces/array_file.h"

namespace kvreplay {
namespace {

constexpr const char* kOutputs = "full_outputs";

std::string cells_name(std::size_t policy) { return fmt::format("cells_{}", policy); }
std::string holders_name(std::size_t policy) { return fmt::format("holders_{}", policy); }

// A dimension of the entry, made on first use. Journal entries label nothing.
std::string dimension(Dataset& entry, const std::string& kind, std::size_t size) {
  const std::string name = fmt::format("{}_{}", kind, size);
  if (!entry.has_dimension(name)) {
    std::vector<std::int64_t> labels(size);
    std::iota(labels.begin(), labels.end(), 0);
    entry.dimensions.push_back({.name = name, .labels = std::move(labels), .attributes = {}});
  }
  return name;
}

std::string point_path(const ReplayPlan& plan, const ReplayUnit& unit) {
  const ReplayCase& each = plan.cases[unit.case_index];
  return fmt::format("/samples/{:04}/{}", each.sample, each.point.name);
}

std::string layer_path(const ReplayPlan& plan, const ReplayUnit& unit) {
  return fmt::format("{}/layers/{:02}", point_path(plan, unit), plan.layer(unit).index);
}

}  // namespace

void append_retained(const UnitResult& result, Dataset& entry) {
  for (std::size_t p = 0; p < result.selections.size(); ++p) {
    const LayerSelection& selection = result.selections[p];
    std::size_t n_cells = 0;
    for (const CellPlan& plan : selection.heads) n_cells = std::max(n_cells, plan.n_cells());
    const std::size_t n_heads = selection.heads.size(), n_budgets = selection.heads.front().n_budgets();
    const std::size_t n_candidates = selection.heads.front().order.size();

    Variable cells{.name = cells_name(p),
                   .dimensions = {dimension(entry, "set", n_heads), dimension(entry, "candidate", n_candidates)},
                   .values = std::vector<double>(n_heads * n_candidates),
                   .attributes = {}};
    Variable holders{.name = holders_name(p),
                     .dimensions = {dimension(entry, "set", n_heads), dimension(entry, "cell", n_cells),
                                    dimension(entry, "budget", n_budgets)},
                     .values = std::vector<double>(n_heads * n_cells * n_budgets, 0.0),
                     .attributes = {}};
    for (std::size_t h = 0; h < n_heads; ++h) {
      const CellPlan& plan = selection.heads[h];
      for (std::size_t c = 0; c < plan.n_cells(); ++c) {
        for (const std::uint32_t i : plan.cell(c)) cells.values[h * n_candidates + i] = static_cast<double>(c);
        for (std::size_t b = 0; b < n_budgets; ++b)
          holders.values[(h * n_cells + c) * n_budgets + b] = plan.holds(c, b) ? 1 : 0;
      }
    }
    entry.variables.push_back(std::move(cells));
    entry.variables.push_back(std::move(holders));
  }
}

void append_outputs(const UnitResult& result, Dataset& entry) {
  const Tensor& outputs = result.outputs;
  const auto values = outputs.values();
  entry.variables.push_back(
      {.name = kOutputs,
       .dimensions = {dimension(entry, "head", outputs.count()), dimension(entry, "query", outputs.rows()),
                      dimension(entry, "channel", outputs.cols())},
       .values = {values.begin(), values.end()},
       .attributes = {}});
}

void write_retained_file(const std::filesystem::path& path, const ReplayPlan& plan, const UnitReader& read_unit) {
  ArrayFile file(path, {{"format", "kvreplay-retained"}, {"format_version", "1.0"}, {"options", plan.options}});
  for (std::size_t u = 0; u < plan.units.size(); ++u) {
    const ReplayUnit& unit = plan.units[u];
    const Dataset entry = read_unit(u);
    const Range candidates =
        candidates_at(plan.cases[unit.case_index].point.position, plan.layer(unit), plan.evict_sliding);
    for (std::size_t p = 0; p < plan.policies.size(); ++p) {
      const Variable& cells = entry.variable(cells_name(p));
      const Variable& holders = entry.variable(holders_name(p));
      const std::size_t n_heads = entry.dimension(cells.dimensions[0]).size();
      const std::size_t n_candidates = entry.dimension(cells.dimensions[1]).size();
      const std::size_t n_cells = entry.dimension(holders.dimensions[1]).size();
      const std::size_t n_budgets = entry.dimension(holders.dimensions[2]).size();
      std::vector<std::uint8_t> retained(n_budgets * n_heads * n_candidates);
      for (std::size_t b = 0; b < n_budgets; ++b)
        for (std::size_t h = 0; h < n_heads; ++h)
          for (std::size_t i = 0; i < n_candidates; ++i) {
            const auto cell = static_cast<std::size_t>(cells.values[h * n_candidates + i]);
            retained[(b * n_heads + h) * n_candidates + i] = holders.values[(h * n_cells + cell) * n_budgets + b] != 0;
          }
      const bool per_query_head = n_heads != plan.model().n_kv_heads;
      file.write(
          layer_path(plan, unit) + "/retained/" + plan.policies[p].name(),
          std::vector<std::size_t>{n_budgets, n_heads, n_candidates}, std::span<const std::uint8_t>(retained),
          {{"head_axis", per_query_head ? "query" : "kv"}, {"first_position", std::to_string(candidates.begin)}});
    }
  }
  file.commit();
}

void write_outputs_file(const std::filesystem::path& path, const ReplayPlan& plan, const UnitReader& read_unit) {
  ArrayFile file(path, {{"format", "kvreplay-outputs"}, {"format_version", "1.0"}, {"options", plan.options}});
  for (std::size_t u = 0; u < plan.units.size(); ++u) {
    const ReplayUnit& unit = plan.units[u];
    const ReplayCase& each = plan.cases[unit.case_index];
    const Dataset entry = read_unit(u);
    const Variable& outputs = entry.variable(kOutputs);
    std::vector<std::size_t> shape;
    for (const std::string& name : outputs.dimensions) shape.push_back(entry.dimension(name).size());
    const std::vector<float> values(outputs.values.begin(), outputs.values.end());
    file.write(layer_path(plan, unit) + "/outputs", shape, std::span<const float>(values));
    if (unit.layer == 0) {
      std::vector<std::int64_t> positions;
      for (const std::size_t position : plan.sample(each).query_positions())
        if (position >= each.point.position) positions.push_back(static_cast<std::int64_t>(position));
      file.write(point_path(plan, unit) + "/positions", std::vector<std::size_t>{positions.size()},
                 std::span<const std::int64_t>(positions));
    }
  }
  file.commit();
}

}  // namespace kvreplay
