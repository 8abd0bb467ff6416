#include <algorithm>
#include <numeric>
#include <vector>

#include "core/base/row_norms.h"
#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

// Squared norms as shares of their block of `window` tokens; 0 in a block of zeros.
std::vector<double> local_shares(ConstMatrixView rows, std::size_t window) {
  std::vector<float> norms(rows.rows);
  row_norms(rows, Norm::l2, norms);
  std::vector<double> shares;
  for (const float norm : norms) shares.push_back(double{norm} * double{norm});
  for (std::size_t begin = 0; begin < shares.size(); begin += window) {
    const std::span<double> block = std::span(shares).subspan(begin, std::min(window, shares.size() - begin));
    const double total = std::accumulate(block.begin(), block.end(), 0.0);
    for (double& share : block) share = total > 0 ? share / total : 0;
  }
  return shares;
}

Scores score_cur(const PromptView& view, const Parameters& parameters) {
  const std::size_t n = view.n_candidates(), window = parameters.count("window");
  const std::string& product = parameters.choice("product");
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, n);
  for (std::size_t g = 0; g < scores.n_heads(); ++g) {
    const std::vector<double> keys = local_shares(view.keys(g), window);
    const std::vector<double> values = local_shares(view.values(g), window);
    std::vector<double> combined(n);
    for (std::size_t i = 0; i < n; ++i)
      combined[i] = product == "kv"      ? keys[i] * values[i]
                    : product == "key"   ? keys[i]
                    : product == "value" ? values[i]
                                         : (keys[i] + values[i]) / 2;
    const double total = std::accumulate(combined.begin(), combined.end(), 0.0);
    for (std::size_t i = 0; i < n; ++i) scores.head(g)[i] = static_cast<float>(total > 0 ? combined[i] / total : 0);
  }
  scores.protection.sinks = parameters.count("sinks");
  return scores;
}

const RegisterScorer cur{{
    .name = "cur",
    .family = "information",
    .summary = "keys and values that are large among their neighbours: approximate leverage, locally",
    .formula = "s_i = k_i v_i / sum_j k_j v_j, k_i = ||k_i||_2^2 / sum over its block of `window` tokens, v_i likewise",
    .paper = "CurDKV: Value-Guided KV Compression for LLMs via Approximated CUR Decomposition, arXiv 2509.15038",
    .parameters = {.parameters = {{.name = "sinks", .default_value = "4", .help = "first tokens kept"},
                                  {.name = "window", .default_value = "16", .help = "tokens of a block", .min = 1},
                                  {.name = "product",
                                   .kind = ParameterKind::choice,
                                   .default_value = "kv",
                                   .help = "product of both shares, one of them, or their average",
                                   .choices = {"kv", "key", "value", "avg"}}},
                   .dialects = {{.name = "kvpress",
                                 .summary = "CURPress: blocks of 16, 4 sinks, no random projection"}}},
    .score = score_cur,
}};

}  // namespace
}  // namespace kvreplay
