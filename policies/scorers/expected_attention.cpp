#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/contracts/scorer.h"
#include "core/evidence/query_moments.h"
#include "core/evidence/value_norms.h"

namespace kvreplay {
namespace {

// softmax of the expected logits, in place
void softmax(std::vector<double>& logits) {
  const double largest = *std::ranges::max_element(logits);
  double total = 0;
  for (double& x : logits) total += x = std::exp(x - largest);
  for (double& x : logits) x /= total;
}

using HeadMeans = std::vector<std::vector<double>>;

// [n_kv_heads][n - sinks] expected attention, mean over the group. What policies differ in comes after it.
const HeadMeans& expected_attention_of(const PromptView& view, std::size_t sinks, std::size_t future, bool covariance) {
  const std::string name = fmt::format("attention expected of {} future queries, {} sinks{}", future, sinks,
                                       covariance ? ", with covariance" : "");
  return view.remember<HeadMeans>(name, [&] {
    const std::size_t group_size = view.model().group_size();
    const double scale = view.model().softmax_scale;
    const QueryMoments& queries = future_queries(view, sinks, future);
    HeadMeans means;
    for (std::size_t g = 0; g < view.model().n_kv_heads; ++g) {
      const ConstMatrixView keys = view.keys(g).rows_between(sinks, view.n_candidates());
      const Matrix64 alignment = inner_products(rows_between(queries.mean, g * group_size, (g + 1) * group_size), keys);
      std::vector<double>& mean = means.emplace_back(keys.rows, 0.0);
      for (std::size_t h = 0; h < group_size; ++h) {
        std::vector<double> logits(keys.rows, 0.0);
        if (covariance) logits = view.backend().quadratic_forms(queries.covariance[g * group_size + h], keys);
        for (std::size_t i = 0; i < keys.rows; ++i) logits[i] = scale * alignment(h, i) + scale * scale / 2 * logits[i];
        softmax(logits);
        for (std::size_t i = 0; i < keys.rows; ++i) mean[i] += logits[i] / static_cast<double>(group_size);
      }
    }
    return means;
  });
}

Scores score_expected_attention(const PromptView& view, const Parameters& parameters) {
  const std::size_t n = view.n_candidates(), sinks = std::min(parameters.count("sinks"), n);
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, n);
  std::ranges::fill(scores.values.values(), 0.0f);
  scores.protection.sinks = sinks;
  if (sinks == n) return scores;

  const bool value_norm = parameters.choice("value_norm") == "yes";
  const double epsilon = parameters.real("epsilon");
  const HeadMeans& expected =
      expected_attention_of(view, sinks, parameters.count("future"), parameters.choice("covariance") == "yes");
  for (std::size_t g = 0; g < scores.n_heads(); ++g) {
    const std::span<const float> norms = value_norms(view, Norm::l2).matrix(0).row(g);
    for (std::size_t i = sinks; i < n; ++i) {
      const double mean = expected[g][i - sinks];
      scores.head(g)[i] = static_cast<float>(value_norm ? (mean + epsilon) * double{norms[i]} : mean);
    }
  }
  return scores;
}

const RegisterScorer expected_attention{{
    .name = "expected-attention",
    .family = "attention expected",
    .summary = "attention that future queries are expected to pay, were they Gaussian like those of the prompt",
    .formula =
        "s_i = (mean over the group of softmax_i(scale mu.k_i + scale^2/2 k_i^T Sigma k_i) + epsilon) ||v_i||_2; "
        "mu, Sigma: moments of the prompt's queries before RoPE, turned by the mean rotation of the next `future` "
        "positions",
    .paper = "Expected Attention: KV Cache Compression by Estimating Attention from Future Queries Distribution, arXiv "
             "2510.00636",
    .needs = {need::all_queries()},
    .parameters = {.parameters = {{.name = "sinks",
                                   .default_value = "4",
                                   .help = "first tokens: kept, and left out of the moments"},
                                  {.name = "future",
                                   .default_value = "512",
                                   .help = "positions after the compression point that queries are expected at",
                                   .min = 1},
                                  {.name = "covariance",
                                   .kind = ParameterKind::choice,
                                   .default_value = "yes",
                                   .help = "whether the spread of the queries counts, or only their mean",
                                   .choices = {"yes", "no"}},
                                  {.name = "value_norm",
                                   .kind = ParameterKind::choice,
                                   .default_value = "yes",
                                   .help = "whether the attention is weighed by the norm of the value",
                                   .choices = {"yes", "no"}},
                                  {.name = "epsilon",
                                   .kind = ParameterKind::real,
                                   .default_value = "0",
                                   .help = "added to the attention before it is weighed by the norm"}},
                   .dialects = {{.name = "kvpress",
                                 .summary = "ExpectedAttentionPress: 4 sinks, 512 positions ahead"}}},
    .score = score_expected_attention,
}};

}  // namespace
}  // namespace kvreplay
