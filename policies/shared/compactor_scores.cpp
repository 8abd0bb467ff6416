#include "policies/shared/compactor_scores.h"

#include <algorithm>
#include <cmath>

#include "core/evidence/chunk_attention.h"
#include "core/evidence/key_leverage.h"
#include "core/evidence/value_norms.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

// To mean 0 and variance 1 over everything; the standard deviation (unbiased) is at least 1e-6.
void standardise(Tensor& scores) {
  const double n = static_cast<double>(scores.values().size());
  double mean = 0, squares = 0;
  for (const float x : scores.values()) mean += x / n;
  for (const float x : scores.values()) squares += (x - mean) * (x - mean);
  const double deviation = n > 1 ? std::max(std::sqrt(squares / (n - 1)), 1e-6) : 1e-6;
  for (float& x : scores.values()) x = static_cast<float>((x - mean) / deviation);
}

}  // namespace

AddedCost leverage_cost(const UnitDimensions& unit, const Parameters&) {
  const double n = static_cast<double>(unit.n_candidates), dim = static_cast<double>(unit.head_dim);
  const double heads = static_cast<double>(unit.n_kv_heads);
  return {.flops = heads * n * 8 * dim * dim, .bytes = (heads + 2) * n * dim * sizeof(float)};
}

Tensor leverage_scores(const PromptView& view, Range tokens, std::size_t sketch) {
  const Tensor& leverages = key_leverage(view, tokens, sketch);
  Tensor scores(1, leverages.rows(), leverages.cols());
  std::ranges::copy(leverages.values(), scores.values().begin());
  standardise(scores);
  return scores;
}

Tensor non_causal_scores(const PromptView& view, Range tokens, std::size_t chunk, std::size_t kernel) {
  Tensor scores = reduce_group(chunk_attention(view, tokens, chunk), view.model().group_size(), GroupReduction::mean);
  for (std::size_t g = 0; g < scores.rows(); ++g) {
    const std::span<float> row = scores.matrix(0).row(g);
    const std::span<const float> norms = value_norms(view, Norm::l2).matrix(0).row(g).subspan(tokens.begin);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] *= norms[i];
    pool(row, Pooling::average, kernel);
  }
  standardise(scores);
  return scores;
}

Scores compactor_scores(const PromptView& view, const Parameters& parameters, double blend) {
  const std::size_t n = view.n_candidates();
  const std::size_t first = std::min(parameters.count("first"), n),
                    last = std::min(parameters.count("last"), n - first);
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, n);
  std::ranges::fill(scores.values.values(), 0.0f);
  scores.protection = {.sinks = first, .recent = last};
  const Range tokens{first, n - last};
  if (tokens.size() == 0) return scores;
  const Tensor leverages = leverage_scores(view, tokens, parameters.count("sketch"));
  const Tensor attention = non_causal_scores(view, tokens, parameters.count("chunk"), parameters.count("kernel"));
  for (std::size_t g = 0; g < scores.n_heads(); ++g)
    for (std::size_t i = 0; i < tokens.size(); ++i)
      scores.head(g)[first + i] =
          static_cast<float>(blend * double{leverages.matrix(0)(g, i)} + double{attention.matrix(0)(g, i)});
  return scores;
}

ParameterSpec chunk_parameter() {
  return {.name = "chunk", .default_value = "256", .help = "tokens that see each other, queries and keys", .min = 1};
}

ParameterSpec sketch_parameter(std::string default_value) {
  return {.name = "sketch",
          .kind = ParameterKind::count_or_all,
          .default_value = std::move(default_value),
          .help =
              "dimensions that keys are projected to by a matrix drawn from the replay's seed; all, or as many as a "
              "head has: none drawn",
          .min = 1};
}

}  // namespace kvreplay
