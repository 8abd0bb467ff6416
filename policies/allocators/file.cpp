#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "policies/shared/layer_split.h"

namespace kvreplay {
namespace {

HeadBudgets allocate_table(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                           const Parameters& parameters) {
  const NumberTable& table = *parameters.table("table");
  const ModelInfo& model = view.model();
  check_head_table(table, model.n_layers, model.n_kv_heads);
  std::vector<double> weights;
  for (const std::vector<double>& row : table.rows) weights.insert(weights.end(), row.begin(), row.end());
  if (std::ranges::min(weights) < 0) throw InputError("its table holds a negative share");

  const std::size_t n = scores.n_candidates(), first = view.layer().index * model.n_kv_heads;
  const std::size_t sets_per_head = scores.n_heads() / model.n_kv_heads;
  HeadBudgets counts;
  for (const Budget& budget : budgets) {
    std::vector<std::size_t> tokens;
    if (parameters.choice("scale") == "budget") {
      tokens = split_in_proportion(weights, budget.tokens * weights.size(), std::vector(weights.size(), n));
    } else {
      for (const double share : weights)
        tokens.push_back(std::min(n, static_cast<std::size_t>(std::floor(share * static_cast<double>(n) + 0.5))));
    }
    std::vector<std::size_t>& layer = counts.tokens.emplace_back();
    for (std::size_t h = 0; h < scores.n_heads(); ++h) layer.push_back(tokens[first + h / sets_per_head]);
  }
  return counts;
}

const RegisterAllocator file{{
    .name = "file",
    .summary = "budgets from a table with one number per layer and KV head: what others learned or tuned",
    .formula = "b_{l,h} = share_{l,h} in proportion, so that the mean over the table is b and none is above the cache; "
               "scale=no: "
               "share_{l,h} * n whatever the budget",
    .paper =
        "the form of LKV-H's result: End-to-End Learning of Head-wise Budgets and Token Selection, arXiv 2605.06676",
    .needs = {need::other("a text file with a row for every layer of the model and a number for every KV head")},
    .parameters = {.parameters = {{.name = "table",
                                   .kind = ParameterKind::table,
                                   .default_value = "",
                                   .help = "the file; its name holds none of ',+'"},
                                  {.name = "scale",
                                   .kind = ParameterKind::choice,
                                   .default_value = "budget",
                                   .help = "scale the table to the budget, or take its fractions as they are",
                                   .choices = {"budget", "no"}}}},
    .traits = {.level = AllocatorLevel::both},
    .allocate = allocate_table,
}};

}  // namespace
}  // namespace kvreplay
