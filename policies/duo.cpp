#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/allocator.h"
#include "core/error.h"
#include "core/rope_rotation.h"

namespace kvreplay {
namespace {

// Mean over the rows, their RoPE taken off.
std::vector<double> mean_before_rope(const PromptView& view, ConstMatrixView rows) {
  constexpr std::size_t kBlock = 256;
  std::vector<double> mean(rows.cols, 0.0), block(kBlock * rows.cols);
  for (std::size_t begin = 0; begin < rows.rows; begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, rows.rows);
    const RopeRemoval rope(view.layer().rope, {view.first_position() + begin, view.first_position() + end});
    const std::span<double> out = std::span(block).first((end - begin) * rows.cols);
    rope.remove(rows.rows_between(begin, end), out);
    for (std::size_t i = 0; i < out.size(); ++i) mean[i % rows.cols] += out[i] / static_cast<double>(rows.rows);
  }
  return mean;
}

// How early the attention of the mean query at position `length` - 1 on `length` copies of the mean key adds up: near 0
// for a head that looks at recent tokens only, 1/2 for one that looks everywhere alike.
double area_under_cumulated_attention(const PromptView& view, const std::vector<double>& query,
                                      const std::vector<double>& key, std::size_t length) {
  std::vector<double> turned = query;
  AveragedRotation(view.layer().rope, {length - 1, length}).apply(turned.data());
  std::vector<double> logits;
  for (std::size_t p = 0; p < length; ++p) {
    std::vector<double> at = key;
    AveragedRotation(view.layer().rope, {p, p + 1}).apply(at.data());
    logits.push_back(view.model().softmax_scale * std::inner_product(at.begin(), at.end(), turned.begin(), 0.0));
  }
  const double largest = std::ranges::max(logits);
  double sum = 0, area = 0;
  for (double& x : logits) sum += x = std::exp(x - largest);
  for (std::size_t p = 0; p < length; ++p)  // position p is in the cumulated sums from p on
    area += logits[p] / sum * static_cast<double>(length - p) / static_cast<double>(length);
  return area;
}

// One gate per KV head, as kvpress estimates them on the fly, from this prompt.
std::vector<double> measured_gates(const PromptView& view, std::size_t length) {
  const std::size_t group_size = view.model().group_size();
  std::vector<double> gates;
  for (std::size_t g = 0; g < view.model().n_kv_heads; ++g) {
    const std::vector<double> key = mean_before_rope(view, view.keys(g));
    double sum = 0;
    for (std::size_t h = g * group_size; h < (g + 1) * group_size; ++h)
      sum += area_under_cumulated_attention(view, mean_before_rope(view, view.queries(h, kAll)), key, length);
    gates.push_back(sum / static_cast<double>(group_size));
  }
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

std::vector<HeadBudgets> share_by_gate(std::span<const LayerSurvey> layers, const Parameters& parameters) {
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
  std::vector<HeadBudgets> shares(layers.size());
  for (std::size_t b = 0; b < layers[0].budgets.size(); ++b) {
    const double n_streaming = std::nearbyint(static_cast<double>(gates.size()) * layers[0].budgets[b].removed);
    std::vector<bool> streams(gates.size(), false);
    for (std::size_t k = 0; k < static_cast<std::size_t>(n_streaming); ++k) streams[order[k]] = true;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const std::size_t first = (whole_model ? layers[l].layer : l) * n_kv_heads, n = layers[l].n_candidates;
      const std::size_t few = std::min(n, parameters.count("sinks") + parameters.count("recent"));
      std::vector<std::size_t>& tokens = shares[l].tokens.emplace_back();
      for (std::size_t h = 0; h < layers[l].n_heads; ++h)
        tokens.push_back(streams[first + h * n_kv_heads / layers[l].n_heads] ? few : n);
    }
  }
  return shares;
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
    .needs =
        "a table of gates, a row for every layer of the model and a number for every KV head; or all prompt queries",
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
    .share = share_by_gate,
    .query_window = [](const Parameters& parameters) { return parameters.table("table") ? std::size_t{0} : kAll; },
}};

}  // namespace
}  // namespace kvreplay
