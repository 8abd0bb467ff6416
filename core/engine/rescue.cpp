#include "core/engine/rescue.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvreplay {

std::vector<double> exact_output(const AttentionRule& rule, std::span<const float> query, std::size_t position,
                                 ConstMatrixView keys, ConstMatrixView values, std::span<const std::uint32_t> retained,
                                 Range local) {
  std::vector<std::size_t> visible;
  const std::size_t first = rule.first_visible(position);
  for (const std::uint32_t token : retained)
    if (token >= first && token <= position) visible.push_back(token);
  for (std::size_t token = std::max(local.begin, first); token < std::min(local.end, position + 1); ++token)
    visible.push_back(token);

  std::vector<double> logits;
  double max = -std::numeric_limits<double>::infinity();
  for (const std::size_t token : visible) {
    double dot = 0;
    const auto key = keys.row(token);
    for (std::size_t d = 0; d < query.size(); ++d) dot += double{query[d]} * double{key[d]};
    double logit = rule.scale * dot;
    if (rule.softcap > 0) logit = rule.softcap * std::tanh(logit / rule.softcap);
    logits.push_back(logit);
    max = std::max(max, logit);
  }
  std::vector<double> output(values.cols, 0.0);
  double total = 0;
  for (std::size_t i = 0; i < visible.size(); ++i) {
    const double weight = std::exp(logits[i] - max);
    total += weight;
    const auto value = values.row(visible[i]);
    for (std::size_t d = 0; d < output.size(); ++d) output[d] += weight * double{value[d]};
  }
  for (double& x : output) x /= total;
  return output;
}

void rescue_panel(const RescuePanel& panel, const CellPlan& plan, const float* reference, const float* recall,
                  float* errors, float* squared_errors) {
  const std::size_t dim = panel.values.cols;
  std::vector<std::uint32_t> retained;
  for (std::size_t b = 0; b < plan.n_budgets(); ++b)
    for (std::size_t l = 0; l < panel.positions.size(); ++l) {
      if (recall[b * kPanelWidth + l] >= kRescueBelow) continue;
      retained.clear();
      for (std::size_t c = 0; c < plan.n_cells(); ++c)
        if (plan.holds(c, b))
          for (const std::uint32_t candidate : plan.cell(c))
            retained.push_back(candidate + static_cast<std::uint32_t>(panel.candidates.begin));
      const std::vector<double> output = exact_output(panel.rule, panel.queries.row(l), panel.positions[l], panel.keys,
                                                      panel.values, retained, {panel.candidates.end, panel.keys.rows});
      double norm = 0;
      for (std::size_t d = 0; d < dim; ++d) {
        // The evicted side holds all of the mass but 2^-80 of it: its mean is the full output.
        const double error = output[d] - double{reference[d * kPanelWidth + l]};
        if (errors != nullptr) errors[(b * dim + d) * kPanelWidth + l] = static_cast<float>(error);
        norm += error * error;
      }
      squared_errors[b * kPanelWidth + l] = static_cast<float>(norm);
    }
}

}  // namespace kvreplay
