#include "analysis/metrics/capacity_terms.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/evidence/capacity_set.h"

namespace kvreplay {

std::vector<ParameterSpec> capacity_parameters() {
  std::vector<ParameterSpec> parameters{
      {.name = "weight",
       .kind = ParameterKind::choice,
       .default_value = "cosine",
       .help = "w_i: exp(tau cos(k_i, mu)) or exp(tau k_i.mu), each divided by the largest; the latter as it is (exp); "
               "attention at the mean query; k_i^T Lambda k_i; the attention's slope times that",
       .choices = capacity_weight_names()},
      {.name = "tau",
       .kind = ParameterKind::real,
       .default_value = "5",
       .help = "sharpness of the weights cosine, dot and exp"}};
  const std::vector<ParameterSpec> shared = information_parameters("second");
  parameters.insert(parameters.end(), shared.begin(), shared.end());
  return parameters;
}

std::vector<double> capacity_weights_of(const PromptView& view, std::size_t kv_head, const InformationChannel& channel,
                                        const Parameters& parameters) {
  return capacity_weights(capacity_weight(parameters.choice("weight")), channel.anchor, view.keys(kv_head),
                          parameters.real("tau"), attention_rule(view.model(), view.layer()).scale);
}

std::vector<double> leave_one_out_losses(const PromptView& view, std::size_t kv_head, const Parameters& parameters) {
  const ConstMatrixView values = view.values(kv_head);
  const std::vector<InformationChannel> channels = information_channels(view, kv_head, parameters);
  std::vector<double> losses(values.rows, 0.0);
  for (const InformationChannel& channel : channels) {
    const std::vector<double> weights = capacity_weights_of(view, kv_head, channel, parameters);
    Matrix64 signal = projected_gram(channel, view.backend().gram(values, weights));
    const double noise = noise_variance(parameters, signal, values.cols * values.rows);
    for (double& x : signal.values) x /= noise;
    // u_i = P v_i: u^T A^-1 u = v^T (P^T A^-1 P) v
    const std::vector<double> leverages = leverage(std::move(signal), 1, values, channel.projection);
    if (leverages.empty())
      throw InputError(fmt::format("KV head {}: the capacity matrix is not positive definite in float64", kv_head));
    for (std::size_t i = 0; i < losses.size(); ++i)
      losses[i] += capacity_loss(weights[i] / noise * leverages[i]) / static_cast<double>(channels.size());
  }
  return losses;
}

}  // namespace kvreplay
