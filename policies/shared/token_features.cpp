#include "policies/shared/token_features.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/data/rope_rotation.h"

namespace kvreplay {
namespace {

constexpr std::size_t kScalars = 5;
constexpr std::array<std::size_t, 3> kWindows{1, 8, kFeatureWindow};
constexpr double kSmallestNorm = 1e-6, kSmallestAttention = 1e-6;

template <typename Number>
double log_norm(std::span<const Number> x) {
  const double squared =
      std::transform_reduce(x.begin(), x.end(), 0.0, std::plus{}, [](double value) { return value * value; });
  return std::log(std::sqrt(squared) + kSmallestNorm);
}

// [kWindows][n_kv_heads][n_candidates]
std::vector<std::vector<std::vector<double>>> log_attention(const PromptView& view) {
  const std::size_t n_heads = view.model().n_kv_heads, group_size = view.model().group_size();
  std::vector<std::vector<std::vector<double>>> logs;
  view.attention_sums(kFeatureWindow);  // the longest first: one refusal names all queries that are missing
  for (const std::size_t window : kWindows) {
    const ConstMatrixView sums = view.attention_sums(window).matrix(0);
    auto& of_window = logs.emplace_back(n_heads, std::vector<double>(view.n_candidates(), 0.0));
    for (std::size_t h = 0; h < n_heads * group_size; ++h)
      for (std::size_t i = 0; i < view.n_candidates(); ++i) of_window[h / group_size][i] += double{sums(h, i)};
    for (auto& head : of_window)
      for (double& x : head) x = std::log(x / static_cast<double>(window * group_size) + kSmallestAttention);
  }
  return logs;
}

}  // namespace

std::size_t n_token_features(std::size_t head_dim, std::size_t value_dim, bool with_queries) {
  return head_dim + value_dim + kScalars + (with_queries ? kWindows.size() : 0);
}

void for_each_feature_block(const PromptView& view, bool with_queries,
                            const std::function<void(std::size_t, std::size_t, std::span<const double>)>& use) {
  const std::size_t head_dim = view.model().head_dim;
  const std::size_t width = n_token_features(head_dim, view.model().value_dim, with_queries);
  const double c = static_cast<double>(view.compression_point());
  const auto attention = with_queries ? log_attention(view) : std::vector<std::vector<std::vector<double>>>{};
  std::vector<ConstMatrixView> keys;
  for (std::size_t g = 0; g < view.model().n_kv_heads; ++g) keys.push_back(view.keys(g));
  std::vector<double> features;
  for_each_block_before_rope(view.layer().rope, view.first_position(), keys,
                             [&](std::size_t head, std::size_t begin, std::span<const double> rows) {
                               const std::size_t n = rows.size() / head_dim;
                               features.resize(n * width);
                               for (std::size_t r = 0; r < n; ++r) {
                                 const std::span<const double> key = rows.subspan(r * head_dim, head_dim);
                                 const std::span<const float> value = view.values(head).row(begin + r);
                                 const double position = static_cast<double>(view.first_position() + begin + r);
                                 double* x = std::ranges::copy(key, features.data() + r * width).out;
                                 x = std::ranges::copy(value, x).out;
                                 *x++ = log_norm(key);
                                 *x++ = log_norm(value);
                                 *x++ = std::log1p(position);
                                 *x++ = std::log(c - position);
                                 *x++ = position / c;
                                 for (const auto& of_window : attention) *x++ = of_window[head][begin + r];
                               }
                               use(head, begin, features);
                             });
}

}  // namespace kvreplay
