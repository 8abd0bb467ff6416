#include <algorithm>

#include "core/contracts/modifier.h"

namespace kvreplay {
namespace {

Scores pool_blocks(const PromptView&, Scores scores, const Parameters& parameters) {
  const std::size_t n = scores.n_candidates(), length = parameters.count("length");
  const bool mean = parameters.choice("reduce") == "mean";
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t begin = 0; begin < n; begin += length) {
      const std::span<float> block = scores.head(h).subspan(begin, std::min(length, n - begin));
      double pooled = block[0];
      for (const float score : block.subspan(1)) pooled = mean ? pooled + score : std::max(pooled, double{score});
      std::ranges::fill(block, static_cast<float>(mean ? pooled / static_cast<double>(block.size()) : pooled));
    }
  return scores;
}

const RegisterModifier block{{
    .name = "block",
    .summary = "tokens of a block share one score: eviction by pages, in each head for itself",
    .formula = "s_i = mean or max of s over the block [length * floor(i / length), ...); the last page may be cut",
    .paper = "",
    .parameters = {.parameters = {{.name = "length", .default_value = "16", .help = "tokens of a block", .min = 1},
                                  {.name = "reduce",
                                   .kind = ParameterKind::choice,
                                   .default_value = "mean",
                                   .help = "how a block's scores become one",
                                   .choices = {"mean", "max"}}}},
    .apply = pool_blocks,
}};

}  // namespace
}  // namespace kvreplay
