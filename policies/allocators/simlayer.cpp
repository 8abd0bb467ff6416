#include <algorithm>
#include <numeric>

#include "core/contracts/allocator.h"

namespace kvreplay {
namespace {

// As SimLayerKVPress counts: attention of the last queries on what lies before them, of which the first and the last
// part make a layer lazy.
bool is_lazy(const PromptView& view, const Parameters& parameters) {
  const std::size_t n_last = parameters.count("last");
  const Tensor& sums = view.attention_sums(n_last);
  const std::size_t n_columns = view.n_candidates() - n_last;
  const std::size_t n_first = std::min(parameters.count("sinks"), n_columns);
  const std::size_t n_recent = std::min(parameters.count("recent"), n_columns);
  double mass = 0;
  for (std::size_t h = 0; h < sums.rows(); ++h) {
    const auto row = sums.matrix(0).row(h).first(n_columns);
    mass += std::accumulate(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(n_first), 0.0);
    mass += std::accumulate(row.end() - static_cast<std::ptrdiff_t>(n_recent), row.end(), 0.0);
  }
  return mass / static_cast<double>(sums.rows() * n_last) > parameters.real("threshold");
}

HeadBudgets allocate_simlayer(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                              const Parameters& parameters) {
  const std::size_t n = scores.n_candidates(), sinks = parameters.count("sinks");
  const std::size_t recent = parameters.count("recent"), last = parameters.count("last");
  std::size_t tokens = n;
  if (n > sinks + recent + last && is_lazy(view, parameters)) tokens = sinks + recent - std::min(recent, last);
  HeadBudgets counts;
  for (std::size_t b = 0; b < budgets.size(); ++b) counts.tokens.emplace_back(scores.n_heads(), tokens);
  return counts;
}

const RegisterAllocator simlayer{{
    .name = "simlayer",
    .summary = "a layer whose last queries look at sinks and recent tokens only is lazy and keeps just these; the "
               "others keep everything, whatever the budget",
    .formula =
        "lazy if the attention of the last queries on the first `sinks` and the newest `recent` tokens, mean over "
        "heads, is above the threshold; then b = sinks + recent - last",
    .paper = "SimLayerKV: A Simple Framework for Layer-Level KV Cache Reduction, arXiv 2410.13846",
    .needs = {need::last_queries("last")},
    .parameters = {.parameters = {{.name = "threshold",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.9",
                                   .help = "attention above which a layer is lazy",
                                   .max = 1},
                                  {.name = "last", .default_value = "1", .help = "last queries looked at", .min = 1},
                                  {.name = "sinks", .default_value = "4", .help = "first tokens"},
                                  {.name = "recent", .default_value = "1024", .help = "newest tokens"}}},
    .traits = {.level = AllocatorLevel::layers, .budget_free = true},
    .allocate = allocate_simlayer,
}};

}  // namespace
}  // namespace kvreplay
