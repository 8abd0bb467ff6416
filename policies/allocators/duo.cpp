#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.h"
#include "core/contracts/allocator.h"
#include "core/data/rope_rotation.h"

namespace kvreplay {
namespace {

using Vectors = std::vector<std::vector<double>>;

// Means over the rows of each head, their RoPE taken off.
Vectors means_before_rope(const PromptView& view, const std::vector<ConstMatrixView>& heads) {
  const std::size_t dim = heads[0].cols;
  const double n = static_cast<double>(heads[0].rows);
  Vectors means(heads.size(), std::vector<double>(dim, 0.0));
  for_each_block_before_rope(view.layer().rope, view.first_position(), heads,
                             [&](std::size_t h, std::size_t, std::span<const double> rows) {
                               for (std::size_t at = 0; at < rows.size(); at += dim)
                                 for (std::size_t d = 0; d < dim; ++d) means[h][d] += rows[at + d] / n;
                             });
  return means;
}

// How early the attention of the mean query at position `turns.size()` - 1 on copies of the mean key at all positions
// adds up: near 0 for a head that looks at recent tokens only, 1/2 for one that looks everywhere alike.
double area_under_cumulated_attention(double scale, std::vector<double> query, const std::vector<double>& key,
                                      const std::vector<AveragedRotation>& turns) {
  turns.back().apply(query.data());
  std::vector<double> weights;
  for (const AveragedRotation& turn : turns) {
    std::vector<double> turned = key;
    turn.apply(turned.data());
    weights.push_back(scale * std::inner_product(turned.begin(), turned.end(), query.begin(), 0.0));
  }
  const double largest = std::ranges::max(weights);
  double sum = 0, area = 0;
  for (double& x : weights) sum += x = std::exp(x - largest);
  const std::size_t n = turns.size();
  for (std::size_t p = 0; p < n; ++p)  // position p is in the cumulated sums from p on
    area += weights[p] / sum * static_cast<double>(n - p) / static_cast<double>(n);
  return area;
}

// One gate per KV head, as kvpress estimates them on the fly, from this prompt.
std::vector<double> measured_gates(const PromptView& view, std::size_t length) {
  const std::size_t n_kv_heads = view.model().n_kv_heads, group_size = view.model().group_size();
  std::vector<ConstMatrixView> keys, queries;
  for (std::size_t g = 0; g < n_kv_heads; ++g) keys.push_back(view.keys(g));
  for (std::size_t h = 0; h < view.model().n_q_heads; ++h) queries.push_back(view.queries(h, kAll));
  const Vectors mean_keys = means_before_rope(view, keys), mean_queries = means_before_rope(view, queries);
  std::vector<AveragedRotation> turns;
  for (std::size_t p = 0; p < length; ++p) turns.emplace_back(view.layer().rope, Range{p, p + 1});
  std::vector<double> gates(n_kv_heads, 0.0);
  for (std::size_t h = 0; h < mean_queries.size(); ++h)
    gates[h / group_size] +=
        area_under_cumulated_attention(view.model().softmax_scale, mean_queries[h], mean_keys[h / group_size], turns) /
        static_cast<double>(group_size);
  return gates;
}

LayerSurvey survey_gates(const PromptView& view, const Scores&, std::span<const Budget>, const Parameters& parameters) {
  LayerSurvey survey;
  if (const NumberTable* table = parameters.table("table")) {
    check_head_table(*table, view.model().n_layers, view.model().n_kv_heads);
    for (const std::vector<double>& row : table->rows) survey.gates.insert(survey.gates.end(), row.begin(), row.end());
  } else {
    survey.gates = measured_gates(view, parameters.count("length"));
  }
  return survey;
}

std::vector<HeadBudgets> split_by_gate(std::span<const LayerSurvey> layers, const Parameters& parameters) {
  // A table ranks all heads of the model, recorded or not; measured gates those that are replayed.
  const bool whole_model = parameters.table("table") != nullptr;
  std::vector<double> gates;
  for (const LayerSurvey& layer : layers)
    if (!whole_model || gates.empty()) gates.insert(gates.end(), layer.gates.begin(), layer.gates.end());
  std::vector<std::size_t> order(gates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t head) { return gates[head]; });

  const std::size_t n_kv_heads =
      whole_model ? layers[0].gates.size() / parameters.table("table")->n_rows() : layers[0].gates.size();
  std::vector<HeadBudgets> split(layers.size());
  for (std::size_t b = 0; b < layers[0].budgets.size(); ++b) {
    const double n_streaming = std::nearbyint(static_cast<double>(gates.size()) * layers[0].budgets[b].removed);
    std::vector<bool> streams(gates.size(), false);
    for (std::size_t k = 0; k < static_cast<std::size_t>(n_streaming); ++k) streams[order[k]] = true;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const std::size_t first = (whole_model ? layers[l].layer : l) * n_kv_heads, n = layers[l].n_candidates;
      const std::size_t few = std::min(n, parameters.count("sinks") + parameters.count("recent"));
      std::vector<std::size_t>& tokens = split[l].tokens.emplace_back();
      for (std::size_t h = 0; h < layers[l].n_heads; ++h)
        tokens.push_back(streams[first + h * n_kv_heads / layers[l].n_heads] ? few : n);
    }
  }
  return split;
}

const RegisterAllocator duo{{
    .name = "duo",
    .summary =
        "retrieval heads keep everything, streaming heads sinks and recent tokens; the budget says how many heads "
        "stream",
    .formula =
        "the round(n_heads * (1 - fraction)) heads of lowest gate keep sinks + recent tokens, the others all; gates "
        "from a table, or measured: area under the cumulated attention of the mean query on copies of the mean key",
    .paper = "DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads, arXiv 2410.10819",
    .needs = {need::all_queries().when("table", "measured"),
              need::other("else a table of gates, a row for every layer of the model and a number for every KV head")},
    .parameters =
        {.parameters = {{.name = "table",
                         .kind = ParameterKind::table,
                         .default_value = "measured",
                         .help = "gates: the authors' full_attention_heads.tsv, or measured on this prompt as "
                                 "kvpress does on the fly",
                         .choices = {"measured"}},
                        {.name = "sinks", .default_value = "128", .help = "first tokens of a streaming head"},
                        {.name = "recent", .default_value = "256", .help = "newest tokens of a streaming head"},
                        {.name = "length",
                         .default_value = "500",
                         .help = "copies of the mean key when gates are measured",
                         .min = 1}}},
    .traits = {.level = AllocatorLevel::both, .budget_free = true},
    .survey = survey_gates,
    .split_layers = split_by_gate,
}};

}  // namespace
}  // namespace kvreplay
