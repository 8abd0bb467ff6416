#include "policies/shared/observation_window.h"

#include <algorithm>
#include <cassert>
#include <vector>

namespace kvreplay {

Scores scores_before_window(const PromptView& view, std::size_t window) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  std::ranges::fill(scores.values.values(), 0.0f);
  scores.protection.recent = window;
  view.queries(0, window);
  return scores;
}

Tensor reduce_group(const Tensor& rows, std::size_t group_size, GroupReduction group) {
  Tensor reduced(1, rows.rows() / group_size, rows.cols());
  for (std::size_t g = 0; g < reduced.rows(); ++g) {
    const auto out = reduced.matrix(0).row(g);
    for (std::size_t i = 0; i < out.size(); ++i) {
      float value = rows.matrix(0)(g * group_size, i);
      for (std::size_t h = 1; h < group_size; ++h) {
        const float next = rows.matrix(0)(g * group_size + h, i);
        value = group == GroupReduction::max ? std::max(value, next) : value + next;
      }
      out[i] = group == GroupReduction::mean ? value / static_cast<float>(group_size) : value;
    }
  }
  return reduced;
}

void pool(std::span<float> scores, Pooling pooling, std::size_t kernel) {
  if (pooling == Pooling::none || kernel == 1) return;
  assert(kernel % 2 == 1);
  const std::vector<float> source(scores.begin(), scores.end());
  const std::size_t reach = kernel / 2, n = source.size();
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t begin = i > reach ? i - reach : 0, end = std::min(n, i + reach + 1);
    float value = source[begin];
    for (std::size_t j = begin + 1; j < end; ++j)
      value = pooling == Pooling::max ? std::max(value, source[j]) : value + source[j];
    scores[i] = pooling == Pooling::max ? value : value / static_cast<float>(kernel);
  }
}

Scores observe(const PromptView& view, const ObservationWindow& observation) {
  const Tensor& sums = view.attention_sums(observation.window);
  const std::size_t n = view.n_candidates();
  const std::size_t n_scored = observation.without_window ? n - std::min(observation.window, n) : n;
  const std::size_t group_size = view.model().group_size();
  const bool per_query_head = observation.group == GroupReduction::none;

  Tensor rows(1, sums.rows(), n);
  for (std::size_t h = 0; h < sums.rows(); ++h) {
    const auto from = sums.matrix(0).row(h);
    const auto to = rows.matrix(0).row(h);
    for (std::size_t i = 0; i < n_scored; ++i)
      to[i] = observation.mean ? from[i] / static_cast<float>(view.n_seen_by(i, observation.window)) : from[i];
    std::ranges::fill(to.subspan(n_scored), 0.0f);
  }
  const auto pool_all = [&](Tensor& scores) {
    for (std::size_t h = 0; h < scores.rows(); ++h)
      pool(scores.matrix(0).row(h).subspan(0, n_scored), observation.pooling, observation.kernel);
  };
  if (!observation.group_first || per_query_head) pool_all(rows);
  if (per_query_head) return {.axis = HeadAxis::query, .values = std::move(rows), .protection = {}};
  Tensor reduced = reduce_group(rows, group_size, observation.group);
  if (observation.group_first) pool_all(reduced);
  return {.axis = HeadAxis::kv, .values = std::move(reduced), .protection = {}};
}

ParameterSpec group_parameter() {
  return {.name = "group",
          .kind = ParameterKind::choice,
          .default_value = "mean",
          .help = "how the query heads of a KV head are reduced; none: each keeps a set of its own",
          .choices = {"mean", "max", "sum", "none"}};
}

HeadAxis group_axis(const Parameters& parameters) {
  return parameters.choice("group") == "none" ? HeadAxis::query : HeadAxis::kv;
}

ParameterSpec pooling_parameter(std::string default_value) {
  return {.name = "pooling",
          .kind = ParameterKind::choice,
          .default_value = std::move(default_value),
          .help = "pooling over neighbouring tokens",
          .choices = {"none", "avg", "max"}};
}

ParameterSpec kernel_parameter(std::string default_value) {
  return {.name = "kernel",
          .kind = ParameterKind::odd_count,
          .default_value = std::move(default_value),
          .help = "width of the pooling",
          .min = 1};
}

GroupReduction group_of(const Parameters& parameters) {
  const std::string& name = parameters.choice("group");
  if (name == "max") return GroupReduction::max;
  if (name == "sum") return GroupReduction::sum;
  return name == "none" ? GroupReduction::none : GroupReduction::mean;
}

Pooling pooling_of(const Parameters& parameters) {
  const std::string& name = parameters.choice("pooling");
  if (name == "avg") return Pooling::average;
  return name == "max" ? Pooling::max : Pooling::none;
}

}  // namespace kvreplay
