#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "core/contracts/modifier.h"

namespace kvreplay {
namespace {

// As kvpress pads: what the scorer protects gets more than every other score of the layer.
float above_all(const Scores& scores, Protection::Counts guarded) {
  float largest = -std::numeric_limits<float>::infinity();
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t i = guarded.first; i + guarded.recent < scores.n_candidates(); ++i)
      largest = std::max(largest, scores.head(h)[i]);
  return std::max(largest, std::numeric_limits<float>::lowest()) + 1;
}

std::vector<std::uint32_t> best_chunks(const Scores& scores, std::size_t length, const Budget& budget) {
  const std::size_t n = scores.n_candidates(), n_chunks = (n + length - 1) / length;
  const Protection::Counts guarded = scores.protection.at(budget.tokens);
  const float top = above_all(scores, guarded);
  std::vector<float> chunk_scores(n_chunks);
  for (std::size_t c = 0; c < n_chunks; ++c) {
    const std::size_t begin = c * length, end = std::min(n, begin + length);
    double sum = 0;
    for (std::size_t h = 0; h < scores.n_heads(); ++h)
      for (std::size_t i = begin; i < end; ++i)
        sum += i < guarded.first || i + guarded.recent >= n ? top : scores.head(h)[i];
    chunk_scores[c] = static_cast<float>(sum / static_cast<double>(end - begin));
  }
  const std::vector<std::uint32_t> order = order_by_score(chunk_scores);
  const std::size_t n_kept =
      std::max<std::size_t>(1, static_cast<std::size_t>(static_cast<double>(n_chunks) * budget.kept));
  std::vector<std::uint32_t> tokens;
  for (std::size_t k = 0; k < std::min(n_kept, n_chunks) && budget.tokens > 0; ++k)
    for (std::size_t i = order[k] * length; i < std::min(n, (order[k] + 1) * length); ++i)
      tokens.push_back(static_cast<std::uint32_t>(i));
  return tokens;
}

RetainedSets choose_chunks(const PromptView&, const Scores& scores, std::span<const Budget> budgets,
                           const HeadBudgets& counts, const Parameters& parameters) {
  const std::size_t n = scores.n_candidates(), length = parameters.count("length");
  RetainedSets sets;
  for (std::size_t b = 0; b < budgets.size(); ++b) {
    Budget budget = budgets[b];
    if (counts.tokens[b][0] != budget.tokens) {  // a layer allocator spoke
      budget.tokens = counts.tokens[b][0];
      budget.kept = static_cast<double>(budget.tokens) / static_cast<double>(n);
    }
    std::vector<std::vector<std::uint32_t>>& heads = sets.emplace_back();
    if (n >= length) {
      heads.assign(scores.n_heads(), best_chunks(scores, length, budget));
      continue;
    }
    for (std::size_t h = 0; h < scores.n_heads(); ++h) {
      const std::vector<std::uint32_t> ranking = rank(scores.head(h), scores.protection);
      heads.emplace_back(ranking.begin(), ranking.begin() + static_cast<std::ptrdiff_t>(budget.tokens));
    }
  }
  return sets;
}

const RegisterModifier chunk{{
    .name = "chunk",
    .summary = "keeps or drops whole chunks of neighbouring tokens, the same ones in all heads of a layer",
    .formula =
        "chunk score = mean over its tokens of the sum over heads of s_i; the best max(1, int(n_chunks * fraction)) "
        "chunks are kept",
    .paper = "ChunkKV: Semantic-Preserving KV Cache Compression for Efficient Long-Context LLM Inference, arXiv "
             "2502.00299; in the reading of kvpress's ChunkKVPress",
    .parameters = {.parameters = {{.name = "length", .default_value = "20", .help = "tokens of a chunk", .min = 1}}},
    .choose = choose_chunks,
    .layer_wide = true,
}};

}  // namespace
}  // namespace kvreplay
