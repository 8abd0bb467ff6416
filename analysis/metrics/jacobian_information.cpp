// What the softmax, linearised at the mean query, says about the queries: I(q; J q + noise).

#include <cmath>

#include "analysis/metrics/information.h"

namespace kvreplay {
namespace {

class JacobianInformation final : public InformationMetric {
 public:
  JacobianInformation(const UnitShape& shape, const Parameters& parameters) : InformationMetric(shape, parameters) {
    start();
  }

 private:
  Terms prepare(std::size_t kv_head, InformationChannel channel) override {
    const ConstMatrixView keys = view().keys(kv_head);
    const AttentionRule rule = attention_rule(view().model(), view().layer());
    std::vector<double> logits = inner_products(channel.anchor.mean, keys).values;
    for (double& logit : logits) logit *= rule.scale;
    Matrix64 root = symmetric_root(channel.anchor.moment);
    for (double& x : root.values) x *= rule.scale;
    Terms terms{.channel = std::move(channel),
                .left = view().values(kv_head),
                .right = keys,
                .weights = {},
                .logarithmic = true,
                .with_sides = true,
                .query_root = std::move(root)};
    if (rule.softcap > 0) cap(rule.softcap, keys, logits, terms);
    terms.weights = std::move(logits);
    return terms;
  }

  // A capped logit s tanh(x / s) moves by (1 - tanh^2) of what x does.
  static void cap(double softcap, ConstMatrixView keys, std::vector<double>& logits, Terms& terms) {
    terms.owned.emplace(1, keys.rows, keys.cols);
    for (std::size_t i = 0; i < keys.rows; ++i) {
      const double bent = std::tanh(logits[i] / softcap);
      logits[i] = softcap * bent;
      for (std::size_t d = 0; d < keys.cols; ++d)
        terms.owned->matrix(0)(i, d) = static_cast<float>((1 - bent * bent) * double{keys(i, d)});
    }
    terms.right = std::as_const(*terms.owned).matrix(0);
  }

  std::optional<Matrix64> signal_root(const Terms& terms, const Sums& sums) const override {
    // sum a u k^T - (sum a u)(sum a k)^T with a = e / sum e over the retained tokens
    Matrix64 jacobian = sums.products;
    const double share = 1 / sums.weight;
    for (std::size_t r = 0; r < jacobian.rows; ++r) {
      const double mean = share * sums.left[r];
      for (std::size_t c = 0; c < jacobian.cols; ++c) jacobian(r, c) = share * (jacobian(r, c) - mean * sums.right[c]);
    }
    return projected(terms.channel, product(jacobian, terms.query_root));
  }
};

const RegisterMetric jacobian_information{{
    .name = "jacobian_information",
    .label = "Jacobian information",
    .unit = "1",
    .summary = "share of the information that attention, linearised at the mean query, carries about queries that is "
               "kept: 1/2 log det(I + J Lambda J^T / noise), J = scale (sum a_i u_i k_i^T - (sum a_i u_i)(sum a_i "
               "k_i)^T), a renormalised over what is kept; not monotone, may exceed 1",
    .better = Better::higher,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::kv_head,
    .needs_outputs = false,
    .monotone = false,
    .sum_unit = "nats",
    .paper = "JaCap, the Jacobian form of CapKV (arXiv 2604.25975)",
    .needs = information_needs(),
    .parameters = {.parameters = information_parameters("covariance")},
    .cost = information_cost,
    .make = make_accumulator<JacobianInformation>,
}};

}  // namespace
}  // namespace kvreplay
